"""From trials on bad networks to a table for each server, and where ours is behind. Pure."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

#: The server that must be behind nobody.
OURS = "Vivavoce --workers 0"
#: Later than this in one send of a hundred, and the generator adds freezes of its own.
MAX_LATENESS_S = 0.02
#: What a packet that never came counts as: it must not make a server look quick.
NEVER_S = 10.0


class Outcome(msgspec.Struct, frozen=True):
    """One candidate, and who watches them, on one network with one seed."""

    server: str
    network: str  #: a name in `networks.NETWORKS`
    seed: str
    lateness_p99_s: float = 0.0  #: of the generator
    pictures_sent: int = 0
    pictures_kept: int = 0  #: whole in the recording, with all that they refer to
    sounds_sent: int = 0
    sounds_kept: int = 0
    pictures_due: int = 0  #: at the observer, from when it has joined
    pictures_shown: int | None = None  #: with all that they refer to; None: nobody observes
    sounds_due: int = 0  #: so
    sounds_heard: int | None = None  #: None: nobody observes
    black_s: float = 0.0  #: until the first picture, or all of it
    #: No picture moves: it is black, or stands for longer than any would at the rate that was sent.
    still_s: float = 0.0
    freezes: int = 0  #: by WebRTC's definition: what hardly moves hardly ever freezes
    frozen_s: float = 0.0
    longest_s: float = 0.0  #: of the freezes
    #: Forward, of a packet of each frame, repaired or not; one that never came has NEVER_S.
    latency_p50_s: float | None = None
    latency_p99_s: float | None = None
    lost: bool = False  #: a connection ended meanwhile
    failed: str | None = None  #: why nothing was measured

    @property
    def fault(self) -> str | None:
        """Why it does not count."""
        if self.failed is None and self.lateness_p99_s > MAX_LATENESS_S:
            return f"the generator was {self.lateness_p99_s * 1000:.0f} ms late (p99)"
        return self.failed


class Line(msgspec.Struct, frozen=True):
    """One server on one network, all seeds together; shares in per cent. None: not measured.

    Freezes and seconds are the mean of the trials.
    """

    network: str
    seeds: int
    pictures: float | None
    sounds: float | None
    shown: float | None
    heard: float | None
    black_s: float
    still_s: float
    freezes: float
    frozen_s: float
    longest_s: float
    latency_p50_ms: float | None  #: the median of the seeds', as the next
    latency_p99_ms: float | None
    lost: int  #: connections


class Comparison(msgspec.Struct, frozen=True):
    """What was measured of each server, the notes to it, and where ours is behind."""

    seconds: float
    seeds: list[str]
    machine: str
    networks: dict[str, str]
    lines: dict[str, list[Line]]  #: by server
    absent: dict[str, str]
    notes: list[str]
    behind: list[str]
    outcomes: list[Outcome]


def line(network: str, outcomes: Sequence[Outcome]) -> Line:
    """Of one server on that network; those with a fault count nowhere."""
    good = [each for each in outcomes if each.network == network and each.fault is None]
    watched = [each for each in good if each.sounds_heard is not None]
    return Line(
        network,
        len(good),
        _share(good, lambda each: (each.pictures_kept, each.pictures_sent)),
        _share(good, lambda each: (each.sounds_kept, each.sounds_sent)),
        _share(watched, lambda each: (each.pictures_shown or 0, each.pictures_due)),
        _share(watched, lambda each: (each.sounds_heard or 0, each.sounds_due)),
        _mean(each.black_s for each in good),
        _mean(each.still_s for each in good),
        _mean(each.freezes for each in good),
        _mean(each.frozen_s for each in good),
        max((each.longest_s for each in good), default=0.0),
        _middle_ms(each.latency_p50_s for each in good),
        _middle_ms(each.latency_p99_s for each in good),
        sum(each.lost for each in good),
    )


def _share(
    outcomes: Iterable[Outcome], counts: Callable[[Outcome], tuple[int, int]]
) -> float | None:
    pairs = [counts(each) for each in outcomes]
    whole = sum(of for _, of in pairs)
    return 100 * sum(part for part, _ in pairs) / whole if whole else None


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / max(1, len(known))


def _middle_ms(values: Iterable[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] * 1000 if known else None


class _Column(NamedTuple):
    """What is compared, and how much less than another's is as good: the noise of a trial."""

    name: str
    value: Callable[[Line], float | None]
    more_is_better: bool
    noise: float


