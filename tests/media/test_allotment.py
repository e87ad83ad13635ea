import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.media.forwarding.allotment import (
    AWAY_S,
    BELOW_LIMIT,
    HEADROOM,
    LEAST_PROBE_BPS,
    MAX_AWAY_S,
    MAX_PROBE_AFTER_S,
    PROBE_AFTER_S,
    PROBE_BEYOND,
    PROVEN_S,
    Allotment,
    Change,
    Meter,
    ProbePlan,
)
from server.media.forwarding.probe import Result, Verdict

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


class Tries:
    """A plan on a network that takes `limit_bps`, looked at four times a second."""

    def __init__(self, limit_bps: float) -> None:
        self.plan = ProbePlan()
        self.limit_bps = limit_bps
        self.estimated_bps = 50e3
        self.now = 0.0
        self.tried: list[tuple[float, float]] = []

    def look(self, verdict: Verdict | None = None) -> None:
        self.now += STEP_S
        probed_bps = self.plan.look(1e6, self.estimated_bps, self.now)
        if probed_bps is None:
            return
        self.tried.append((self.now, probed_bps))
        through = Verdict.LIMIT if probed_bps > self.limit_bps else Verdict.THROUGH
        came_bps = 0.0 if verdict is Verdict.UNTOLD else min(probed_bps, self.limit_bps)
        self.plan.told(Result(verdict or through, came_bps), self.now)
        self.estimated_bps = max(self.estimated_bps, came_bps)

    def pass_time(self, seconds: float) -> list[float]:
        """The bitrates that were tried."""
        self.tried.clear()
        for _ in range(round(seconds / STEP_S)):
            self.look()
        return [bps for _, bps in self.tried]


def test_probes_climb_at_once_while_they_come_through() -> None:
    tries = Tries(math.inf)
    assert tries.pass_time(1.5) == [LEAST_PROBE_BPS, 320e3, 640e3, 1280e3, PROBE_BEYOND * 1e6]
    assert tries.pass_time(60) == [], "there is room enough"


def test_probes_beyond_the_networks_limit_become_rare_and_climb_again_once_it_is_gone() -> None:
    tries = Tries(500e3)
    assert tries.pass_time(1.0)[:3] == [LEAST_PROBE_BPS, 320e3, 640e3]
    tries.pass_time(20)
    assert len(tries.pass_time(100)) <= 100 / MAX_PROBE_AFTER_S
    tries.estimated_bps = 50e3  # a queue was seen
    below = tries.pass_time(MAX_PROBE_AFTER_S)[:-1]
    assert below == [LEAST_PROBE_BPS, 320e3, BELOW_LIMIT * 500e3]
    tries.limit_bps = math.inf
    assert tries.pass_time(MAX_PROBE_AFTER_S + 1)[-1] == PROBE_BEYOND * 1e6


def test_probe_that_tells_nothing_is_soon_tried_again_however_often() -> None:
    tries = Tries(math.inf)
    while tries.now < 60:
        tries.look(Verdict.UNTOLD)
    assert len(tries.tried) > 60 / (PROBE_AFTER_S + STEP_S)
    assert {bps for _, bps in tries.tried} == {LEAST_PROBE_BPS}


def test_no_probe_is_begun_before_the_last_one_is_told() -> None:
    plan = ProbePlan()
    assert plan.look(1e6, 200e3, 0.0) is not None
    assert plan.look(1e6, 200e3, 9.0) is None


def test_what_came_through_is_believed_for_a_while_unless_less_does() -> None:
    plan = ProbePlan()
    assert plan.proven_bps(0.0) == 0
    plan.told(Result(Verdict.THROUGH, 2e6), 10.0)
    plan.told(Result(Verdict.UNTOLD, 1e6), 11.0)
    assert plan.proven_bps(10 + PROVEN_S - 0.1) == 2e6
    assert plan.proven_bps(10 + PROVEN_S) == 0
    plan.told(Result(Verdict.THROUGH, 2e6), 20.0)
    plan.told(Result(Verdict.LIMIT, 1e6), 21.0)
    assert plan.proven_bps(21.5) == 1e6


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
