"""Network indicators from the counters of the up direction: pure, in the parent process."""

from dataclasses import dataclass

from server.core.indicators import Indicator
from server.live_analysis.card import EVERYWHERE, Card, Measure, Modality

CARD = Card(
    analyser="network",
    modality=Modality.NETWORK,
    measures=(
        Measure("network.bitrate", "bit/s", 0, None),
        Measure("network.loss", "ratio", 0, 1),
        Measure("network.jitter", "ms", 0, None),
        Measure("network.round_trip", "ms", 0, None),
    ),
    rate_hz=1,
    cost_ms_per_s=0.02,
    biometric=False,
    policies=EVERYWHERE,
    validated="counters of known traffic",
)


@dataclass(frozen=True, slots=True)
class NetworkSample:
    """What changed on an interview's up direction between two moments (Unix seconds)."""

    start_s: float
    end_s: float
    bytes_received: int  #: media bytes of all tracks in the interval
    packets_received: int  #: in the interval
    packets_lost: int  #: in the interval, after repair; negative when late packets came in
    jitter_s: float  #: RFC 3550 6.4.1, now, the worst of the tracks
    round_trip_s: float | None  #: now; None until measured


def measure(sample: NetworkSample) -> tuple[Indicator, ...]:
    """The sample as indicators; values of an empty interval are None."""
    duration_s = sample.end_s - sample.start_s
    sent = sample.packets_received + max(0, sample.packets_lost)
    bitrate = 8 * sample.bytes_received / duration_s if duration_s > 0 else None
    loss = max(0, sample.packets_lost) / sent if sent else None
    jitter = 1000 * sample.jitter_s if sample.packets_received else None
    round_trip = None if sample.round_trip_s is None else 1000 * sample.round_trip_s
    return tuple(
        Indicator(it.name, value, it.unit, sample.start_s, sample.end_s, version=CARD.version)
        for it, value in zip(CARD.measures, (bitrate, loss, jitter, round_trip), strict=True)
    )
