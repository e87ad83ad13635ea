import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.histogram import Histogram, merged
from loadtest.results import InterviewResult
from loadtest.series import MAX_MOMENTS, Moment, Series, Totals, put_together
from loadtest.server_cost import ProcessTime


def result(**changes: object) -> InterviewResult:
    return InterviewResult(**changes)  # type: ignore[arg-type]


def totals(*results: InterviewResult, cpu_s: float = 0.0) -> Totals:
    made = Totals(generator_cpu_s=cpu_s)
    for each in results:
        made.add(each)
    return made


def test_a_moment_is_what_happened_since_the_one_before() -> None:
    first = result(
        frames_expected=100, frames_received=100, forward_latency_s=Histogram([0.5] * 100)
    )
    second = result(
        frames_expected=130,
        frames_received=127,
        packets_lost=3,
        freezes_s=Histogram([0.4]),
        forward_latency_s=Histogram([0.5] * 100 + [0.002] * 99 + [0.050]),
        indicator_latency_s=Histogram([0.3]),
    )
    series = Series(Totals(), {}, 100.0)
    series.add(totals(first), {}, 101.0)
    moment = series.add(totals(second), {}, 102.0)
    assert (moment.at_s, moment.interviews) == (2.0, 1)
    assert moment.frame_completeness == 0.9
    assert (moment.packets_lost, moment.freezes) == (3, 1)
    assert moment.forward_latency_ms.samples == 100
    assert moment.forward_latency_ms.p50 == pytest.approx(2, rel=0.01)
    assert moment.forward_latency_ms.max == pytest.approx(50, rel=0.01)
    assert moment.indicator_latency_ms.p95 == pytest.approx(300, rel=0.01)
    assert series.moments[-1] is moment


def test_cpu_is_a_share_of_one_core_and_memory_is_that_of_now() -> None:
    before = {1: ProcessTime("media", 5.0, 10), 2: ProcessTime("analysis", 0.0, 20)}
    after = {1: ProcessTime("media", 5.5, 30), 2: ProcessTime("analysis", 1.5, 40)}
    series = Series(totals(cpu_s=1.0), before, 10.0)
    moment = series.add(totals(cpu_s=1.2), after, 12.0)
    assert moment.server_cpu_percent == {"media": 25.0, "analysis": 75.0}
    assert moment.server_memory_bytes == {"media": 30, "analysis": 40}
    assert moment.generator_cpu_percent == 10.0


def test_a_moment_without_a_picture_has_no_completeness() -> None:
    series = Series(Totals(), {}, 0.0)
    assert series.add(Totals(), {}, 1.0).frame_completeness is None


def test_only_whole_interviews_are_up() -> None:
    made = totals(result(), result(error="HTTP 503"), result(connection_lost="the candidate's"))
    assert made.up == 1


def test_totals_of_several_processes_are_merged() -> None:
    one = totals(result(packets_lost=1, forward_latency_s=Histogram([0.001])), cpu_s=1.0)
    one.merge(totals(result(packets_lost=2, forward_latency_s=Histogram([0.002])), cpu_s=2.0))
    assert (one.up, one.packets_lost, one.generator_cpu_s) == (2, 3, 3.0)
    assert one.forward_latency_s.count == 2


def test_a_bitrate_is_by_the_time_that_the_octets_were_counted_in() -> None:
    first = totals(result(octets_sent=125_000, up_s=1.0))
    series = Series(Totals(), {}, 0.0)
    assert series.add(first, {}, 1.0).sent_kbps == 1000
    assert series.add(first, {}, 2.0).sent_kbps is None, "nothing was told in this second"
    both = totals(result(octets_sent=375_000, up_s=3.0), result(octets_sent=62_500, up_s=1.0))
    assert series.add(both, {}, 3.0).sent_kbps == pytest.approx(833.3)


def freezing(seconds: int, bad: int) -> Series:
    """A run of so many moments, in which the one called `bad` was the worst by far."""
    series, so_far = Series(Totals(), {}, 0.0), Totals(up=1)
    for second in range(1, seconds + 1):
        so_far = Totals(
            up=1,
            frames_expected=30 * second,
            frames_received=30 * second - 15 * (second >= bad),
            freezes=int(second >= bad),
            forward_latency_s=merged(
                [so_far.forward_latency_s, Histogram([0.8 if second == bad else 0.002])]
            ),
        )
        series.add(so_far, {1: ProcessTime("media", second * 0.1, 1)}, float(second))
    return series


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3 * MAX_MOMENTS), st.data())
def test_a_long_run_is_thinned_and_its_worst_second_stays_to_be_seen(
    seconds: int, data: st.DataObject
) -> None:
    bad = data.draw(st.integers(1, seconds))
    moments = freezing(seconds, bad).moments
    assert len(moments) <= MAX_MOMENTS
    assert moments[-1].at_s == seconds
    assert sum(each.freezes for each in moments) == 1
    assert sum(each.forward_latency_ms.samples for each in moments) == seconds
    (worst,) = (each for each in moments if each.freezes)
    assert worst.at_s - moments[0].at_s < bad <= worst.at_s
    assert worst.forward_latency_ms.p99 == pytest.approx(800, rel=0.01)
    assert worst.frame_completeness == 0.5


def test_moments_of_a_thinned_run_are_equally_long() -> None:
    moments = freezing(MAX_MOMENTS + 5, 7).moments
    assert [each.at_s for each in moments[:3]] == [2, 4, 6]
    assert [each.at_s for each in moments[-3:]] == [2002, 2004, 2005]


def test_of_two_moments_the_worse_is_kept_where_one_has_nothing() -> None:
    series = Series(Totals(), {}, 0.0)
    nothing = series.add(Totals(), {1: ProcessTime("media", 0.1, 5)}, 1.0)
    something = series.add(totals(result(frames_expected=2, frames_received=1)), {}, 2.0)

    def facts(moment: Moment) -> tuple[object, ...]:
        return moment.at_s, moment.interviews, moment.frame_completeness, moment.server_memory_bytes

    assert facts(put_together(nothing, something)) == (2.0, 0, 0.5, {"media": 5})
