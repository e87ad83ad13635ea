"""The pool with real worker processes, fed with really encoded media."""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from server.core.frames import Codec, EncodedFrame
from server.core.indicators import Alert, Indicator
from server.live_analysis.pool import Analysis, open_analysis
from server.live_analysis.process import SOUND_ROOM, VIDEO_ROOM
from tests.live_analysis.planted import (
    FPS,
    PACKET_S,
    Packets,
    camera,
    microphone,
    noise,
    opus,
    scene,
    speech,
    video,
)

SOUND = opus(speech())
PICTURES = [scene((0.35, 0.5), scale=2), scene((0.36, 0.5), scale=2)]


def stream(codec: Codec) -> Packets:
    return video(codec, itertools.islice(itertools.cycle(PICTURES), FPS * 2))


STREAMS = {codec: stream(codec) for codec in (Codec.H264, Codec.VP8)}


class Interview:
    """A candidate whose media come in pieces, and who sends a keyframe when asked."""

    def __init__(self, analysis: Analysis, name: str, codec: Codec = Codec.H264) -> None:
        self.codec = codec
        self.found: dict[str, Indicator] = {}
        self.arrived = asyncio.Event()
        self.alerts: list[Alert] = []
        self.asked = 0
        self._sound = itertools.cycle(SOUND)
        self._video = itertools.cycle(STREAMS[codec])
        self._media_s = time.time()
        self.feed = analysis.feed(name, self._indicators, self.alerts.append, self._ask)

    def _indicators(self, values: tuple[Indicator, ...]) -> None:
        self.found.update((value.name, value) for value in values)
        self.arrived.set()

    def _ask(self) -> None:
        self.asked += 1
        self._video = itertools.cycle(STREAMS[self.codec])

    def send(self, duration_s: float) -> None:
        """Media of some seconds, all at once."""
        now_s = time.time()
        for n in range(round(duration_s / PACKET_S)):
            at_s = self._media_s + n * PACKET_S
            frame = microphone(next(self._sound), at_s)
            self.feed.on_frame(arrived(frame, now_s))
        for n in range(round(duration_s * FPS)):
            payload, keyframe = next(self._video)
            frame = camera(self.codec, payload, keyframe, self._media_s + n / FPS)
            self.feed.on_frame(arrived(frame, now_s))
        self._media_s += duration_s

    async def until(self, *names: str, within_s: float = 15.0) -> dict[str, Indicator]:
        """Send in real time until these are measured anew, with a value."""
        self.found.clear()
        async with asyncio.timeout(within_s):
            while not all(
                name in self.found and self.found[name].value is not None for name in names
            ):
                self.send(0.1)
                self.arrived.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await self.arrived.wait()
        return dict(self.found)


def arrived(frame: EncodedFrame, now_s: float) -> EncodedFrame:
    return msgspec.structs.replace(frame, arrived_s=now_s)


async def ended(analysis: Analysis, pid: int) -> None:
    """Return when the pool has noticed that a process ended or hangs."""
    async with asyncio.timeout(15):
        while pid in analysis.worker_pids:  # noqa: ASYNC110, the pool has no event for it
            await asyncio.sleep(0.005)


@pytest.fixture
async def analysis() -> AsyncIterator[Analysis]:
    async with open_analysis(1) as opened:
        yield opened


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8])
async def test_a_real_stream_becomes_indicators(analysis: Analysis, codec: Codec) -> None:
    interview = Interview(analysis, "a", codec)
    found = await interview.until("voice.pitch", "face.x", "picture.light", "picture.frozen")
    assert found["face.x"].value == pytest.approx(0.355, abs=0.03)
    assert found["face.count"].value == 1
    assert -45 < (found["voice.loudness"].value or 0) < -5
    assert (found["voice.speaking"].value or 0) > 0.3
    assert interview.alerts == []
    counters = analysis.counters()
    assert counters.frames_sent > 0
    assert counters.frames_undecodable == 0


async def test_killing_a_worker_costs_a_moment_of_its_indicators(analysis: Analysis) -> None:
    interview = Interview(analysis, "a")
    await interview.until("face.x", "speech.ratio_total")
    (pid,) = analysis.worker_pids
    os.kill(pid, signal.SIGKILL)
    await ended(analysis, pid)
    started_s = time.monotonic()
    found = await interview.until("face.x", "speech.ratio_total")
    # About a second where nothing else runs; several, where tests of all parts share two cores.
    assert time.monotonic() - started_s < 8
    assert found["face.count"].value == 1
    assert interview.asked >= 1
    assert analysis.counters().worker_restarts == 1
    assert analysis.worker_pids != [pid]


async def test_a_worker_that_dies_is_no_matter_to_another() -> None:
    async with open_analysis(2) as analysis:
        one, other = Interview(analysis, "one"), Interview(analysis, "other")
        await asyncio.gather(one.until("face.x"), other.until("face.x"))
        asked = one.asked, other.asked
        pid = analysis.worker_pids[0]
        os.kill(pid, signal.SIGKILL)
        await other.until("face.x", within_s=3)
        await ended(analysis, pid)
        await one.until("face.x")
        assert other.asked == asked[1]
        assert one.asked > asked[0]


async def test_totals_survive_the_worker(analysis: Analysis) -> None:
    interview = Interview(analysis, "a")
    found = await interview.until("speech.ratio_total")
    async with asyncio.timeout(10):
        while found["speech.ratio"].confidence * 60 < 3:
            found = await interview.until("speech.ratio_total")
    (pid,) = analysis.worker_pids
    os.kill(pid, signal.SIGKILL)
    await ended(analysis, pid)
    found = await interview.until("speech.ratio_total")
    # What was heard in the last second before the end may be lost.
    assert found["speech.ratio"].confidence * 60 > 1.5


