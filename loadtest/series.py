"""How a run went, second by second: differences of what its peers count up. Pure."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from loadtest.histogram import Histogram
from loadtest.server_cost import ProcessTime, cpu_by_name, memory_by_name

if TYPE_CHECKING:
    from loadtest.report import InterviewResult


class Percentiles(msgspec.Struct, frozen=True):
    """Milliseconds; None where nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None
    samples: int


def percentiles(histogram: Histogram) -> Percentiles:
    p50, p95, p99 = (
        None if value is None else round(value * 1000, 3)
        for value in map(histogram.percentile, (50, 95, 99))
    )
    largest = round(histogram.max * 1000, 3) if histogram.count else None
    return Percentiles(p50, p95, p99, largest, histogram.count)


@dataclass(slots=True)
class Totals:
    """Of all interviews since the run began; those of several processes can be merged."""

    up: int = 0  #: interviews joined and with every connection
    packets_lost: int = 0
    frames_expected: int = 0
    frames_received: int = 0
    freezes: int = 0
    generator_cpu_s: float = 0.0
    forward_latency_s: Histogram = field(default_factory=Histogram)
    indicator_latency_s: Histogram = field(default_factory=Histogram)

    def add(self, result: "InterviewResult") -> None:
        if result.error is not None:
            return
        self.up += result.connection_lost is None and not result.left
        self.packets_lost += result.packets_lost
        self.frames_expected += result.frames_expected
        self.frames_received += result.frames_received
        self.freezes += result.freezes_s.count
        self.forward_latency_s.merge(result.forward_latency_s)
        self.indicator_latency_s.merge(result.indicator_latency_s)

    def merge(self, other: "Totals") -> None:
        self.up += other.up
        self.packets_lost += other.packets_lost
        self.frames_expected += other.frames_expected
        self.frames_received += other.frames_received
        self.freezes += other.freezes
        self.generator_cpu_s += other.generator_cpu_s
        self.forward_latency_s.merge(other.forward_latency_s)
        self.indicator_latency_s.merge(other.indicator_latency_s)


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured from the moment before until `at_s`, seconds since the run began."""

    at_s: float
    interviews: int  #: up
    forward_latency_ms: Percentiles
    indicator_latency_ms: Percentiles
    packets_lost: int  #: less than zero where earlier losses were repaired
    freezes: int  #: that ended
    frame_completeness: float | None  #: None where no picture was expected
    #: Percent of one core, and bytes resident, by process; empty where they are not known.
    server_cpu_percent: dict[str, float]
    server_memory_bytes: dict[str, int]
    generator_cpu_percent: float


class Series:
    """`add` the totals at every moment; `moments` is what happened in between."""

    def __init__(self, start: Totals, server: dict[int, ProcessTime], at_s: float) -> None:
        self.moments: list[Moment] = []
        self._start_s = self._at_s = at_s
        self._totals, self.server = start, server

    def add(self, totals: Totals, server: dict[int, ProcessTime], at_s: float) -> Moment:
        """`totals` since the run began, `server` its processes now, `at_s` by a steady clock."""
        before, elapsed = self._totals, max(at_s - self._at_s, 1e-3)
        cpu_s = cpu_by_name(self.server, server)
        expected = totals.frames_expected - before.frames_expected
        received = totals.frames_received - before.frames_received
        moment = Moment(
            at_s=round(at_s - self._start_s, 3),
            interviews=totals.up,
            forward_latency_ms=percentiles(
                totals.forward_latency_s.since(before.forward_latency_s)
            ),
            indicator_latency_ms=percentiles(
                totals.indicator_latency_s.since(before.indicator_latency_s)
            ),
            packets_lost=totals.packets_lost - before.packets_lost,
            freezes=totals.freezes - before.freezes,
            # A repair completes a frame of the moment before.
            frame_completeness=min(1.0, round(received / expected, 6)) if expected > 0 else None,
            server_cpu_percent={
                name: round(100 * spent / elapsed, 2) for name, spent in cpu_s.items()
            },
            server_memory_bytes=memory_by_name(server),
            generator_cpu_percent=round(
                100 * (totals.generator_cpu_s - before.generator_cpu_s) / elapsed, 2
            ),
        )
        self._totals, self.server, self._at_s = totals, server, at_s
        self.moments.append(moment)
        return moment
