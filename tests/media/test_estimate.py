"""The estimate on links whose truth is known (tests/media/links.py)."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.network import Link, parse_network
from server.media.forwarding.estimate import (
    MAX_BPS,
    MIN_BPS,
    START_BPS,
    Arrival,
    DelayTrend,
    Estimate,
    Loss,
    Usage,
)
from tests.media.links import FEEDBACK_S, Bottleneck, Flow, Rough, run


def queue_between(queue: list[tuple[float, float]], begin_s: float, end_s: float) -> list[float]:
    return sorted(waited for at, waited in queue if begin_s <= at < end_s)


@pytest.mark.parametrize("rate_bps", [300e3, 1e6, 2e6])
def test_settles_below_a_steady_rate_within_seconds_and_lets_no_queue_stand(
    rate_bps: float,
) -> None:
    link = Bottleneck(lambda _: rate_bps)
    flow = Flow(link)
    queue = run(link, [flow], 30)
    assert 0.8 * rate_bps < flow.mean_bps(4, 30) < 1.02 * rate_bps
    assert flow.mean_bps(3, 5) < 1.05 * rate_bps
    waited = queue_between(queue, 4, 30)
    assert waited[len(waited) // 2] < 0.04
    assert waited[-1] < 0.15


def test_rate_that_drops_and_comes_back_is_followed() -> None:
    link = Bottleneck(lambda now: 500e3 if 15 <= now < 30 else 2e6)
    flow = Flow(link)
    queue = run(link, [flow], 60)
    assert 1.6e6 < flow.mean_bps(8, 15) < 2.1e6
    assert 0.8 * 500e3 < flow.mean_bps(19, 30) < 1.05 * 500e3
    assert queue_between(queue, 19, 30)[-1] < 0.15
    assert flow.mean_bps(50, 60) > 1.6e6


@pytest.mark.parametrize("loss", [0.1, 0.2])
def test_loss_of_the_path_itself_does_not_starve_what_fits(loss: float) -> None:
    link = Bottleneck(lambda _: 5e6, loss=loss)
    flow = Flow(link, most_bps=1e6)
    run(link, [flow], 30)
    # What comes through is proof that it fits: with repairs that is all that is sent.
    assert min(bps for _, bps in flow.estimates) > 0.95 * (1 - 1.25 * loss) * 1e6
    assert flow.mean_bps(10, 30) > 1e6


def test_loss_of_ten_percent_leaves_most_of_a_full_link() -> None:
    link = Bottleneck(lambda _: 2e6, loss=0.1)
    flow = Flow(link)
    run(link, [flow], 40)
    assert flow.mean_bps(10, 40) > 1.4e6


def test_limit_without_a_queue_is_found_by_loss() -> None:
    link = Bottleneck(lambda _: 500e3, queue_s=0.005)
    flow = Flow(link, most_bps=1e6)
    run(link, [flow], 30)
    assert 200e3 < flow.mean_bps(4, 30) < 500e3


def test_two_share_a_link_about_evenly() -> None:
    link = Bottleneck(lambda _: 2e6)
    first, second = Flow(link), Flow(link, begin_s=10, estimate=Estimate(10))
    queue = run(link, [first, second], 60)
    shares = [each.mean_bps(40, 60) for each in (first, second)]
    assert min(shares) > 0.7 * max(shares)
    assert 1.6e6 < sum(shares) < 2.1e6
    assert queue_between(queue, 20, 60)[-1] < 0.2


def test_what_fits_well_is_never_held_back() -> None:
    link = Bottleneck(lambda _: 5e6)
    flow = Flow(link, most_bps=1e6)
    run(link, [flow], 10)
    assert {bps for _, bps in flow.estimates} == {START_BPS}


def test_a_moment_of_delay_is_forgotten_as_soon_as_all_comes_through_again() -> None:
    """A busy machine stands still for a while: no reason to take a picture away."""
    link = Bottleneck(lambda now: 300e3 if 10 <= now % 20 < 10.3 else 20e6)
    flow = Flow(link, most_bps=1e6, least_bps=1e6)
    run(link, [flow], 60)
    assert min(bps for _, bps in flow.estimates) < 1e6
    too_low_s = sum(bps < 0.95e6 for _, bps in flow.estimates) * FEEDBACK_S
    assert too_low_s < 3 * 2


@pytest.mark.parametrize(
    "network",
    [
        "delay=30ms,jitter=30ms,reorder=2%",
        "delay=60ms,jitter=50ms,loss=1%",
        "delay=30ms,loss=20%",
        "delay=30ms,loss=10%,burst=4",
        "delay=30ms,loss=20%,burst=4",
    ],
)
@pytest.mark.parametrize("seed", ["1", "2"])
def test_jitter_and_losses_that_come_as_they_like_leave_all_that_is_sent(
    network: str, seed: str
) -> None:
    link = Rough(Link(parse_network(network), seed))
    flow = Flow(link, most_bps=1e6, least_bps=1e6)
    run(link, [flow], 60)
    too_low = sum(bps < 1e6 for _, bps in flow.estimates)
    assert too_low <= 0.01 * len(flow.estimates)


def test_a_limit_is_found_through_jitter() -> None:
    link = Rough(Link(parse_network("delay=30ms,jitter=30ms,rate=1mbit/s,queue=300ms"), "1"))
    flow = Flow(link)
    run(link, [flow], 30)
    assert 0.75e6 < flow.mean_bps(4, 30) < 1.02e6


def test_a_limit_is_not_found_above_what_is_sent() -> None:
    link = Bottleneck(lambda now: 600e3 if now < 5 else 20e6)
    flow = Flow(link, most_bps=1e6)
    run(link, [flow], 60)
    assert 1e6 < flow.mean_bps(50, 60) < 1.6e6


def test_a_probe_that_came_through_raises_and_never_lowers() -> None:
    estimate = Estimate(0.0)
    estimate.probed(START_BPS * 2)
    assert estimate.bitrate_bps == 2 * START_BPS
    estimate.probed(START_BPS)
    assert estimate.bitrate_bps == 2 * START_BPS


def test_growing_delay_is_told_and_standing_delay_is_not() -> None:
    trend, sent_s = DelayTrend(), 0.0

    def told(delays: Iterable[float]) -> list[Usage]:
        """Of a picture each 30th of a second that takes so long."""
        usages = []
        for delay_s in delays:
            nonlocal sent_s
            sent_s += 1 / 30
            trend.add(sent_s, sent_s + delay_s)
            usages.append(trend.look())
        return usages

    assert set(told([0.05] * 100)) == {Usage.NORMAL}
    assert Usage.OVER in told(0.05 + index * 0.01 for index in range(30))
    assert told([0.35] * 100)[-1] is Usage.NORMAL
    assert told(0.35 - index * 0.015 for index in range(20))[-1] is Usage.UNDER


def test_path_or_machine_that_stands_still_now_and_then_is_no_queue() -> None:
    trend, random, still_s = DelayTrend(), Random(1), -1.0
    for index in range(5000):
        sent_s = index / 50
        if sent_s > still_s + 0.2 and random.random() < 0.1:
            still_s = sent_s + random.uniform(0.02, 0.15)
        trend.add(sent_s, 0.05 + max(sent_s, still_s))
        if index % 5 == 4:
            assert trend.look() is not Usage.OVER


def test_clock_that_runs_faster_is_no_queue() -> None:
    trend = DelayTrend()
    for index in range(3000):
        trend.add(index / 30, index / 30 * 1.0005)
        assert trend.look() is Usage.NORMAL


def test_loss_that_stays_becomes_the_paths_own_unless_it_is_most() -> None:
    for fraction, excess in ((0.1, 0.0), (0.25, 0.0), (0.6, 0.35)):
        loss = Loss()
        loss.look(0.0)
        for _ in range(40):
            loss.look(fraction)
        assert loss.excess == pytest.approx(excess, abs=0.01)


def test_loss_that_is_over_lowers_nothing_more() -> None:
    estimate = Estimate(0.0)
    lowest_bps = []
    for tenth in range(60):
        now = tenth / 10
        lost = 6 if 20 <= tenth < 30 else 0
        count = 10 if tenth < 30 else 3
        came = [Arrival(now + index / 100, now + index / 100, 1250) for index in range(count)]
        estimate.feedback(came, lost, now + 0.1, 0.06)
        lowest_bps.append(estimate.bitrate_bps)
    assert lowest_bps[30] < lowest_bps[19]
    assert min(lowest_bps[31:]) == lowest_bps[31]


ARRIVALS = st.lists(
    st.builds(
        Arrival,
        st.floats(0, 1e6),
        st.floats(-1e6, 1e6),
        st.integers(0, 1500),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(ARRIVALS, st.integers(0, 30), st.floats(0, 100)), max_size=20))
def test_any_feedback_keeps_the_estimate_within_its_bounds(
    rounds: list[tuple[list[Arrival], int, float]],
) -> None:
    estimate, now = Estimate(0.0), 0.0
    for arrivals, lost, elapsed_s in rounds:
        now += elapsed_s
        estimate.feedback(arrivals, lost, now, None)
        assert MIN_BPS <= estimate.bitrate_bps <= MAX_BPS
        assert len(estimate._delivered) <= 20


def test_what_is_delivered_when_a_full_queue_has_emptied_is_no_limit() -> None:
    estimate = Estimate(0.0)
    now = 0.0

    def half_a_second(packets: int, lost: int) -> None:
        nonlocal now
        came = [Arrival(at, at, 1000) for at in (now + i / packets / 2 for i in range(packets))]
        now += 0.5
        estimate.feedback(came, lost, now, 0.06)

    for _ in range(10):
        half_a_second(50, 0)
    for _ in range(3):
        half_a_second(50, 150)
    known_bps = estimate.bitrate_bps
    assert known_bps < 1e6
    half_a_second(12, 0)  # a smaller layer, of which nothing is lost
    assert estimate.bitrate_bps > 0.7 * known_bps
