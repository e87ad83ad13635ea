"""Each impairment is found as it was planted, within four standard deviations of its estimate."""

import itertools
import math
from random import Random
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.network import (
    HEADERS_SIZE,
    PROFILES,
    REORDER_S,
    Impairments,
    Link,
    NetworkError,
    parse_network,
)

COUNT = 50_000
SPACING_S = 0.005  # 180 packets a second


def arrivals(
    network: Impairments, seed: str = "seed", count: int = COUNT, spacing_s: float = SPACING_S
) -> list[float | None]:
    link = Link(network, seed)
    return [link.arrival(1100, number * spacing_s) for number in range(count)]


def delays(network: Impairments, spacing_s: float = SPACING_S) -> list[float]:
    times = arrivals(network, spacing_s=spacing_s)
    return [time - n * spacing_s for n, time in enumerate(times) if time is not None]


def lost(times: list[float | None]) -> list[bool]:
    return [time is None for time in times]


@pytest.mark.parametrize("name", PROFILES)
def test_the_same_seed_gives_the_same_run_and_another_seed_another(name: str) -> None:
    network = PROFILES[name]
    assert arrivals(network, "a") == arrivals(network, "a")
    assert (arrivals(network, "a") == arrivals(network, "b")) is (name == "perfect")


def test_the_same_datagrams_are_lost_when_only_their_times_differ() -> None:
    network, late = Impairments(loss=0.05, burst=3, jitter_s=0.01), Random(1)
    link = Link(network, "seed")
    shifted = [link.arrival(1100, n * SPACING_S + late.random() / 500) for n in range(COUNT)]
    assert lost(shifted) == lost(arrivals(network))


def test_datagrams_that_are_spared_come_through_and_the_others_fare_as_before() -> None:
    network = Impairments(loss=0.3, burst=3)
    link = Link(network, "seed")
    times = [link.arrival(1100, n * SPACING_S, spared=n % 2 == 0) for n in range(COUNT)]
    assert None not in times[::2]
    assert lost(times)[1::2] == lost(arrivals(network))[1::2]


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.8])
def test_five_percent_of_loss_are_five_percent(share: float) -> None:
    deviation = math.sqrt(share * (1 - share) / COUNT)
    found = mean(lost(arrivals(Impairments(loss=share))))
    assert found == pytest.approx(share, abs=4 * deviation)


@pytest.mark.parametrize("burst", [2, 4, 10])
def test_losses_come_in_rows_of_the_planted_mean_length(burst: float) -> None:
    dropped = lost(arrivals(Impairments(loss=0.05, burst=burst)))
    rows = [len(list(row)) for was_lost, row in itertools.groupby(dropped) if was_lost]
    # Rows are geometric with mean b: their deviation is sqrt(b * (b - 1)).
    deviation = math.sqrt(burst * (burst - 1) / len(rows))
    assert mean(rows) == pytest.approx(burst, abs=4 * deviation)
    # Losses that stick together are fewer independent ones: 2b - 1 times the variance.
    spread = math.sqrt(0.05 * 0.95 * (2 * burst - 1) / COUNT)
    assert mean(dropped) == pytest.approx(0.05, abs=4 * spread)


def test_without_bursts_a_loss_says_nothing_of_the_next() -> None:
    dropped = lost(arrivals(Impairments(loss=0.2)))
    after = [second for first, second in itertools.pairwise(dropped) if first]
    assert mean(after) == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / len(after)))


def test_a_delay_without_jitter_is_exact() -> None:
    assert delays(Impairments(delay_s=0.06)) == pytest.approx([0.06] * COUNT)


def test_jitter_is_even_around_the_delay() -> None:
    found = delays(Impairments(delay_s=0.06, jitter_s=0.03), spacing_s=0.1)
    assert 0.03 <= min(found) < 0.031
    assert 0.089 < max(found) <= 0.09 + 1e-9
    assert mean(found) == pytest.approx(0.06, abs=4 * 0.03 / math.sqrt(3 * COUNT))
    assert pstdev(found) == pytest.approx(0.03 / math.sqrt(3), rel=0.02)


def test_jitter_alone_keeps_the_order() -> None:
    times = arrivals(Impairments(delay_s=0.06, jitter_s=0.03))
    assert times == sorted(time for time in times if time is not None)


