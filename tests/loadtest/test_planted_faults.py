"""Faults of known size, planted between the media plane and its observer, as reports tell them."""

import asyncio
import functools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.media import FPS, VideoCodec
from loadtest.packets import PacketisedClip, packetise
from loadtest.peer import AUDIO_CLOCK_HZ, VIDEO_CLOCK_HZ
from loadtest.plan import Plan
from loadtest.report import Report
from loadtest.run import run
from server.core import rtcp
from server.media.forwarding import allotment, egress
from server.media.forwarding.down_track import DownTrack
from tests.loadtest.bad_network import BadNetwork, Fault, is_repair, is_video
from tests.loadtest.conftest import short_clip
from tests.loadtest.mini_server import OWNER_TOKEN, MiniServer

#: What a busy machine and the generator's own grid may add to a time, in ms.
ERROR_MS = 35
#: A machine that stood still meanwhile was measured itself: so often at most.
MEASURED_ANEW = 3


@pytest.fixture(autouse=True)
def _nothing_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the server, a line with such faults is slow: it would leave pictures out by itself."""
    monkeypatch.setattr(egress, "PACED_BELOW", 0.0)
    monkeypatch.setattr(allotment, "MAX_DEBT_S", math.inf)
    monkeypatch.setattr(DownTrack, "allow", lambda *_: None)  # fewer pictures a second


@functools.cache
def clip(codec: VideoCodec) -> PacketisedClip:
    return packetise(short_clip(codec, 2))


async def measured(
    mini: MiniServer,
    plant: Callable[[], Fault] | None,
    duration_s: float,
    codec: VideoCodec = "vp8",
) -> Report:
    """Of a run in which generator, network and server, which are one process, never stood still.

    `plant` begins a fault anew, and forgets what it did in the run before.
    """
    plan = Plan(mini.url, (clip(codec),), 1, duration_s, Path("/nonexistent"), OWNER_TOKEN)
    for _ in range(MEASURED_ANEW):
        mini.observers_network = BadNetwork(plant()) if plant is not None else None
        report = await run(plan, asyncio.Event())
        assert (report.joined, report.errors) == (1, [])
        if (report.generator_lateness_ms.max or 0.0) < ERROR_MS:
            break
    return report


def frame_number(first: dict[str, int], data: bytes) -> int:
    """Of an SRTP packet of video, by its timestamp, which is in the clear; 0 is the first seen."""
    timestamp = int.from_bytes(data[4:8], "big")
    start = first.setdefault("timestamp", timestamp)
    return ((timestamp - start) & 0xFFFFFFFF) // (VIDEO_CLOCK_HZ // FPS)


def on_frames(number_is_faulty: Callable[[int], bool], delay_s: float | None) -> Fault:
    """Loses (None) or delays all packets of some frames of video, repairs as well."""
    first: dict[str, int] = {}

    def fault(data: bytes) -> float | None:
        faulty = (is_video(data) or is_repair(data)) and number_is_faulty(frame_number(first, data))
        return delay_s if faulty else 0

    return fault


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_every_hundredth_frame_that_is_dropped_is_reported_lost(
    mini: MiniServer, codec: VideoCodec
) -> None:
    dropped = set[int]()

    def every_hundredth(number: int) -> bool:
        if number % 100 == 50:
            dropped.add(number)
            return True
        return False

    def plant() -> Fault:
        dropped.clear()
        return on_frames(every_hundredth, None)

    report = await measured(mini, plant, 6, codec)
    assert len(dropped) == 2
    assert report.frames_lost == 2
    assert report.frames_received == report.frames_sent - 2
    assert report.frame_completeness == pytest.approx(1 - 2 / report.frames_sent, abs=1e-5)
    assert report.frames_shown == report.frames_received
    assert (report.frames_out_of_order, report.frames_duplicated) == (0, 0)
    assert report.audio_completeness == 1.0


async def test_a_delay_of_120_ms_is_reported_as_such(mini: MiniServer) -> None:
    report = await measured(mini, lambda: lambda data: 0.120, 3)
    latency = report.forward_latency_ms
    assert latency.p50 is not None
    assert 119 <= latency.p50 <= 120 + ERROR_MS
    # It comes equally late to eye and ear, and nothing stands still for it.
    assert report.av_offset_ms.p50 == pytest.approx(0, abs=5)
    assert report.frames_lost == 0


async def test_two_swapped_frames_are_reported_once_for_each_pair(mini: MiniServer) -> None:
    late = set[int]()

    def every_thirtieth(number: int) -> bool:
        if number % 30 == 15:
            late.add(number)
            return True
        return False

    def plant() -> Fault:
        late.clear()
        # Later than the frame that follows it and sooner than the one after that.
        return on_frames(every_thirtieth, 1.5 / FPS)

    report = await measured(mini, plant, 4)
    assert len(late) >= 3
    assert report.frames_out_of_order == pytest.approx(len(late), abs=1)
    assert report.frames_lost == 0
    assert report.frames_shown == report.frames_received - report.frames_out_of_order


@pytest.mark.parametrize("shift_ms", [80, -80])
async def test_a_shift_of_the_sound_by_80_ms_is_reported_as_such(
    mini: MiniServer, monkeypatch: pytest.MonkeyPatch, shift_ms: int
) -> None:
    honest = DownTrack.report

    def shifted(track: DownTrack, now: float) -> rtcp.SenderReport | None:
        report = honest(track, now)
        if report is None or track._payload_type != 111:
            return report
        ticks = AUDIO_CLOCK_HZ * shift_ms // 1000
        return replace(report, rtp_timestamp=(report.rtp_timestamp - ticks) & 0xFFFFFFFF)

    monkeypatch.setattr(DownTrack, "report", shifted)
    report = await measured(mini, None, 4)
    assert report.av_offset_ms.samples >= 2
    assert report.av_offset_ms.p50 == pytest.approx(-shift_ms, abs=5)
    assert report.av_offset_ms.p95 == pytest.approx(80, abs=ERROR_MS)


async def test_a_stall_of_one_second_is_one_freeze_of_that_length(mini: MiniServer) -> None:
    began: list[float] = []

    def stall(data: bytes) -> float:
        """In the second second everything waits for its end."""
        now = asyncio.get_running_loop().time()
        if is_video(data) and not began:
            began.append(now)
        at_s = now - began[0] if began else 0.0
        return 2 - at_s if 1 <= at_s < 2 else 0

    def plant() -> Fault:
        began.clear()
        return stall

    report = await measured(mini, plant, 4)
    assert report.freezes == 1
    assert report.freeze_ms.max is not None
    assert 1000 - 1000 / FPS <= report.freeze_ms.max <= 1000 + 1000 / FPS + ERROR_MS
    assert report.forward_latency_ms.max == pytest.approx(1000, abs=ERROR_MS)
    assert report.frames_lost == 0
    assert [moment.freezes for moment in report.series if moment.freezes] == [1]


async def test_without_a_fault_none_is_reported(mini: MiniServer) -> None:
    report = await measured(mini, None, 3)
    assert (report.frames_lost, report.frames_duplicated, report.packets_lost) == (0, 0, 0)
    assert (report.frames_out_of_order, report.frame_completeness) == (0, 1.0)
    assert report.av_offset_ms.p50 == pytest.approx(0, abs=5)
