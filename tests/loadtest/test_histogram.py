import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.histogram import Histogram

durations = st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=200)


@given(durations, st.sampled_from([1, 50, 95, 99, 100]))
def test_percentiles_are_right_within_one_percent(samples: list[float], percent: int) -> None:
    rank = max(1, -(-len(samples) * percent // 100))
    exact = sorted(samples)[rank - 1]
    assert Histogram(samples).percentile(percent) == pytest.approx(exact, rel=0.01)


@given(durations, durations)
def test_merging_is_counting_together(first: list[float], second: list[float]) -> None:
    merged = Histogram(first)
    merged.merge(Histogram(second))
    together = Histogram(first + second)
    assert merged.count == together.count
    assert merged.max == together.max
    assert merged.percentile(95) == together.percentile(95)


def test_nothing_measured_has_no_percentile() -> None:
    assert Histogram().percentile(50) is None


def test_a_clock_that_ran_back_counts_as_no_delay() -> None:
    assert Histogram([-1.0]).percentile(50) == pytest.approx(0, abs=2e-6)


def test_what_came_since_is_told_without_what_was_before() -> None:
    histogram = Histogram([0.5] * 10)
    earlier = Histogram([0.5] * 10)
    for _ in range(100):
        histogram.add(0.020)
    later = histogram.since(earlier)
    assert later.count == 100
    assert later.percentile(50) == pytest.approx(0.020, rel=0.01)
    assert later.max == pytest.approx(0.020, rel=0.01)
    histogram.add(0.6)
    assert histogram.since(earlier).max == 0.6
    assert histogram.since(histogram).percentile(50) is None
