import asyncio
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest

from loadtest.adaptation import CALM_S, HISTORY, Adaptation
from loadtest.media import CAMERA, FPS, LOWER, Clip, encode_pictures
from loadtest.packets import Frame, PacketisedClip, packetise
from loadtest.plan import Plan
from loadtest.run import Progress, run
from loadtest.scene import Scene
from loadtest.summary import as_text
from server.core import rtcp
from server.core.twcc import TICK_S, TransportFeedback
from server.media.server import MediaServer
from tests.loadtest.conftest import short_clip
from tests.loadtest.mini_server import OWNER_TOKEN, MiniServer
from tests.loadtest.passing_server import PassingMedia

RATES = (1_000_000, 500_000, 250_000)


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


def test_what_is_sent_besides_is_part_of_what_it_is_told() -> None:
    adaptation = Adaptation(RATES, beside_bps=90_000)
    adaptation.max_bitrate(580_000, 0.0)
    assert adaptation.level == 2
    for second in range(1, 10):
        adaptation.max_bitrate(680_000, second)
    assert adaptation.level == 2, "1.2 times 500 would need 690"


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
        seqno, arrived_s = adaptation.number(now), arrive(index, now)
        ticks = None if arrived_s is None else round(arrived_s / TICK_S) & 0xFFFF_FFFF
        adaptation.feedback(TransportFeedback(1, 2, index & 0xFF, seqno, (ticks,)), now)


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


def test_a_rise_that_does_not_hold_is_tried_again_later_each_time() -> None:
    """A queue grows whenever the highest bitrate is sent."""
    adaptation, levels = Adaptation(RATES[:2]), [1]
    for second in range(80):
        delay_s = 0.3 if adaptation.level == 0 and second else 0.05
        driven(adaptation, range(second, second + 1), lambda _, now: now + delay_s)  # noqa: B023
        levels.append(adaptation.level)
    rises = [second for second in range(2, 80) if levels[second] < levels[second - 1]]
    between = [after - before for before, after in pairwise(rises)]
    assert len(between) >= 2
    assert all(after > 1.5 * before for before, after in pairwise(between))


def test_feedback_for_what_was_never_sent_says_nothing() -> None:
    adaptation = Adaptation(RATES)
    for _ in range(HISTORY + 3):
        adaptation.number(1.0)
    for base, count in ((0, 3), (5000, 4000)):
        adaptation.feedback(TransportFeedback(1, 2, 0, base, (None,) * count), 2.0)
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
    # With the sound 250 kbit/s would be more.
    whole, *_, fitting = (sum(map(payload, frames)) for frames in (clip.video, *clip.lower))
    assert sent[0] - sent[-1] == pytest.approx((whole - fitting) * 0.008, rel=0.25)
    assert report.sent_kbps_lowest == min(sent)
    assert report.sent_kbps == pytest.approx(sum(sent) / len(sent), abs=0.1)
    assert (report.frame_completeness, report.frames_misrouted) == (1.0, 0)
    assert f"at least {report.sent_kbps_lowest:g}" in as_text(report)


async def test_a_candidate_with_room_is_told_of_no_loss_and_sends_the_most(
    mini: MiniServer,
) -> None:
    clip = adaptive_clip()
    plan = Plan(mini.url, (clip,), 1, 5.0, Path("/nonexistent"), OWNER_TOKEN, os.getpid())
    report = await run(plan, asyncio.Event(), lambda progress: None)
    sent = [each.sent_kbps for each in report.series if each.sent_kbps is not None]
    assert sent[-1] == pytest.approx(sent[0], rel=0.1)


def test_numbers_wrap() -> None:
    adaptation = Adaptation(RATES)
    numbers = [adaptation.number(0.0) for _ in range(65_537)]
    assert numbers[-2:] == [65_535, 0]