_SHOWN = _Column("pictures shown, %", lambda each: each.shown, True, 0.5)
_FREEZES = _Column("freezes", lambda each: each.freezes, False, 0.4)
_COLUMNS = (
    _Column("pictures recorded, %", lambda each: each.pictures, True, 0.05),
    _Column("sounds recorded, %", lambda each: each.sounds, True, 0.05),
    _SHOWN,
    _Column("sounds heard, %", lambda each: each.heard, True, 0.05),
    _FREEZES,
    _Column("seconds without a moving picture", lambda each: each.still_s, False, 0.2),
    _Column("latency p50, ms", lambda each: each.latency_p50_ms, False, 1.0),
    _Column("latency p99, ms", lambda each: each.latency_p99_ms, False, 10.0),
)


def behind(lines: dict[str, list[Line]]) -> list[str]:
    """In words, each figure in which another server is better than ours.

    Of freezes: where it shows as many pictures. Who shows none freezes never. Of pictures shown:
    where it is told how late they are. Who has waited for each can show all.
    """
    ours = {each.network: each for each in lines.get(OURS, []) if each.seeds}
    return [
        f"{other.network}: {column.name}: {server} {theirs:.4g}, ours {mine:.4g}"
        for server, others in lines.items()
        for other in others
        for column in _COLUMNS
        if server != OURS and other.seeds and other.network in ours
        if (theirs := column.value(other)) is not None
        if (mine := column.value(ours[other.network])) is not None
        if column is not _SHOWN or other.latency_p50_ms is not None
        if column is not _FREEZES
        or (other.shown or 0.0) >= (ours[other.network].shown or 0.0) - 0.5
        if (theirs - mine if column.more_is_better else mine - theirs) > column.noise
    ]


#: The first two are of the recording, the others of what the observer got.
HEADER = [
    *("pictures %", "sounds %", "shown %", "heard %"),
    *("still s", "black s", "freezes", "frozen s", "longest s", "p50 ms", "p99 ms"),
]


def as_text(comparison: Comparison) -> str:
    seeds = ", ".join(comparison.seeds)
    parts = [f"{comparison.seconds:g} s each, seeds {seeds}. {comparison.machine}"]
    parts += ["", *(f"{name}: {text}" for name, text in comparison.networks.items())]
    for server, lines in comparison.lines.items():
        parts += ["", *_table(server, lines)]
    parts += [f"{name}   absent: {why}" for name, why in comparison.absent.items()]
    if OURS in comparison.lines:
        ahead = comparison.behind or ["nowhere"]
        parts += ["", "Where ours is behind:", *(f"  {each}" for each in ahead)]
    return "\n".join([*parts, "", *comparison.notes])


def _table(server: str, lines: Sequence[Line]) -> list[str]:
    rows = [[server, *HEADER], *map(_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "   ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _cells(of: Line) -> list[str]:
    lost = f" ({of.lost} lost)" if of.lost else ""
    return [
        of.network + lost,
        *map(_percent, (of.pictures, of.sounds, of.shown, of.heard)),
        *(_standing(of) if of.seeds else "–––––"),
        *("–" if ms is None else f"{ms:.0f}" for ms in (of.latency_p50_ms, of.latency_p99_ms)),
    ]


def _standing(of: Line) -> Sequence[str]:
    frozen = f"{of.freezes:.1f}", f"{of.frozen_s:.1f}", f"{of.longest_s:.2f}"
    return f"{of.still_s:.1f}", f"{of.black_s:.1f}", *frozen


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.3f}"
