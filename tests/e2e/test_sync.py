"""Sound and picture of the exported recording belong together, to 40 ms (planted truth)."""

import asyncio
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tests.e2e.server_process import ServerProcess

FPS, RATE_HZ = 30, 48_000
LOOP_S, EVERY_S, LASTS_S = 10, 2.0, 0.2
RECORDED_S = 9.0
MAX_OFFSET_S = 0.040


@pytest.fixture(scope="module")
def flashes_and_beeps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sync")
    _write_flashes(folder / "flash.mp4")
    _write_beeps(folder / "beep.wav")
    return folder / "flash.mp4", folder / "beep.wav"


@pytest.mark.parametrize("codec", ["h264", "vp8", "vp9", "av1"])
@pytest.mark.timeout(120)
async def test_flash_and_beep_stay_together(
    server: ServerProcess, flashes_and_beeps: tuple[Path, Path], tmp_path: Path, codec: str
) -> None:
    flash, beep = map(str, flashes_and_beeps)
    invited = await server.invite("Sync")
    candidate = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.candidate", "--whip-url", invited["whip_url"]),
        *("--codec", codec, "--cache", str(tmp_path / "cache")),
        *("--video", flash, "--audio", beep),
        stdout=asyncio.subprocess.PIPE,
    )
    assert candidate.stdout is not None
    await candidate.stdout.readline()  # "candidate connected ..."
    await asyncio.sleep(RECORDED_S)
    candidate.terminate()
    await candidate.wait()
    out = tmp_path / "out.mp4"
    await server.command("export", invited["interview_id"], "-o", str(out))
    flashes, beeps = await asyncio.to_thread(_onsets, out)
    assert len(flashes) >= 3
    pairs = [(flash, min(beeps, key=lambda beep: abs(beep - flash))) for flash in flashes]
    offsets = [beep - flash for flash, beep in pairs]
    assert max(map(abs, offsets)) <= MAX_OFFSET_S, offsets


def _on(at_s: float) -> bool:
    return at_s % EVERY_S < LASTS_S


def _write_flashes(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for index in range(LOOP_S * FPS):
            picture = np.full((360, 640, 3), 255 if _on(index / FPS) else 0, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _write_beeps(path: Path) -> None:
    at = np.arange(LOOP_S * RATE_HZ) / RATE_HZ
    tone = 0.5 * np.sin(2 * np.pi * 1000 * at) * (at % EVERY_S < LASTS_S)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE_HZ)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        samples = (tone * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _onsets(path: Path) -> tuple[list[float], list[float]]:
    """When flashes and beeps begin in a file, in seconds; what begins with the file is left out."""
    light: list[tuple[float, float]] = []
    sound: list[tuple[float, float]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0, audio=0):
            assert isinstance(frame, av.VideoFrame | av.AudioFrame)
            assert frame.time is not None
            if isinstance(frame, av.VideoFrame):
                light.append((frame.time, float(frame.to_ndarray(format="gray").mean())))
            else:
                samples = frame.to_ndarray().mean(axis=0)
                sound += _levels(samples, frame.time, frame.sample_rate)
    began_s = max(light[0][0], sound[0][0])  # either may be the first by a little
    # What is seen a moment after that has its sound, too.
    return _rises(light, 128, began_s + 0.1), _rises(sound, 0.1, began_s)


def _levels(samples: NDArray[np.float32], at_s: float, rate: int) -> list[tuple[float, float]]:
    block = rate // 500  # 2 ms: two periods of the tone
    whole = samples[: len(samples) // block * block].reshape(-1, block)
    return [
        (at_s + index * float(Fraction(block, rate)), float(np.abs(part).max()))
        for index, part in enumerate(whole)
    ]


def _rises(values: list[tuple[float, float]], threshold: float, began_s: float) -> list[float]:
    rises = []
    quiet_since = began_s
    for at_s, value in values:
        if value > threshold:
            if at_s - quiet_since > EVERY_S / 2:
                rises.append(at_s)
            quiet_since = at_s
    return rises
