"""The search by planted servers that carry a known number; nothing runs here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.capacity import Search, Trial, as_text, judge
from loadtest.histogram import Histogram
from loadtest.report import GeneratorCost, InterviewResult, make_report

COST = {"total": 9.0, "media": 5.0, "analysis": 4.0}


def trial(interviews: int, carries: int) -> Trial:
    failed = [] if interviews <= carries else ["forward latency p99: 80 ms, not at most 50"]
    return Trial(interviews, failed, [], COST)


def searched(carries: int, start: int = 10, limit: int = 1000, resolution: float = 0.05) -> Search:
    search = Search(start, limit, resolution)
    while (interviews := search.next_interviews()) is not None:
        search.add(trial(interviews, carries))
        assert len(search.trials) < 40
    return search


@given(st.integers(0, 1200), st.integers(1, 100), st.sampled_from([0.01, 0.05, 0.2]))
def test_a_planted_capacity_is_found_to_the_resolution(
    carries: int, start: int, resolution: float
) -> None:
    found = searched(carries, start, 1000, resolution).capacity()
    assert found.interviews <= carries
    if carries >= 1000:
        assert (found.interviews, found.exact, found.failed_at) == (1000, False, None)
    else:
        assert found.exact
        assert found.failed_at is not None
        assert found.failed_at > carries
        assert found.failed_at - found.interviews <= max(1, round(carries * resolution))


def test_the_search_doubles_and_then_halves() -> None:
    tried = [trial.interviews for trial in searched(70).trials]
    assert tried == [10, 20, 40, 80, 60, 70, 75, 72]


def test_a_start_that_is_too_much_is_gone_below() -> None:
    found = searched(3, start=10).capacity()
    assert (found.interviews, found.failed_at) == (3, 4)


def test_a_server_that_carries_none_has_the_capacity_of_none() -> None:
    found = searched(0).capacity()
    assert (found.interviews, found.exact, found.failed_at) == (0, True, 1)
    assert found.server_cpu_ms_per_interview_second is None


def test_the_level_that_failed_first_and_the_cost_are_told() -> None:
    found = searched(70).capacity()
    assert found.failed_first == ["forward latency p99: 80 ms, not at most 50"]
    assert found.server_cpu_ms_per_interview_second == COST
    text = as_text(found)
    assert f"capacity  {found.interviews} interviews" in text
    assert "failed first  with 72: forward latency p99" in text
    assert "media 5, analysis 4" in text


def test_a_run_that_measured_the_generator_ends_the_search_without_a_verdict() -> None:
    search = Search(10)
    search.add(trial(10, 100))
    search.add(Trial(20, ["forward latency p99: 80 ms"], ["the generator sent late"], COST))
    assert search.next_interviews() is None
    found = search.capacity()
    assert (found.interviews, found.exact, found.failed_at) == (10, False, None)
    assert "the generator sent late" in found.stopped_because
    assert "at least 10" in as_text(found)


def test_an_interrupted_search_tells_what_it_knows() -> None:
    search = Search(10)
    search.add(trial(10, 100))
    found = search.capacity(interrupted=True)
    assert (found.interviews, found.exact, found.stopped_because) == (10, False, "interrupted")


def result(**changes: object) -> InterviewResult:
    latency = Histogram([0.005] * 100)
    settings: dict[str, object] = {
        "frames_sent": 1000,
        "frames_received": 1000,
        "forward_latency_s": latency,
        "indicator_latency_s": Histogram([0.2]),
    }
    return InterviewResult(**{**settings, **changes})  # type: ignore[arg-type]


IDLE = GeneratorCost(0.1, Histogram([0.001]))


@pytest.mark.parametrize(
    ("bad", "failed"),
    [
        ({}, []),
        ({"frames_received": 998}, []),  # 99.9 % of both
        ({"frames_received": 990}, ["frames complete: 99.5 %, not at least 99.9"]),
        (
            {"forward_latency_s": Histogram([0.0799] * 100)},
            ["forward latency p99: 79.9 ms, not at most 50"],
        ),
        (
            {"indicator_latency_s": Histogram([0.6] * 9)},
            ["indicator latency p95: 600 ms, not at most 500"],
        ),
        ({"error": "HTTP 503: full"}, ["interviews joined: 50 %, not at least 100"]),
        ({"connection_lost": "the observer's"}, ["connections: 1 lost"]),
    ],
)
def test_each_level_that_is_not_kept_is_named(bad: dict[str, object], failed: list[str]) -> None:
    report = make_report([result(), result(**bad)], 10, IDLE, {"media": 1.0}, None)
    found = judge(report)
    assert found.inconclusive == []
    assert found.failed == failed


def test_an_overloaded_generator_makes_a_run_inconclusive() -> None:
    busy = GeneratorCost(9.5, Histogram([0.001]))
    idle = GeneratorCost(0.1, Histogram([0.001]))
    one_of_two = GeneratorCost.all_processes([busy, idle])
    assert judge(make_report([result()], 10, one_of_two, None, None)).inconclusive == [
        "the generator used 95% of a core"
    ]
    late = GeneratorCost(0.1, Histogram([0.05] * 10))
    many = GeneratorCost(0.1, Histogram([0.001] * 10_000))
    assert (
        "p99 50 ms"
        in judge(
            make_report([result()], 10, GeneratorCost.all_processes([late, many]), None, None)
        ).inconclusive[0]
    )
