import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.media.allotment import (
    AWAY_S,
    HEADROOM,
    MAX_AWAY_S,
    MAX_PROBE_AFTER_S,
    PROBE_BEYOND,
    Allotment,
    Change,
    Meter,
    ProbePlan,
)

STEP_S = 0.25


class Story:
    """An allotment, looked at four times a second."""

    def __init__(self, *, losing: bool = True) -> None:
        self.allotment = Allotment()
        self.losing = losing
        self.now = 0.0

    def until_change(self, needed_bps: float, available_bps: float, most_s: float = 200.0) -> float:
        """After how long it changed; infinite: not within `most_s`."""
        begun_s = self.now
        while self.now - begun_s < most_s:
            self.now += STEP_S
            change = self.allotment.look(
                needed_bps, available_bps, STEP_S, self.now, losing=self.losing
            )
            if change is not None:
                return self.now - begun_s
        return math.inf


@pytest.mark.parametrize(
    ("available_bps", "held_back_after_s"),
    [(250e3, 0.25), (300e3, 0.5), (500e3, 2.25), (900e3, 32.75), (1e6, math.inf), (2e6, math.inf)],
)
def test_picture_is_held_back_the_sooner_the_more_it_exceeds(
    available_bps: float, held_back_after_s: float
) -> None:
    story = Story()
    assert story.until_change(1e6, available_bps) == pytest.approx(held_back_after_s, abs=0.26)
    assert story.allotment.shown is (held_back_after_s == math.inf)


@pytest.mark.parametrize(
    ("available_bps", "held_back_after_s"), [(100e3, 4.5), (500e3, 4.5), (900e3, 32.75)]
)
def test_picture_is_held_back_later_where_nothing_is_lost(
    available_bps: float, held_back_after_s: float
) -> None:
    story = Story(losing=False)
    assert story.until_change(1e6, available_bps) == pytest.approx(held_back_after_s, abs=0.26)


def test_short_excess_is_forgiven() -> None:
    story = Story()
    for _ in range(50):
        assert story.until_change(1e6, 600e3, most_s=1.0) == math.inf
        assert story.until_change(1e6, 2e6, most_s=2.0) == math.inf


def test_it_comes_back_when_there_is_room_to_spare() -> None:
    story = Story()
    story.until_change(1e6, 300e3)
    assert story.until_change(1e6, 1e6 * HEADROOM - 1) == math.inf
    assert story.until_change(1e6, 1e6 * HEADROOM) == STEP_S
    assert story.allotment.shown


def test_it_stays_away_for_a_while_and_longer_each_time_it_was_a_mistake() -> None:
    story, away = Story(), []
    for _ in range(8):
        story.until_change(1e6, 300e3)
        away.append(story.until_change(1e6, 2e6))
    assert away[:3] == [AWAY_S, 2 * AWAY_S, 4 * AWAY_S]
    assert away[-1] == MAX_AWAY_S


def test_what_came_back_for_good_is_trusted_again() -> None:
    story = Story()
    for _ in range(5):
        story.until_change(1e6, 300e3)
        story.until_change(1e6, 2e6)
    assert story.until_change(1e6, 2e6, most_s=60) == math.inf
    story.until_change(1e6, 300e3)
    assert story.until_change(1e6, 2e6) == AWAY_S


def test_meter_follows_a_stream_within_seconds_and_survives_another_one() -> None:
    meter = Meter()
    for index in range(40):
        meter.read(1, index * 31_250, STEP_S)
    assert meter.bitrate_bps == pytest.approx(1e6, rel=0.01)
    meter.read(2, 10**9, STEP_S)
    meter.read(2, 10**9 + 31_250, STEP_S)
    assert meter.bitrate_bps == pytest.approx(1e6, rel=0.01)
    for _ in range(40):
        meter.read(2, 10**9 + 31_250, STEP_S)
    assert meter.bitrate_bps < 1000


def test_probes_climb_while_they_find_something_and_become_rare_when_not() -> None:
    plan, estimated_bps, now, tried = ProbePlan(), 100e3, 0.0, []
    while now < 20 and estimated_bps < PROBE_BEYOND * 1e6:
        now += STEP_S
        probed_bps = plan.look(1e6, estimated_bps, now)
        if probed_bps is not None:
            tried.append((now, probed_bps))
            estimated_bps = probed_bps
    assert [bps for _, bps in tried] == [200e3, 400e3, 800e3, PROBE_BEYOND * 1e6]
    assert now < 6
    assert plan.look(1e6, PROBE_BEYOND * 1e6, now + 100) is None, "there is room enough"
    in_vain = [at for at in range(1000, 2000) if plan.look(1e6, 200e3, at) is not None]
    assert len(in_vain) < 1000 / MAX_PROBE_AFTER_S + 8


@settings(max_examples=200)
@given(st.lists(st.tuples(st.floats(0, 1e8), st.floats(-1e6, 1e8), st.floats(0, 10)), max_size=50))
def test_changes_alternate_whatever_is_measured(
    looks: list[tuple[float, float, float]],
) -> None:
    allotment, now, changes = Allotment(), 0.0, []
    for needed_bps, available_bps, elapsed_s in looks:
        now += elapsed_s
        change = allotment.look(needed_bps, available_bps, elapsed_s, now, losing=True)
        if change is not None:
            changes.append(change)
    assert changes == [Change.HOLD_BACK, Change.SHOW] * (len(changes) // 2) + [Change.HOLD_BACK] * (
        len(changes) % 2
    )
