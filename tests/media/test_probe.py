from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.media.forwarding.estimate import Arrival
from server.media.forwarding.probe import LENGTH_S, PATIENCE_S, Probe, Result, Verdict

TRIED_BPS = 1e6
TICK_S = 0.02
#: On the wire.
SIZE = 319
NOW = 100.0


def probed(
    link_bps: float = 20e6,
    *,
    still: tuple[float, float] = (0.0, 0.0),
    ticks: Sequence[int] = range(1, 7),
    lost: int = 0,
    untold: int = 0,
) -> Result:
    """What is told of a probe on such a link.

    `still`: from when to when the receiver does nothing; `lost`, `untold`: of the last packets.
    """
    probe, octets, free_s = Probe(TRIED_BPS, 0, NOW), 0, 0.0
    arrivals: list[Arrival] = []
    for tick in ticks:
        at = NOW + tick * TICK_S
        if probe.is_sent:
            break
        for _ in range(-(-probe.octets_due(octets, at) // SIZE)):
            octets += SIZE
            free_s = max(free_s, at) + 8 * SIZE / link_bps
            begin_s, end_s = still
            arrived_s = NOW + end_s if NOW + begin_s <= free_s < NOW + end_s else free_s
            arrivals.append(Arrival(at, arrived_s, SIZE))
        probe.sent(octets, at)
    came = arrivals[: len(arrivals) - lost - untold]
    assert probe.arrived(came, 0, NOW + 0.3) is None, "more may come"
    after = Arrival(NOW + 0.5, NOW + 0.5, 100)
    result = probe.arrived([after], lost * SIZE, NOW + 0.6)
    assert result is not None
    return result


def test_what_comes_through_is_told_by_its_bitrate() -> None:
    result = probed()
    assert result.verdict is Verdict.THROUGH
    assert result.bitrate_bps == pytest.approx(TRIED_BPS, rel=0.3)


def test_limit_of_the_network_is_told_by_what_came() -> None:
    result = probed(500e3)
    assert result.verdict is Verdict.LIMIT
    assert result.bitrate_bps == pytest.approx(500e3, rel=0.05)


def test_loss_is_a_limit_and_missing_feedback_tells_nothing() -> None:
    assert probed(lost=20) == (Verdict.LIMIT, 0)
    assert probed(untold=20) == (Verdict.UNTOLD, 0)


@pytest.mark.parametrize("begin_s", [0.01, 0.05, 0.09])
def test_receiver_that_stands_still_is_not_a_network_without_room(begin_s: float) -> None:
    assert probed(still=(begin_s, begin_s + 0.1)).verdict is not Verdict.LIMIT


def test_server_that_stands_still_has_sent_all_of_it_later_and_tries_again() -> None:
    result = probed(ticks=[1, 15])
    assert result.verdict is Verdict.UNTOLD
    assert result.bitrate_bps == pytest.approx(TRIED_BPS * 5 / 14, rel=0.1)


def test_probe_of_which_nothing_is_told_ends() -> None:
    probe = Probe(TRIED_BPS, 0, NOW)
    end_s = NOW + LENGTH_S + TICK_S
    probe.sent(12_500, end_s)
    assert probe.is_sent
    assert probe.arrived([], 0, end_s + PATIENCE_S - 0.01) is None
    assert probe.arrived([], 0, end_s + PATIENCE_S) == (Verdict.UNTOLD, 0)


@settings(max_examples=300)
@given(
    st.lists(
        st.builds(Arrival, st.floats(NOW, NOW + 0.2), st.floats(-1e6, 1e6), st.integers(0, 1500)),
        max_size=50,
    ),
    st.integers(0, 20_000),
)
def test_any_arrivals_give_a_bitrate_that_is_none_or_some(
    arrivals: list[Arrival], lost: int
) -> None:
    probe = Probe(TRIED_BPS, 0, NOW)
    probe.sent(12_500, NOW + LENGTH_S)
    result = probe.arrived(arrivals, lost, NOW + 2)
    assert result is not None
    assert result.bitrate_bps >= 0
