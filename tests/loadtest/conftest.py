"""An independent peer: aiortc's RTCPeerConnection behind a small WHIP endpoint."""

import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aioice.ice
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)

from loadtest.invites import by_owner
from loadtest.media import FPS, Clip, VideoCodec, encode_pictures, encode_sound
from loadtest.peer import Crowd, open_crowd
from loadtest.scene import Scene
from tests.loadtest.mini_server import OWNER_TOKEN, MiniServer, mini_server


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    async with open_crowd() as crowd:
        yield crowd


@pytest.fixture
async def mini() -> AsyncIterator[MiniServer]:
    async with mini_server() as server:
        yield server


@pytest.fixture
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """aioice leaves 127.0.0.1 out by itself."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **kind: ["127.0.0.1"])


@dataclass
class Answerer:
    """Answers WHIP offers; what it receives it decodes, as a browser would."""

    url: str = ""
    tracks: list[MediaStreamTrack] = field(default_factory=list)
    connections: list[RTCPeerConnection] = field(default_factory=list)
    ended: int = 0

    async def publish(self, request: web.Request) -> web.Response:
        # By its default policy aiortc leaves a second video section on a transport of its own.
        connection = RTCPeerConnection(RTCConfiguration(bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.connections.append(connection)
        connection.on("track", self.tracks.append)
        await connection.setRemoteDescription(
            RTCSessionDescription(sdp=await request.text(), type="offer")
        )
        await connection.setLocalDescription(await connection.createAnswer())
        return web.Response(
            status=201,
            text=connection.localDescription.sdp,
            content_type="application/sdp",
            headers={"Location": f"/whip/{len(self.connections) - 1}"},
        )

    async def end(self, request: web.Request) -> web.Response:
        self.ended += 1
        await self.connections[int(request.match_info["session"])].close()
        return web.Response()


@pytest.fixture
async def answerer(loopback_only: None) -> AsyncIterator[Answerer]:
    answerer = Answerer()
    app = web.Application()
    app.router.add_post("/whip", answerer.publish)
    app.router.add_delete("/whip/{session}", answerer.end)
    async with TestServer(app) as server:
        answerer.url = str(server.make_url("/whip"))
        yield answerer
        for connection in answerer.connections:
            await connection.close()


def short_clip(codec: VideoCodec, seconds: int = 1) -> Clip:
    scene = Scene()
    pictures = (scene.picture(index / FPS, 0.5) for index in range(seconds * FPS))
    frames, keyframes = encode_pictures(codec, pictures)

    tone = (8000 * np.sin(np.arange(48_000 * seconds) * 2 * np.pi * 440 / 48_000)).astype(np.int16)
    return Clip(codec, frames, keyframes, encode_sound(tone, len(frames)))


def write_tone(folder: Path, seconds: float) -> Path:
    """A WAV file of 440 Hz."""
    path = folder / f"tone-{seconds}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        time = np.arange(int(16_000 * seconds)) / 16_000
        file.writeframes((8000 * np.sin(time * 2 * np.pi * 440)).astype("<i2").tobytes())
    return path


async def new_interview(crowd: Crowd, mini: MiniServer) -> str:
    """The token of both its links."""
    return (await by_owner(crowd.http, mini.url, OWNER_TOKEN, "Test")).candidate
