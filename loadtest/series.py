"""How a run went, second by second: differences of what its peers count up. Pure."""

from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from loadtest.histogram import Histogram
from loadtest.results import InterviewResult
from loadtest.server_cost import ProcessTime, cpu_by_name, memory_by_name

_N = TypeVar("_N", int, float)


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
    octets_sent: int = 0
    up_s: float = 0.0  #: of all interviews, when the octets were counted
    frames_expected: int = 0
    frames_received: int = 0
    freezes: int = 0
    generator_cpu_s: float = 0.0
    forward_latency_s: Histogram = field(default_factory=Histogram)
    indicator_latency_s: Histogram = field(default_factory=Histogram)

    def add(self, result: InterviewResult) -> None:
        if result.error is not None:
            return
        self.up += result.connection_lost is None and not result.left
        self.packets_lost += result.packets_lost
        self.octets_sent += result.octets_sent
        self.up_s += result.up_s or 0.0
        self.frames_expected += result.frames_expected
        self.frames_received += result.frames_received
        self.freezes += result.freezes_s.count
        self.forward_latency_s.merge(result.forward_latency_s)
        self.indicator_latency_s.merge(result.indicator_latency_s)

    def merge(self, other: "Totals") -> None:
        self.up += other.up
        self.packets_lost += other.packets_lost
        self.octets_sent += other.octets_sent
        self.up_s += other.up_s
        self.frames_expected += other.frames_expected
        self.frames_received += other.frames_received
        self.freezes += other.freezes
        self.generator_cpu_s += other.generator_cpu_s
        self.forward_latency_s.merge(other.forward_latency_s)
        self.indicator_latency_s.merge(other.indicator_latency_s)


#: A long run's moments are put together, so that a report of days is as large as one of an hour.
MAX_MOMENTS = 2000
#: A bitrate is told from at least so many seconds.
MIN_UP_S = 0.2


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured from the moment before until `at_s`, seconds since the run began.

    Of several put together counts are summed, and of everything else the worst is kept.
    """

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
    sent_kbps: float | None  #: by a candidate on average; None where that is not known


class Series:
    """`add` the totals at every moment; `moments` is what happened in between.

    These are at most `MAX_MOMENTS`: beyond it neighbours are put together, two and two.
    """

    def __init__(self, start: Totals, server: dict[int, ProcessTime], at_s: float) -> None:
        self.moments: list[Moment] = []
        self._together = 1  # added moments that make one of `moments`
        self._in_last = 0  # of them, those in the last one
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
            sent_kbps=_sent_kbps(before, totals),
        )
        self._totals, self.server, self._at_s = totals, server, at_s
        self._keep(moment)
        return moment

    def _keep(self, moment: Moment) -> None:
        if 0 < self._in_last < self._together:
            self.moments[-1] = put_together(self.moments[-1], moment)
            self._in_last += 1
            return
        if len(self.moments) == MAX_MOMENTS:
            pairs = zip(self.moments[::2], self.moments[1::2], strict=True)
            self.moments = [put_together(*pair) for pair in pairs]
            self._together *= 2
        self.moments.append(moment)
        self._in_last = 1


def _sent_kbps(before: Totals, totals: Totals) -> float | None:
    """By the interviews' own time: another process may have told of no second yet, or of two."""
    up_s = totals.up_s - before.up_s
    if up_s < MIN_UP_S:
        return None
    return round((totals.octets_sent - before.octets_sent) * 0.008 / up_s, 1)


def put_together(first: Moment, second: Moment) -> Moment:
    """Two neighbours as one: what was bad in either stays to be seen."""
    complete = [
        each.frame_completeness for each in (first, second) if each.frame_completeness is not None
    ]
    sent = [each.sent_kbps for each in (first, second) if each.sent_kbps is not None]
    return Moment(
        at_s=second.at_s,
        interviews=min(first.interviews, second.interviews),
        forward_latency_ms=_worst(first.forward_latency_ms, second.forward_latency_ms),
        indicator_latency_ms=_worst(first.indicator_latency_ms, second.indicator_latency_ms),
        packets_lost=first.packets_lost + second.packets_lost,
        freezes=first.freezes + second.freezes,
        frame_completeness=min(complete, default=None),
        server_cpu_percent=_largest(first.server_cpu_percent, second.server_cpu_percent),
        server_memory_bytes=_largest(first.server_memory_bytes, second.server_memory_bytes),
        generator_cpu_percent=max(first.generator_cpu_percent, second.generator_cpu_percent),
        sent_kbps=min(sent, default=None),
    )


def _worst(first: Percentiles, second: Percentiles) -> Percentiles:
    def larger(one: float | None, other: float | None) -> float | None:
        return max((each for each in (one, other) if each is not None), default=None)

    return Percentiles(
        larger(first.p50, second.p50),
        larger(first.p95, second.p95),
        larger(first.p99, second.p99),
        larger(first.max, second.max),
        first.samples + second.samples,
    )


def _largest(first: dict[str, _N], second: dict[str, _N]) -> dict[str, _N]:
    return {
        name: max(each[name] for each in (first, second) if name in each) for name in first | second
    }