def test_the_planted_share_is_overtaken() -> None:
    times = [time or 0.0 for time in arrivals(Impairments(reorder=0.02))]
    overtaken = [first > second for first, second in itertools.pairwise(times)]
    # Two in a row (0.02 squared) do not overtake each other.
    assert mean(overtaken) == pytest.approx(
        0.02 * 0.98, abs=4 * math.sqrt(0.02 / COUNT) + HEADERS_SIZE / COUNT
    )
    late = [time - n * SPACING_S for n, time in enumerate(times)]
    assert max(late) == pytest.approx(REORDER_S)


def test_a_rate_limit_lets_its_rate_through_and_queues_no_longer_than_it_may() -> None:
    network = Impairments(rate_bps=1e6, queue_s=0.1)  # offered: 1128 * 8 / 5 ms = 1.8 Mbit/s
    link, spacing_s, size = Link(network, "seed"), 0.005, 1100
    times = [link.arrival(size, n * spacing_s) for n in range(10_000)]
    came = [time for time in times if time is not None]
    bits = len(came) * (size + HEADERS_SIZE) * 8
    assert bits / (came[-1] - 0) == pytest.approx(1e6, rel=0.001)
    transmission_s = (size + HEADERS_SIZE) * 8 / 1e6
    waits = [time - n * spacing_s for n, time in enumerate(times) if time is not None]
    assert max(waits) == pytest.approx(0.1 + transmission_s, abs=spacing_s)
    assert (link.datagrams, link.lost, link.overflowed) == (10_000, 0, 10_000 - len(came))


def test_below_its_rate_a_limit_adds_only_the_time_of_transmission() -> None:
    found = delays(Impairments(rate_bps=10e6))
    assert found == pytest.approx([(1100 + HEADERS_SIZE) * 8 / 10e6] * COUNT)


def test_a_perfect_network_changes_nothing() -> None:
    assert delays(Impairments()) == pytest.approx([0.0] * COUNT)


def test_settings_are_read_with_their_units() -> None:
    text = "loss=5%,burst=4,delay=60ms,jitter=0.03s,reorder=1%,rate=300kbit/s,queue=1s,move=10s"
    assert parse_network(text) == Impairments(0.05, 4, 0.06, 0.03, 0.01, 300e3, 1, 10)


def test_a_profile_is_a_base_for_what_differs_from_it() -> None:
    assert parse_network("bad") == PROFILES["bad"]
    assert parse_network("wifi, loss=0.2").loss == 0.2
    assert parse_network("wifi, loss=0.2").rate_bps == PROFILES["wifi"].rate_bps


@pytest.mark.parametrize("name", PROFILES)
def test_what_is_written_is_read_back(name: str) -> None:
    assert parse_network(str(PROFILES[name])) == PROFILES[name]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no network is called ''"),
        ("lte", "there are perfect, good, wifi, mobile, bad"),
        ("loss=5%,speed=3", "'speed' is none of loss"),
        ("delay=60", "not a number with 'ms' or 's'"),
        ("rate=fast", "'bit/s' or 'kbit/s'"),
        ("burst=3ms", "no unit"),
        ("loss=100%", "from 0 to below 100%"),
        ("reorder=2", "reorder must be"),
        ("loss=90%,burst=2", "burst=2 cannot make a loss of 90%"),
        ("burst=0.5", "burst=0.5"),
        ("rate=0bit/s", "above zero"),
        ("delay=-5ms", "not a number"),
        ("delay=nanms", "not a number"),
    ],
)
def test_what_cannot_be_understood_is_said(text: str, why: str) -> None:
    with pytest.raises(NetworkError) as error:
        parse_network(text)
    assert why in str(error.value)


SETTINGS = st.lists(
    st.sampled_from(
        ["loss", "burst", "delay", "rate", "bad", "=", "5%", "3ms", "1s", "mbit/s", " "]
    )
).map("".join)


@given(st.text() | st.lists(SETTINGS).map(",".join))
def test_any_text_is_understood_or_refused_with_its_own_error(text: str) -> None:
    try:
        network = parse_network(text)
    except NetworkError:
        return
    assert 0 <= network.loss < 1
