"""A stock aiortc server, as its documentation has it: `python -m loadtest.peers.answerer`.

It answers WHIP offers; what comes is dropped by a MediaBlackhole, or written by a MediaRecorder
with `--record DIR`, or counted with `--watch DIR`. All decode; the recorder encodes again.
"""

import argparse
import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import aioice.ice
from aiohttp import web
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaBlackhole, MediaRecorder
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack


class Viewer:
    """Notes what it is given, and writes it down at the end, as `servers.Kept`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tracks: list[MediaStreamTrack] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._shown_s: list[float] = []
        self._sounds = 0

    def addTrack(self, track: MediaStreamTrack) -> None:  # as aiortc's own have it
        self._tracks.append(track)

    async def start(self) -> None:
        watched = (asyncio.create_task(self._watch(each), name="viewer") for each in self._tracks)
        self._tasks += watched

    async def _watch(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                await track.recv()
                if track.kind == "video":
                    self._shown_s.append(time.time())
                else:
                    self._sounds += 1

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        kept = {"pictures": len(self._shown_s), "sounds": self._sounds, "shown_s": self._shown_s}
        self._path.write_text(json.dumps(kept))


Sink = MediaBlackhole | MediaRecorder | Viewer


class Answerer:
    """The connections by session number, each with where its media goes."""

    def __init__(self, record_dir: Path | None, watch_dir: Path | None) -> None:
        self._record_dir, self._watch_dir = record_dir, watch_dir
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


async def _close(connection: RTCPeerConnection, sink: Sink) -> None:
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
