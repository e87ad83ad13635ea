from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.growth import (
    MIN_DURATION_S,
    MIN_JUDGED_S,
    judged_mb_per_hour,
    memory_growth_per_hour,
    slope,
)
from loadtest.histogram import Histogram
from loadtest.series import Moment, percentiles


def moment(at_s: float, memory: dict[str, int]) -> Moment:
    nothing = percentiles(Histogram())
    return Moment(
        at_s=at_s,
        interviews=1,
        forward_latency_ms=nothing,
        indicator_latency_ms=nothing,
        packets_lost=0,
        freezes=0,
        frame_completeness=None,
        server_cpu_percent={},
        server_memory_bytes=memory,
        generator_cpu_percent=0,
        sent_kbps=None,
    )


def test_a_planted_leak_is_found_through_the_noise_of_allocations() -> None:
    noise = Random(1)
    series = [
        moment(second, {"media": 100_000_000 + 1000 * second + noise.randrange(200_000)})
        for second in range(1, 3600)
    ]
    growth = memory_growth_per_hour(series)
    assert growth is not None
    assert growth["media"] == pytest.approx(3_600_000, rel=0.05)


def test_what_fills_up_at_the_start_is_no_growth() -> None:
    series = [
        moment(second, {"media": 50_000_000 + min(second, 100) * 1_000_000, "analysis": 7})
        for second in range(1, 600)
    ]
    assert memory_growth_per_hour(series) == {"media": 0, "analysis": 0}


@pytest.mark.parametrize("memory", [{}, {"media": 5}])
def test_a_short_run_or_an_unknown_process_tells_nothing(memory: dict[str, int]) -> None:
    long = int(MIN_DURATION_S) + 1 if not memory else int(MIN_DURATION_S) - 1
    assert memory_growth_per_hour([moment(second, memory) for second in range(long + 1)]) is None
    assert memory_growth_per_hour([]) is None


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_the_slope_of_a_line_is_its_own(rise: float, start: float) -> None:
    times = [0.0, 1.0, 2.5, 7.0]
    assert slope(times, [start + rise * t for t in times]) == pytest.approx(rise, abs=1e-6)


@pytest.mark.parametrize(
    ("seconds", "scenario", "judged"),
    [
        (int(MIN_JUDGED_S), "steady", pytest.approx(36)),
        (int(MIN_JUDGED_S), "soak:5m", pytest.approx(36)),
        (int(MIN_JUDGED_S), "ramp", None),  # interviews are added
        (int(MIN_JUDGED_S) - 1, "steady", None),
        (0, "steady", None),
    ],
)
def test_growth_is_judged_in_long_runs_whose_interviews_do_not_become_more(
    seconds: int, scenario: str, judged: object
) -> None:
    series = [moment(second, {"media": 10_000 * second}) for second in range(1, seconds + 1)]
    assert judged_mb_per_hour(series, scenario) == judged


def test_the_fastest_growing_process_is_judged() -> None:
    series = [
        moment(second, {"media": 50_000_000, "analysis": 90_000_000 + 1000 * second})
        for second in range(1, 700)
    ]
    assert judged_mb_per_hour(series, "steady") == pytest.approx(3.6)
