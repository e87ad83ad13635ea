"""A stock aiortc server, as its documentation has it: `python -m loadtest.peers.answerer`.

It answers WHIP offers; what comes is dropped by a MediaBlackhole, or written by a MediaRecorder
with `--record DIR`, or counted with `--watch DIR`. All decode; the recorder encodes again, and so
does what answers WHEP offers: a MediaRelay passes on what came in the same `?room=`.
"""

import argparse
import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import aioice.ice
from aiohttp import web
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.contrib.media import MediaBlackhole, MediaRecorder, MediaRelay
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack


class Viewer:
    """Notes what it is given, and writes it down at the end, as `servers.Kept`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tracks: list[MediaStreamTrack] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._counts = {"video": 0, "audio": 0}

    def addTrack(self, track: MediaStreamTrack) -> None:  # as aiortc's own have it
        self._tracks.append(track)

    async def start(self) -> None:
        watched = (asyncio.create_task(self._watch(each), name="viewer") for each in self._tracks)
        self._tasks += watched

    async def _watch(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                await track.recv()
                self._counts[track.kind] += 1

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        kept = {"pictures": self._counts["video"], "sounds": self._counts["audio"]}
        self._path.write_text(json.dumps(kept))


Sink = MediaBlackhole | MediaRecorder | Viewer


class Answerer:
    """The connections by session number, each with where its media goes."""

    def __init__(self, record_dir: Path | None, watch_dir: Path | None) -> None:
        self._record_dir, self._watch_dir = record_dir, watch_dir
        self._open: dict[str, tuple[RTCPeerConnection, Sink | None]] = {}
        self._relay = MediaRelay()
        self._rooms: dict[str, list[MediaStreamTrack]] = {}  # what the newest who sends there does
        self._begun = 0

    async def publish(self, request: web.Request) -> web.Response:
        connection, session = self._connection()
        sink = self._sink(session)
        self._open[session] = connection, sink
        tracks = self._rooms[request.query.get("room", session)] = []

        @connection.on("track")
        def add(track: MediaStreamTrack) -> None:
            tracks.append(track)
            sink.addTrack(self._relay.subscribe(track))

        answer = await _answer(connection, await request.text(), session)
        await sink.start()
        return answer

    async def watch(self, request: web.Request) -> web.Response:
        tracks = self._rooms.get(request.query.get("room", ""))
        if not tracks:
            return web.Response(status=404)
        connection, session = self._connection()
        self._open[session] = connection, None
        for track in tracks:
            relayed = self._relay.subscribe(track)
            transceiver = connection.addTransceiver(relayed, direction="sendonly")
            if track.kind == "video":
                transceiver.setCodecPreferences(_VP8)
        return await _answer(connection, await request.text(), session)

    def _connection(self) -> tuple[RTCPeerConnection, str]:
        self._begun += 1
        # Its default policy leaves a second video section on a transport of its own.
        bundled = RTCConfiguration(bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        return RTCPeerConnection(bundled), str(self._begun)

    def _sink(self, session: str) -> Sink:
        if self._watch_dir is not None:
            return Viewer(self._watch_dir / f"{session}.json")
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


_VP8 = [
    each
    for each in RTCRtpSender.getCapabilities("video").codecs
    if each.mimeType in ("video/VP8", "video/rtx")
]


async def _answer(connection: RTCPeerConnection, offer: str, session: str) -> web.Response:
    await connection.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    return web.Response(
        status=201,
        text=connection.localDescription.sdp,
        content_type="application/sdp",
        headers={"Location": f"/whip/{session}"},
    )


async def _close(connection: RTCPeerConnection, sink: Sink | None) -> None:
    if sink is not None:
        await sink.stop()
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtest.peers.answerer", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--record", type=Path, metavar="DIR")
    parser.add_argument("--watch", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    # aioice would leave a loopback address out, and offer all the others.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [arguments.address]
    answerer = Answerer(arguments.record, arguments.watch)
    app = web.Application()
    app.router.add_post("/whip", answerer.publish)
    app.router.add_post("/whep", answerer.watch)
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
