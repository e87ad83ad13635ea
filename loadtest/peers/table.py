"""From trials to the table: medians, ranges and what must be said beside them. Pure."""

import enum
import statistics
from collections.abc import Iterable, Sequence

import msgspec

#: A generator later than this in one send of a hundred was itself the bottleneck.
MAX_LATENESS_S = 0.02
#: Of the packets that observers got.
MAX_LOST = 0.01
#: Others' CPU, in cores, above which the figures deserve less trust.
MAX_OTHERS_CORES = 0.1
_MEGABYTE = 1 << 20


class Job(enum.StrEnum):
    """What a server does with each publisher."""

    RECEIVE = "receive"
    RECORD = "receive + record"
    OBSERVE = "receive + record + observer"


class Trial(msgspec.Struct, frozen=True):
    """One measurement of one server at one job."""

    server: str
    job: Job
    publishers: int
    seconds: float = 0.0
    cpu_s: float = 0.0  #: of all the server's processes
    idle_bytes: int = 0  #: resident memory of all its processes, before anybody has come
    busy_bytes: int = 0  #: at the end, with everybody there
    generator_cpu_s: float = 0.0
    lateness_p99_s: float = 0.0
    others_cores: float = 0.0  #: of CPU that neither server nor generator had
    latency_p50_s: float | None = None  #: forward, of every frame
    latency_p99_s: float | None = None
    recorded_bytes: int = 0  #: by which the server's files grew since the first join
    packets_received: int = 0  #: by observers
    packets_lost: int = 0
    failed: str | None = None  #: why nothing, or not everything, was measured

    @property
    def fault(self) -> str | None:
        """Why it does not count."""
        if self.failed is None and self.lateness_p99_s > MAX_LATENESS_S:
            return f"the generator was {self.lateness_p99_s * 1000:.0f} ms late (p99)"
        if self.failed is None and self.packets_lost > MAX_LOST * self.packets_received:
            return f"{self.packets_lost} packets were lost: what a server drops costs it nothing"
        return self.failed

    @property
    def cpu_ms(self) -> float:
        """Milliseconds for each publisher in each second."""
        return self.cpu_s * 1000 / self.publishers / self.seconds


class Range(msgspec.Struct, frozen=True):
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 0 if self.median >= 100 else 1
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"


class Row(msgspec.Struct, frozen=True):
    """One server. None: not measured, or not a job of this server."""

    server: str
    cpu_ms: dict[Job, Range | None]
    idle_mb: Range | None
    busy_mb: Range | None  #: at the heaviest of its jobs
    latency_p50_ms: Range | None
    latency_p99_ms: Range | None


class Comparison(msgspec.Struct, frozen=True):
    publishers: int
    seconds: float
    rounds: int
    machine: str
    rows: list[Row]
    absent: dict[str, str]  #: servers that could not be measured, and why
    notes: list[str]
    trials: list[Trial]


def spread(values: Iterable[float | None]) -> Range | None:
    """Median and range of the values that there are."""
    known = [value for value in values if value is not None]
    return Range(statistics.median(known), min(known), max(known)) if known else None


def row(server: str, trials: Sequence[Trial]) -> Row:
    good = [each for each in trials if each.server == server and each.fault is None]
    by_job = {job: [each for each in good if each.job is job] for job in Job}
    heaviest = next((by_job[job] for job in reversed(Job) if by_job[job]), [])
    watched = by_job[Job.OBSERVE]
    return Row(
        server,
        {job: spread(each.cpu_ms for each in by_job[job]) for job in Job},
        spread(each.idle_bytes / _MEGABYTE for each in good),
        spread(each.busy_bytes / _MEGABYTE for each in heaviest),
        spread(_ms(each.latency_p50_s) for each in watched),
        spread(_ms(each.latency_p99_s) for each in watched),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def doubts(trials: Sequence[Trial]) -> list[str]:
    """What speaks against the figures, in words."""
    others = spread(each.others_cores for each in trials)
    busy = (
        [f"Cores that other programs took meanwhile: {others}. Compare, don't quote."]
        if others is not None and others.high > MAX_OTHERS_CORES
        else []
    )
    return busy + [text for each in trials for text in _doubts(each)]


def _doubts(trial: Trial) -> Iterable[str]:
    where = f"{trial.server}, {trial.job}"
    if trial.fault is not None:
        yield f"{where}: one trial does not count: {trial.fault}"
    elif trial.packets_lost:
        sent = trial.packets_lost + trial.packets_received
        yield f"{where}: {trial.packets_lost} of {sent} packets did not reach the observers"


def as_text(comparison: Comparison) -> str:
    header = ["CPU ms per publisher-second", *Job, "MB idle", "MB busy", "p50 ms", "p99 ms"]
    lines = [header, *map(_cells, comparison.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    width = widths[0]
    table = [
        "   ".join(
            cell.ljust(size) if at == 0 else cell.rjust(size)
            for at, (cell, size) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    absent = [f"{name.ljust(width)}   absent: {why}" for name, why in comparison.absent.items()]
    plan = (
        f"{comparison.publishers} publishers, {comparison.rounds} interleaved rounds of "
        f"{comparison.seconds:g} s: median (lowest–highest). {comparison.machine}"
    )
    return "\n".join([plan, "", *table, *absent, "", *comparison.notes])


def _cells(line: Row) -> list[str]:
    ranges = [line.idle_mb, line.busy_mb, line.latency_p50_ms, line.latency_p99_ms]
    return [
        line.server,
        *("–" if each is None else str(each) for each in [*line.cpu_ms.values(), *ranges]),
    ]
