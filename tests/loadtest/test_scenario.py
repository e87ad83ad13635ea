"""Scenarios by virtual time: nobody joins here."""

from collections import Counter
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.scenario import (
    NAMES,
    Act,
    Scenario,
    ScenarioError,
    Step,
    Timeline,
    describe,
    make_scenario,
)

JOINS = (Act.JOIN, Act.JOIN_ALONE)


def times(scenario: Scenario, act: Act) -> list[float]:
    return [step.at_s for step in scenario.steps if step.act is act]


@given(st.sampled_from(NAMES), st.integers(1, 60), st.floats(2, 600), st.text(max_size=3))
def test_every_scenario_is_one_that_can_be_played(
    name: str, interviews: int, duration_s: float, seed: str
) -> None:
    scenario = make_scenario(name, interviews, duration_s, seed)
    on: set[int] = set()
    seen: set[int] = set()
    for step in scenario.steps:
        assert 0 <= step.at_s <= duration_s
        if step.act in JOINS:
            assert step.interview not in seen
            on.add(step.interview)
            seen.add(step.interview)
        else:
            assert step.interview in on
        if step.act is Act.LEAVE:
            on.remove(step.interview)
    assert list(scenario.steps) == sorted(scenario.steps, key=lambda step: step.at_s)
    assert seen == set(range(scenario.interviews))
    assert scenario.at_once() == interviews


def test_steady_is_all_at_the_beginning() -> None:
    scenario = make_scenario("steady", 3, 60)
    assert scenario.opening == tuple(Step(0, number, Act.JOIN) for number in range(3))
    assert scenario.later == ()


def test_a_ramp_is_even_until_its_pace() -> None:
    assert times(make_scenario("ramp:40s", 4, 60), Act.JOIN) == [0, 10, 20, 30]


def test_a_flash_crowd_comes_at_one_moment() -> None:
    assert times(make_scenario("flash:15", 20, 60), Act.JOIN) == [0] * 2 + [15] * 18


def test_late_observers_come_to_candidates_that_are_there() -> None:
    scenario = make_scenario("late-observers:20", 2, 60)
    assert times(scenario, Act.JOIN_ALONE) == [0, 0]
    assert times(scenario, Act.OBSERVE) == [10, 20]


def test_a_reconnect_storm_takes_everybody_again_and_again() -> None:
    assert times(make_scenario("reconnect:20", 2, 60), Act.RECONNECT) == [20, 20, 40, 40]


def test_in_churn_everyone_stays_for_the_pace_on_average_and_is_followed() -> None:
    scenario = make_scenario("churn:60", 50, 7200)
    left = {step.interview: step.at_s for step in scenario.steps if step.act is Act.LEAVE}
    joined = {step.interview: step.at_s for step in scenario.steps if step.act is Act.JOIN}
    stays = [left[number] - joined[number] for number in left]
    assert mean(stays) == pytest.approx(60, rel=0.06)  # four deviations of about 5900 stays
    assert Counter(left.values()) == Counter(at_s for at_s in joined.values() if at_s > 0)


def test_a_soak_is_steady_but_for_one_who_is_followed_every_pace() -> None:
    scenario = make_scenario("soak:5m", 2, 1200)
    assert times(scenario, Act.JOIN) == [0, 0, 300, 600, 900]
    left = [(step.at_s, step.interview) for step in scenario.steps if step.act is Act.LEAVE]
    assert left == [(300, 0), (600, 1), (900, 2)], "whoever is there longest"
    assert len(times(make_scenario("soak", 2, 7200), Act.LEAVE)) == 19


def test_the_same_seed_gives_the_same_churn_and_another_another() -> None:
    first = make_scenario("churn", 5, 60, "a")
    assert make_scenario("churn", 5, 60, "a") == first
    assert make_scenario("churn", 5, 60, "b") != first


def test_a_timeline_hands_out_each_step_once_when_its_time_has_come() -> None:
    timeline = Timeline(make_scenario("ramp:40", 4, 60))
    assert timeline.next_s == 10
    assert timeline.take(9.9) == []
    assert [step.interview for step in timeline.take(25)] == [1, 2]  # the clock was late
    assert timeline.take(25) == []
    assert timeline.next_s == 30
    timeline.take(60)
    assert timeline.next_s is None


def test_a_timeline_of_some_interviews_is_of_them_alone() -> None:
    timeline = Timeline(make_scenario("ramp:40", 4, 60), lambda number: number % 2 == 1)
    assert [step.interview for step in timeline.take(60)] == [1, 3]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rush", "there are steady, ramp"),
        ("ramp:soon", "not 'soon'"),
        ("ramp:0", "above zero"),
        ("ramp:nan", "not 'nan'"),
        ("ramp:0.01", "at least 0.1 s"),
        ("ramp:2m", "not be above the duration"),
        ("ramp:61", "not be above the duration"),
    ],
)
def test_what_cannot_be_understood_is_said(text: str, why: str) -> None:
    with pytest.raises(ScenarioError, match=why):
        make_scenario(text, 4, 60)


def test_every_scenario_is_described() -> None:
    for name in NAMES:
        assert name in describe()
    assert "None" not in describe()


@pytest.mark.parametrize(
    ("name", "later"),
    [
        ("steady", False),
        ("late-observers", False),
        ("reconnect", False),
        ("ramp", True),
        ("flash", True),
        ("soak", True),
    ],
)
def test_who_comes_later_is_known(name: str, later: bool) -> None:
    assert make_scenario(name, 2, 60).joined_later is later
