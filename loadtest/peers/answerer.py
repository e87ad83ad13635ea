"""A stock aiortc server, as its documentation has it: `python -m loadtest.peers.answerer`.

It answers WHIP offers; what comes is dropped by a MediaBlackhole or, with `--record DIR`,
written by a MediaRecorder. Both decode; the recorder encodes again.
"""

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aioice.ice
from aiohttp import web
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaBlackhole, MediaRecorder
from aiortc.mediastreams import MediaStreamTrack

Sink = MediaBlackhole | MediaRecorder


class Answerer:
    """The connections by session number, each with where its media goes."""

    def __init__(self, record_dir: Path | None) -> None:
        self._record_dir = record_dir
        self._open: dict[str, tuple[RTCPeerConnection, Sink]] = {}
        self._begun = 0

    async def publish(self, request: web.Request) -> web.Response:
        self._begun += 1
        session = str(self._begun)
        # Its default policy leaves a second video section on a transport of its own.
        bundled = RTCConfiguration(bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        connection, sink = RTCPeerConnection(bundled), self._sink(session)
        self._open[session] = connection, sink
        offer = RTCSessionDescription(sdp=await request.text(), type="offer")

        @connection.on("track")
        def add(track: MediaStreamTrack) -> None:
            sink.addTrack(track)

        await connection.setRemoteDescription(offer)
        await connection.setLocalDescription(await connection.createAnswer())
        await sink.start()
        return web.Response(
            status=201,
            text=connection.localDescription.sdp,
            content_type="application/sdp",
            headers={"Location": f"/whip/{session}"},
        )

    def _sink(self, session: str) -> Sink:
        if self._record_dir is None:
            return MediaBlackhole()
        return MediaRecorder(str(self._record_dir / f"{session}.mp4"))

    async def end(self, request: web.Request) -> web.Response:
        found = self._open.pop(request.match_info["session"], None)
        if found is None:
            return web.Response(status=404)
        await _close(*found)
        return web.Response()

    async def close_all(self, app: web.Application) -> AsyncIterator[None]:
        yield
        while self._open:
            await _close(*self._open.popitem()[1])


async def _close(connection: RTCPeerConnection, sink: Sink) -> None:
    await sink.stop()
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtest.peers.answerer", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--record", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    # aioice would leave a loopback address out, and offer all the others.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [arguments.address]
    answerer = Answerer(arguments.record)
    app = web.Application()
    app.router.add_post("/whip", answerer.publish)
    app.router.add_delete("/whip/{session}", answerer.end)
    app.router.add_get("/healthz", _healthz)
    app.cleanup_ctx.append(answerer.close_all)
    logging.basicConfig(level=logging.ERROR)
    run = partial(web.run_app, app, host=arguments.address, port=arguments.port, print=None)
    run(loop=asyncio.new_event_loop())


async def _healthz(request: web.Request) -> web.Response:
    return web.Response()


if __name__ == "__main__":
    main()
