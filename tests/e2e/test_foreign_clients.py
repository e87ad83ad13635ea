"""Clients by others, without a page or a browser, publish by WHIP and observe by WHEP."""

import asyncio
import datetime
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from server.signaling.tls import own_certificate
from tests.e2e.pages import PATIENCE_MS, finished, on_the_disk
from tests.e2e.server_process import ServerProcess
from tests.project import ROOT

CLIENTS = Path(__file__).parent / "clients"
PUBLISHED_S = 2.0
FPS, RATE = 30, 48_000


@pytest.mark.parametrize("client", ["werift", "wrtc"])
async def test_a_client_in_node_publishes_and_another_observes(
    server: ServerProcess, client: str
) -> None:
    if client == "wrtc" and not list((ROOT / "node_modules" / "@roamhq").glob("wrtc-*-*")):
        pytest.skip("@roamhq/wrtc has no binary for this system")
    invited = await server.invite("Backend engineer")
    candidate, observer = _token(invited, "candidate"), _token(invited, "observer")
    async with _node(client, "publish", f"{server.base_url}/whip/{candidate}") as publisher:
        await _says(publisher, "connected")
        async with _node(client, "view", f"{server.base_url}/whep/{observer}") as viewer:
            await _says(viewer, "enough")
        await on_the_disk(server, invited, duration_s=PUBLISHED_S / 2)
    await _recorded(server, invited)


async def test_ffmpeg_publishes(server: ServerProcess, tmp_path: Path) -> None:
    """It insists on the DTLS server's part (`a=setup:passive`)."""
    invited = await server.invite("Backend engineer")
    url = f"{server.base_url}/whip/{_token(invited, 'candidate')}"
    await asyncio.to_thread(_publish_by_ffmpeg, url, tmp_path / "tls")
    await _recorded(server, invited)


def _token(invited: dict[str, Any], role: str) -> str:
    return str(invited[f"{role}_url"]).partition("#")[2]


async def _recorded(server: ServerProcess, invited: dict[str, Any]) -> None:
    index = await finished(server, invited)
    # A sender may stand still on a busy machine; that is a pause.
    assert {gap["cause"] for gap in index["gaps"]} <= {"disconnected", "paused"}
    assert set(index["tracks"]) == {"camera", "microphone"}
    assert index["duration_s"] >= PUBLISHED_S / 2
    await server.command("verify", str(server.recording(invited)))


@asynccontextmanager
async def _node(client: str, act: str, url: str) -> AsyncIterator[Process]:
    """One of `clients`; at the end it must end its session, which the server must know."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(CLIENTS / f"{client}.mjs"), act, url), stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(PATIENCE_MS / 1000):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _says(process: Process, line: str) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while (said := await process.stdout.readline()) != f"{line}\n".encode():
            assert said, f"it ended before it said {line}"


def _publish_by_ffmpeg(url: str, folder: Path) -> None:
    """As fast as time goes by: the muxer sends each packet at once."""
    # Built with GnuTLS its own certificate has a key on P-224, which no browser takes, nor we.
    certificate, key = own_certificate(folder, (), (), datetime.datetime.now(datetime.UTC))
    options = {"cert_file": str(certificate), "key_file": str(key)}
    with av.open(url, "w", format="whip", options=options) as whip:
        picture = whip.add_stream(
            "libx264", FPS, {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}
        )
        picture.width, picture.height, picture.pix_fmt = 320, 240, "yuv420p"
        sound = whip.add_stream("libopus", RATE, layout="stereo")
        began, heard = time.monotonic(), 0
        for number in range(round(PUBLISHED_S * FPS)):
            time.sleep(max(0.0, began + number / FPS - time.monotonic()))
            image = np.full((240, 320, 3), number * 4 % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts = number
            whip.mux(picture.encode(frame))
            for start in range(heard, (number + 1) * RATE // FPS, 960):
                samples = av.AudioFrame.from_ndarray(_TONE, "s16", "stereo")
                samples.sample_rate, samples.pts, heard = RATE, start, start + 960
                whip.mux(sound.encode(samples))


_TONE = (8000 * np.sin(np.arange(960) / 960 * 40 * np.pi)).astype(np.int16).repeat(2)[None]