def hostile(seed: int) -> list[EncodedFrame]:
    """Noise, noise framed as NAL units, and a real stream with its bytes flipped."""
    rng = random.Random(seed)
    now_s = time.time()
    frames = []
    for n in range(60):
        at_s = now_s + n / FPS
        raw = rng.randbytes(rng.randrange(1, 3000))
        unit = bytes([rng.randrange(128)]) + raw
        framed = len(unit).to_bytes(4, "big") + unit
        for codec in (Codec.H264, Codec.VP8):
            payload, keyframe = STREAMS[codec][n]
            flipped = bytearray(payload)
            for _ in range(rng.randrange(1, 20)):
                flipped[rng.randrange(min(len(flipped), 400))] ^= 1 << rng.randrange(8)
            frames += [camera(codec, bytes(flipped), keyframe or n % 7 == 0, at_s)]
        frames += [camera(Codec.H264, payload, True, at_s) for payload in (raw, framed)]
        frames += [camera(Codec.VP8, raw, True, at_s), microphone(raw[:1200], at_s)]
    return [arrived(frame, now_s) for frame in frames]


async def test_hostile_media_harm_nobody_else(analysis: Analysis) -> None:
    villain, victim = Interview(analysis, "villain"), Interview(analysis, "victim")
    await victim.until("face.x")
    for seed in range(5):
        for frame in hostile(seed):
            villain.feed.on_frame(frame)
        found = await victim.until("face.x", "voice.loudness")
        assert found["face.count"].value == 1
    counters = analysis.counters()
    assert counters.worker_restarts == 0
    async with asyncio.timeout(5):
        while analysis.counters().frames_undecodable == 0:
            await victim.until("face.x")


async def test_a_worker_that_hangs_is_bounded_and_replaced(analysis: Analysis) -> None:
    interview = Interview(analysis, "a")
    await interview.until("face.x")
    (pid,) = analysis.worker_pids
    os.kill(pid, signal.SIGSTOP)
    before = analysis.counters()
    size = 50_000
    payload = bytes(noise((size // 4,), 1).tobytes())
    now_s = time.time()
    for _ in range(200):
        interview.feed.on_frame(camera(Codec.H264, payload, True, now_s))
    for _ in range(200):
        interview.feed.on_frame(microphone(payload, now_s))
    after = analysis.counters()
    sent = after.frames_sent - before.frames_sent
    assert sent * size <= SOUND_ROOM + VIDEO_ROOM
    assert after.frames_dropped - before.frames_dropped == 400 - sent
    await ended(analysis, pid)
    await interview.until("face.x")
    assert interview.asked >= 1


async def test_media_that_stop_raise_alerts_that_end_when_they_go_on(analysis: Analysis) -> None:
    interview = Interview(analysis, "a")
    await interview.until("face.x")
    async with asyncio.timeout(15):
        while {"video-frozen", "audio-lost"} - {alert.id for alert in interview.alerts}:
            interview.arrived.clear()
            await interview.arrived.wait()
    async with asyncio.timeout(15):
        while sum(not alert.active for alert in interview.alerts) < 2:
            await interview.until("picture.frozen")
    assert {alert.id for alert in interview.alerts} == {"video-frozen", "audio-lost"}


async def test_feeds_are_spread_over_the_workers() -> None:
    async with open_analysis(2) as analysis:
        feeds = [Interview(analysis, str(n)).feed for n in range(4)]
        assert [len(place.feeds) for place in analysis._places] == [2, 2]
        feeds[0].close()
        feeds[2].close()
        Interview(analysis, "new")
        assert [len(place.feeds) for place in analysis._places] == [1, 2]


async def test_indicators_come_within_300_ms_of_the_media(analysis: Analysis) -> None:
    interview = Interview(analysis, "a")
    await interview.until("face.x")
    delays_s = []
    for _ in range(5):
        at_s = time.time()
        interview.feed.on_frame(arrived(microphone(next(interview._sound), at_s), at_s))
        found = await interview.until("voice.loudness")
        delays_s.append(time.time() - found["voice.loudness"].end_s)
    assert sorted(delays_s)[2] < 0.3


async def test_workers_end_with_the_pool() -> None:
    async with open_analysis(2) as analysis:
        await Interview(analysis, "a").until("face.x")
        pids = analysis.worker_pids
        assert len(pids) == 2
    assert analysis.worker_pids == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_pool_needs_a_worker() -> None:
    with pytest.raises(ValueError, match="at least one"):
        async with open_analysis(0):
            pass


async def test_a_worker_is_poor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIVAVOCE_TURN_SECRET", "secret")
    async with open_analysis(1) as analysis:
        await Interview(analysis, "a").until("face.x")
        process = Path("/proc", str(analysis.worker_pids[0]))
        with contextlib.suppress(PermissionError):  # nobody but root looks into it
            assert b"secret" not in (process / "environ").read_bytes()
        limits = (process / "limits").read_text()
        rows = {line[:25].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
        assert rows["Max core file size"] == "0"
        assert rows["Max file size"] == "0"
        assert rows["Max address space"] != "unlimited"
        nice = int((process / "stat").read_text().rsplit(")")[1].split()[16])
        assert nice == min(19, os.nice(0) + 10)
        pid = analysis.worker_pids[0]
        assert (os.getsid(pid), os.getpgid(pid)) == (os.getsid(0), pid)
        # Its own thread, and one of a library that only waits.
        assert len(list((process / "task").iterdir())) <= 2


def test_the_servers_own_process_has_no_decoder() -> None:
    code = (
        "import sys, server.live_analysis.pool;"
        "print({'av', 'onnxruntime', 'ai_edge_litert', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
