"""Who comes, goes and comes back when: a run as a list of timed actions. Pure, with seeds."""

import enum
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from loadtest.duration import DurationError, parse_duration

#: Faster, and a scenario of hours has more steps than memory.
MIN_PACE_S = 0.1


class ScenarioError(ValueError):
    """A description that cannot be understood; the text says what is wrong."""


class Act(enum.Enum):
    JOIN = "candidate and observer join"
    JOIN_ALONE = "the candidate joins, nobody observes"
    OBSERVE = "an observer joins"
    RECONNECT = "both lose their network and come back by the same links"
    LEAVE = "both leave for good"


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """At `at_s` of the measured time; what is at zero is done before it begins."""

    at_s: float
    interview: int  #: from 0
    act: Act

    def __post_init__(self) -> None:
        assert self.at_s >= 0


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    steps: tuple[Step, ...]  #: by time

    @property
    def interviews(self) -> int:
        """All that take place, one after the other included."""
        return 1 + max((step.interview for step in self.steps), default=-1)

    @property
    def opening(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.at_s == 0)

    @property
    def later(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.at_s > 0)

    @property
    def joined_later(self) -> bool:
        """Whether somebody comes for the first time when it has begun."""
        return any(step.act in (Act.JOIN, Act.JOIN_ALONE) for step in self.later)

    def at_once(self) -> int:
        """The most interviews that are on at one time."""
        on = highest = 0
        for step in self.steps:
            on += (step.act in (Act.JOIN, Act.JOIN_ALONE)) - (step.act is Act.LEAVE)
            highest = max(highest, on)
        return highest


@dataclass(frozen=True, slots=True)
class _Setting:
    """What each kind of scenario is made from."""

    interviews: int
    duration_s: float
    pace_s: float  #: of the scenario; what it means is said at each
    random: Random

    def times(self) -> Iterator[float]:
        """Every `pace_s` before the end."""
        for count in range(1, math.ceil(self.duration_s / self.pace_s)):
            yield count * self.pace_s


def _steady(setting: _Setting) -> Iterator[Step]:
    """All are there from the beginning to the end."""
    for number in range(setting.interviews):
        yield Step(0, number, Act.JOIN)


def _ramp(setting: _Setting) -> Iterator[Step]:
    """One after the other, evenly; after the pace all are there."""
    for number in range(setting.interviews):
        yield Step(number * setting.pace_s / setting.interviews, number, Act.JOIN)


def _flash(setting: _Setting) -> Iterator[Step]:
    """One in ten is there; after the pace the rest comes within the same moment."""
    early = max(1, setting.interviews // 10)
    for number in range(setting.interviews):
        yield Step(0 if number < early else setting.pace_s, number, Act.JOIN)


def _late(setting: _Setting) -> Iterator[Step]:
    """Candidates are there from the beginning, observers come evenly until the pace is over."""
    for number in range(setting.interviews):
        yield Step(0, number, Act.JOIN_ALONE)
        yield Step((number + 1) * setting.pace_s / setting.interviews, number, Act.OBSERVE)


def _reconnect(setting: _Setting) -> Iterator[Step]:
    """Every pace all lose their network at once, and come back at once."""
    yield from _steady(setting)
    for at_s in setting.times():
        for number in range(setting.interviews):
            yield Step(at_s, number, Act.RECONNECT)


def _churn(setting: _Setting) -> Iterator[Step]:
    """Whoever leaves is followed by another; they stay for the pace on average, at random."""
    following = setting.interviews
    for seat in range(setting.interviews):
        number, at_s = seat, 0.0
        while True:
            yield Step(at_s, number, Act.JOIN)
            at_s += max(1.0, setting.random.expovariate(1 / setting.pace_s))
            if at_s >= setting.duration_s:
                break
            yield Step(at_s, number, Act.LEAVE)
            number, following = following, following + 1


def _soak(setting: _Setting) -> Iterator[Step]:
    """For hours: all are there, and every pace one leaves in turn and another comes."""
    yield from _steady(setting)
    seats = list(range(setting.interviews))
    for count, at_s in enumerate(setting.times()):
        seat, following = count % setting.interviews, setting.interviews + count
        yield Step(at_s, seats[seat], Act.LEAVE)
        yield Step(at_s, following, Act.JOIN)
        seats[seat] = following


#: What makes the steps, and the pace as a share of the duration where none is given.
_KINDS: dict[str, tuple[Callable[[_Setting], Iterator[Step]], float]] = {
    "steady": (_steady, 1.0),
    "ramp": (_ramp, 0.5),
    "flash": (_flash, 0.25),
    "late-observers": (_late, 0.5),
    "reconnect": (_reconnect, 0.5),
    "churn": (_churn, 0.25),
    "soak": (_soak, 0.05),
}
NAMES = tuple(_KINDS)


def describe() -> str:
    """For `--help`: each kind and what happens in it."""
    return "\n".join(f"  {name:15} {make.__doc__}" for name, (make, _) in _KINDS.items())


def make_scenario(text: str, interviews: int, duration_s: float, seed: str = "") -> Scenario:
    """From `NAME` or `NAME:PACE`, the pace as a duration. Raises ScenarioError."""
    name, _, pace = text.partition(":")
    if name not in _KINDS:
        raise ScenarioError(f"no scenario is called {name!r}; there are {', '.join(NAMES)}")
    make, share = _KINDS[name]
    try:
        pace_s = parse_duration(pace) if pace else duration_s * share
    except DurationError as error:
        raise ScenarioError(f"the pace: {error}") from error
    if pace_s > duration_s:
        raise ScenarioError("the pace must not be above the duration")
    if pace_s < MIN_PACE_S and pace:
        raise ScenarioError(f"the pace must be at least {MIN_PACE_S:g} s")
    setting = _Setting(interviews, duration_s, pace_s, Random(f"{seed} {name}"))
    # An interview's own steps keep their order (a stable sort).
    return Scenario(text, tuple(sorted(make(setting), key=lambda step: step.at_s)))


class Timeline:
    """The later steps of some interviews, handed out as their time comes."""

    def __init__(self, scenario: Scenario, mine: Callable[[int], bool] = lambda _: True) -> None:
        self._steps = [step for step in reversed(scenario.later) if mine(step.interview)]

    @property
    def next_s(self) -> float | None:
        """When the next step is due; None: there is none left."""
        return self._steps[-1].at_s if self._steps else None

    def take(self, at_s: float) -> list[Step]:
        """The steps due at `at_s` that have not been taken yet, in their order."""
        due = []
        while self._steps and self._steps[-1].at_s <= at_s:
            due.append(self._steps.pop())
        return due
