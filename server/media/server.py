"""One UDP port for all interviews of this process: the public face of the media plane.

Used by the signalling layer like this::

    async with open_media(host, port, advertise) as media:
        source = Source(interview_id)              # the interview's media, outlives reconnects
        source.add_sink(recording)                 # a FrameSink: whole frames and gaps
        peer, answer = await media.publish(source, offer_sdp, on_state)
        watcher, answer = await media.observe(source, offer_sdp, on_state)
        await peer.close()
"""
