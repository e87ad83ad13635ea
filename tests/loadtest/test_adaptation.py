import asyncio
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.adaptation import CALM_S, HISTORY, Adaptation, Arrival, transport_feedback
from loadtest.media import CAMERA, FPS, LOWER, Clip, encode_pictures
from loadtest.packets import Frame, PacketisedClip, packetise
from loadtest.plan import Plan
from loadtest.run import Progress, run
from loadtest.scene import Scene
from loadtest.summary import as_text
from server.core import rtcp
from server.media.server import MediaServer
from tests.loadtest.conftest import short_clip
from tests.loadtest.mini_server import OWNER_TOKEN, MiniServer
from tests.loadtest.passing_server import PassingMedia

RATES = (1_000_000, 500_000, 250_000)


def feedback(base: int, count: int, reference: int, chunks: bytes, deltas: bytes) -> bytes:
    body = struct.pack("!IIHHI", 1, 2, base, count, (reference & 0xFFFFFF) << 8) + chunks + deltas
    body += bytes(-len(body) % 4)
    return struct.pack("!BBH", 0x80 | 15, 205, len(body) // 4) + body


def test_a_run_and_both_kinds_of_vectors_are_read() -> None:
    run = struct.pack("!H", 1 << 13 | 2)  # two packets with small deltas
    small = struct.pack("!H", 1 << 15 | 0b10000000000001)  # received, twelve lost, received
    large = struct.pack("!H", 1 << 15 | 1 << 14 | 0b10_00_01_00_00_00_00)
    deltas = bytes((4, 8, 1, 2)) + struct.pack("!h", -40) + bytes((255,))
    data = feedback(65_535, 2 + 14 + 3, 1000, run + small + large, deltas)
    arrivals = transport_feedback(data)
    assert [each.seqno for each in arrivals] == [65_535, *range(18)]
    came = {each.seqno: each.arrived_s for each in arrivals if each.arrived_s is not None}
    assert list(came) == [65_535, 0, 1, 14, 15, 17]
    ticks = [round((arrived_s - 64) * 4000) for arrived_s in came.values()]
    assert ticks == [4, 12, 13, 15, -25, 230]


def test_the_reference_time_is_signed_and_other_packets_are_passed_over() -> None:
    report = rtcp.receiver_report(rtcp.ReceiverReport(1))
    data = feedback(7, 1, -1, struct.pack("!H", 1 << 13 | 1), b"\0")
    assert transport_feedback(report + data) == [Arrival(7, -0.064)]
    assert transport_feedback(report + rtcp.nack(1, 2, [3])) == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (feedback(0, 3, 0, struct.pack("!HH", 1 << 13 | 1, 1 << 13 | 1), b""), "lacks a status"),
        (feedback(0, 4, 0, struct.pack("!H", 2 << 13 | 4), bytes(6)), "lacks a delta"),
        (feedback(0, 1, 0, struct.pack("!H", 3 << 13 | 1), bytes(6)), "lacks a delta"),
        (feedback(0, 9, 0, struct.pack("!H", 1 << 13), bytes(6)), "empty run"),
        (struct.pack("!BBHI", 0x8F, 205, 1, 1), "truncated"),
        (b"\x8f\xcd", "truncated"),
        (b"\x8f\xcd\x00\x09", "not whole"),
    ],
)
def test_what_is_not_whole_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        transport_feedback(data)


@given(st.binary(max_size=80), st.binary(max_size=60), st.integers(0, 65_535))
def test_any_bytes_are_read_or_refused(data: bytes, chunks: bytes, count: int) -> None:
    for each in (data, feedback(1, count, 5, chunks, b"")):
        with suppress(ValueError):
            assert all(0 <= arrival.seqno < 65_536 for arrival in transport_feedback(each))


# ---- what is made of it -----------------------------------------------------------------


def test_it_sends_no_more_than_it_is_told_and_comes_back_slowly() -> None:
    adaptation = Adaptation(RATES)
    adaptation.max_bitrate(1_500_000, 0.0)
    assert adaptation.level == 0
    adaptation.max_bitrate(999_999, 1.0)
    assert adaptation.level == 1
    adaptation.max_bitrate(100_000, 2.0)
    assert adaptation.level == 2, "no less than the least"
    levels = []
    for second in range(3, 20):
        adaptation.max_bitrate(1_100_000, second)
        levels.append(adaptation.level)
    first = int(CALM_S)
    assert levels == [2] * first + [1] * (len(levels) - first), "1.1 is no room for 1.0"


