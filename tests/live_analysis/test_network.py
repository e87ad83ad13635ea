import dataclasses

import pytest

from server.live_analysis.network import NetworkSample, measure

SAMPLE = NetworkSample(
    start_s=10.0,
    end_s=12.0,
    bytes_received=250_000,
    packets_received=190,
    packets_lost=10,
    jitter_s=0.004,
    round_trip_s=0.05,
)


def values(sample: NetworkSample) -> dict[str, float | None]:
    return {indicator.name: indicator.value for indicator in measure(sample)}


def test_counters_become_rates_in_their_units() -> None:
    assert values(SAMPLE) == {
        "network.bitrate": pytest.approx(1_000_000),
        "network.loss": pytest.approx(0.05),
        "network.jitter": pytest.approx(4),
        "network.round_trip": pytest.approx(50),
    }
    assert {(it.start_s, it.end_s) for it in measure(SAMPLE)} == {(10.0, 12.0)}


def test_repairs_of_an_earlier_interval_are_not_negative_loss() -> None:
    assert values(dataclasses.replace(SAMPLE, packets_lost=-5))["network.loss"] == 0


def test_an_interval_without_packets_has_a_bitrate_and_no_loss_or_jitter() -> None:
    silent = NetworkSample(1.0, 2.0, 0, 0, 0, 0.004, None)
    assert values(silent) == {
        "network.bitrate": 0,
        "network.loss": None,
        "network.jitter": None,
        "network.round_trip": None,
    }


def test_an_empty_interval_has_no_bitrate() -> None:
    assert values(dataclasses.replace(SAMPLE, end_s=10.0))["network.bitrate"] is None
