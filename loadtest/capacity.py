"""How many interviews a server carries: N is raised until a service level is not kept. Pure.

Doubling finds the first N that fails, halving the interval the last that does not. One run may
have had bad luck: what it decides is decided by a second one.
"""

from dataclasses import dataclass, field

import msgspec

from loadtest.levels import DEMANDS
from loadtest.report import Report

#: Runs of one number that decide: it fails, or measures the generator, only if all of them do.
RUNS_TO_DECIDE = 2


def _levels_text() -> str:
    """The levels of a run of minutes, whose recordings are not read."""
    recorded_or_long = ("read", "recorded", "lip_sync", "memory")
    return "\n".join(
        f"  {each.name:26} {'at least' if each.at_least else 'at most'} "
        f"{each.limit:g} {each.unit}".rstrip()
        for key, each in DEMANDS.items()
        if key not in recorded_or_long
    )


#: For `--help`.
DESCRIPTION = f"""How many interviews a server carries: the number is doubled until a service
level is not kept, then the interval is halved. What decides is run twice.

service levels, besides that no connection is lost:
{_levels_text()}

exit codes: 0 a number was found, 1 none was, 2 wrong use, 3 no server, 4 refused by the server
"""


class Trial(msgspec.Struct, frozen=True):
    """One run of the search."""

    interviews: int
    failed: list[str]  #: the levels not kept, in the order of `levels.DEMANDS`
    inconclusive: list[str]  #: why the generator, not the server, was measured
    server_cpu_ms_per_interview_second: dict[str, float] | None
    not_measured: list[str] = []  #: the levels that nothing can be said about

    @property
    def passed(self) -> bool:
        return not self.failed and not self.inconclusive


class Capacity(msgspec.Struct, frozen=True):
    """The result of a search."""

    interviews: int  #: the most that kept all levels; 0: none that was tried
    exact: bool  #: more were tried and failed; else the server may carry more
    failed_at: int | None  #: the fewest that did not keep all levels
    failed_first: list[str]  #: the levels that failed there
    stopped_because: str
    #: CPU of the server at `interviews`: "total" and by process.
    server_cpu_ms_per_interview_second: dict[str, float] | None
    trials: list[Trial]


def judge(report: Report) -> Trial:
    """A run as a trial. What a server refuses is its failure, not the run's."""
    failed = [
        f"{level.name}: {level.measured:g} {level.unit}".rstrip() + ", not "
        f"{'at least' if level.at_least else 'at most'} {level.limit:g}"
        for level in report.levels
        if level.kept is False
    ]
    if report.connections_lost:
        failed.append(f"connections: {report.connections_lost} lost")
    not_measured = [level.name for level in report.levels if level.kept is None]
    nothing = DEMANDS["frames"].name in not_measured
    return Trial(
        report.interviews,
        failed,
        report.generator_faults + (["no frame was measured"] if nothing and not failed else []),
        report.server_cpu_ms_per_interview_second,
        not_measured,
    )


@dataclass(slots=True)
class Search:
    """`next_interviews`, run it, `add` the trial; until it says None."""

    start: int = 10
    limit: int = 1000  #: what the machine of the generator allows
    resolution: float = 0.05  #: of the result: no smaller steps than this share are tried
    trials: list[Trial] = field(default_factory=list)

    def add(self, trial: Trial) -> None:
        self.trials.append(trial)

    def next_interviews(self) -> int | None:
        """None: the search is over."""
        if self.trials and self.trials[-1].inconclusive:
            return None if self._inconclusive() else self.trials[-1].interviews
        good, bad = self._good(), self._bad()
        if bad is None:
            upwards = min(self.limit, max(self.start, 2 * good) if good else self.start)
            return upwards if upwards > good else None
        if bad - good > max(1, round(good * self.resolution)):
            return (good + bad) // 2
        return bad if len(self._failed_runs(bad)) < RUNS_TO_DECIDE else None

    def capacity(self, ended: str | None = None) -> Capacity:
        """What is known by now; `ended`: why nothing more is tried, though more was to be."""
        good, bad = self._good(), self._bad()
        at_good = [each for each in self.trials if each.passed and each.interviews == good]
        over = ended is None and self.next_interviews() is None
        return Capacity(
            good,
            bad is not None and over and not self._inconclusive(),
            bad,
            self._failed_runs(bad)[0].failed if bad is not None else [],
            ended or self._why(),
            at_good[-1].server_cpu_ms_per_interview_second if at_good else None,
            self.trials,
        )

    def _good(self) -> int:
        """The most that passed below the fewest that did not."""
        bad = self._bad()
        return max((each for each in self._passed() if bad is None or each < bad), default=0)

    def _bad(self) -> int | None:
        """The fewest that failed each time."""
        return min(
            (
                each.interviews
                for each in self.trials
                if each.failed and not each.inconclusive and each.interviews not in self._passed()
            ),
            default=None,
        )

    def _passed(self) -> set[int]:
        return {each.interviews for each in self.trials if each.passed}

    def _failed_runs(self, interviews: int) -> list[Trial]:
        of_them = [each for each in self.trials if each.interviews == interviews]
        return [each for each in of_them if each.failed and not each.inconclusive]

    def _inconclusive(self) -> list[str]:
        """What the last runs say of the generator, where not one of them measured the server."""
        last = self.trials[-RUNS_TO_DECIDE:]
        if len(last) < RUNS_TO_DECIDE or not all(each.inconclusive for each in last):
            return []
        return last[-1].inconclusive

    def _why(self) -> str:
        if inconclusive := self._inconclusive():
            return "the generator was the limit: " + "; ".join(inconclusive)
        if self._bad() is None:
            return f"no more than {self.limit} interviews were to be tried"
        return "a service level was not kept"


def verdict(trial: Trial) -> str:
    """What became of a trial, in one line."""
    if not trial.passed:
        return "; ".join(trial.inconclusive + trial.failed)
    if trial.not_measured:
        return "all measured levels kept, not measured: " + ", ".join(trial.not_measured)
    return "all levels kept"


def as_text(capacity: Capacity) -> str:
    """For people: the number first."""
    cpu = capacity.server_cpu_ms_per_interview_second
    lines = [
        ("capacity", _number_text(capacity)),
        (
            "failed first",
            "nothing"
            if capacity.failed_at is None
            else f"with {capacity.failed_at}: " + "; ".join(capacity.failed_first),
        ),
        ("stopped because", capacity.stopped_because),
        (
            "cost there",
            "unknown"
            if cpu is None
            else ", ".join(f"{name} {ms:g}" for name, ms in cpu.items())
            + " ms per interview-second",
        ),
    ]
    lines += [(f"tried {trial.interviews}", verdict(trial)) for trial in capacity.trials]
    return "\n".join(f"{name:>22}  {value}" for name, value in lines)


def _number_text(capacity: Capacity) -> str:
    if capacity.exact:
        return f"{capacity.interviews} interviews"
    return f"at least {capacity.interviews} interviews" if capacity.interviews else "unknown"