def test_it_goes_up_by_one_step_at_a_time() -> None:
    adaptation = Adaptation(RATES, level=2)
    levels = []
    for second in range(14):
        adaptation.max_bitrate(2_000_000, second)
        levels.append(adaptation.level)
    assert levels == [2] * 5 + [1] * 6 + [0] * 3


def driven(
    adaptation: Adaptation, seconds: range, arrive: Callable[[int, float], float | None]
) -> None:
    """A hundred packets a second, each reported at once."""
    for index in range(seconds.start * 100, seconds.stop * 100):
        now = index / 100
        seqno = adaptation.number(now)
        adaptation.feedback([Arrival(seqno, arrive(index, now))], now)


def test_losses_and_growing_queues_bring_it_down_by_steps() -> None:
    lossy = Adaptation(RATES)
    driven(lossy, range(1), lambda index, now: None if index % 7 == 0 else now + 0.05)
    assert lossy.level == 1
    driven(lossy, range(1, 9), lambda index, now: None if index % 7 == 0 else now + 0.05)
    assert lossy.level == 2
    queued = Adaptation(RATES)
    driven(queued, range(2), lambda index, now: now + 700 + now * 0.02)
    assert queued.level == 0, "a queue of 40 ms"
    driven(queued, range(2, 4), lambda index, now: now + 700 + (now - 2) * 0.3)
    assert queued.level == 1


def test_a_few_losses_and_a_shaky_path_do_not() -> None:
    adaptation = Adaptation(RATES)
    driven(
        adaptation,
        range(20),
        lambda index, now: None if index % 20 == 0 else now + index % 5 * 0.02,
    )
    assert adaptation.level == 0


def test_feedback_for_what_was_never_sent_says_nothing() -> None:
    adaptation = Adaptation(RATES)
    for _ in range(HISTORY + 3):
        adaptation.number(1.0)
    adaptation.feedback([Arrival(seqno, None) for seqno in (*range(3), *range(5000, 9000))], 2.0)
    assert adaptation.level == 0


# ---- a candidate that adapts ------------------------------------------------------------


def adaptive_clip() -> PacketisedClip:
    """A second of it at each bitrate."""
    pictures = [Scene().picture(index / FPS, 0.5) for index in range(FPS)]
    levels = [
        Clip("vp8", *encode_pictures("vp8", pictures, encoding), short_clip("vp8").audio)
        for encoding in (CAMERA, *LOWER)
    ]
    return packetise(levels[0], lower=levels[1:])


def payload(frame: Frame) -> int:
    return sum(len(packet.head) + len(packet.tail) for packet in frame)


async def test_a_candidate_sends_less_from_the_next_keyframe_on_when_it_is_told_to(
    mini: MiniServer,
) -> None:
    passing = PassingMedia(mini.media)
    mini.media = cast(MediaServer, passing)
    told: list[int] = []

    def tell(progress: Progress) -> None:
        (candidate,) = passing.candidates()
        told.append(1)
        candidate.send_feedback(rtcp.receiver_estimated_max_bitrate(1, 300_000, [2]))

    clip = adaptive_clip()
    plan = Plan(mini.url, (clip,), 1, 5.0, Path("/nonexistent"), OWNER_TOKEN, os.getpid())
    report = await run(plan, asyncio.Event(), tell)
    assert told
    sent = [each.sent_kbps for each in report.series if each.sent_kbps is not None]
    whole, _, least = (sum(map(payload, frames)) for frames in (clip.video, *clip.lower))
    assert sent[0] - sent[-1] == pytest.approx((whole - least) * 0.008, rel=0.25)
    assert report.sent_kbps_lowest == min(sent)
    assert report.sent_kbps == pytest.approx(sum(sent) / len(sent), abs=0.1)
    assert (report.frame_completeness, report.frames_misrouted) == (1.0, 0)
    assert f"at least {report.sent_kbps_lowest:g}" in as_text(report)


def test_numbers_wrap() -> None:
    adaptation = Adaptation(RATES)
    numbers = [adaptation.number(0.0) for _ in range(65_537)]
    assert numbers[-2:] == [65_535, 0]
