"""How many interviews a server carries: N is raised until a service level is not kept. Pure.

Doubling finds the first N that fails, halving the interval the last that does not.
"""

from dataclasses import dataclass, field

import msgspec

from loadtest.report import Report


class Trial(msgspec.Struct, frozen=True):
    """One run of the search."""

    interviews: int
    failed: list[str]  #: the levels not kept, in the order of `levels.DEMANDS`
    inconclusive: list[str]  #: why the generator, not the server, was measured
    server_cpu_ms_per_interview_second: dict[str, float] | None

    @property
    def passed(self) -> bool:
        return not self.failed and not self.inconclusive


class Capacity(msgspec.Struct, frozen=True):
    """The result of a search."""

    interviews: int  #: the most that kept all levels; 0: not even one did
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
        f"{level.name}: {level.measured:g} {level.unit}, not "
        f"{'at least' if level.at_least else 'at most'} {level.limit:g}"
        for level in report.levels
        if level.kept is False
    ]
    if report.connections_lost:
        failed.append(f"connections: {report.connections_lost} lost")
    return Trial(
        report.interviews,
        failed,
        report.generator_faults,
        report.server_cpu_ms_per_interview_second,
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
        if any(trial.inconclusive for trial in self.trials):
            return None
        good, bad = self._good(), self._bad()
        if bad is None:
            upwards = min(self.limit, max(self.start, 2 * good) if good else self.start)
            return upwards if upwards > good else None
        step = max(1, round(good * self.resolution))
        return (good + bad) // 2 if bad - good > step else None

    def capacity(self, interrupted: bool = False) -> Capacity:
        """What is known by now."""
        good, bad = self._good(), self._bad()
        at_good = [each for each in self.trials if each.passed and each.interviews == good]
        at_bad = [each for each in self.trials if each.failed and each.interviews == bad]
        return Capacity(
            good,
            bad is not None and self.next_interviews() is None and not self._inconclusive(),
            bad,
            at_bad[0].failed if at_bad else [],
            "interrupted" if interrupted else self._why(),
            at_good[-1].server_cpu_ms_per_interview_second if at_good else None,
            self.trials,
        )

    def _good(self) -> int:
        """The most that passed below the fewest that did not."""
        bad = self._bad()
        passed = [each.interviews for each in self.trials if each.passed]
        return max((each for each in passed if bad is None or each < bad), default=0)

    def _bad(self) -> int | None:
        return min(
            (each.interviews for each in self.trials if each.failed and not each.inconclusive),
            default=None,
        )

    def _inconclusive(self) -> list[str]:
        return [why for trial in self.trials for why in trial.inconclusive]

    def _why(self) -> str:
        if inconclusive := self._inconclusive():
            return "the generator was the limit: " + "; ".join(inconclusive)
        if self._bad() is None:
            return f"no more than {self.limit} interviews were to be tried"
        return "a service level was not kept"


def as_text(capacity: Capacity) -> str:
    """For people: the number first."""
    cpu = capacity.server_cpu_ms_per_interview_second
    lines = {
        "capacity": f"{'' if capacity.exact else 'at least '}{capacity.interviews} interviews",
        "failed first": "nothing"
        if capacity.failed_at is None
        else f"with {capacity.failed_at}: " + "; ".join(capacity.failed_first),
        "stopped because": capacity.stopped_because,
        "cost there": "unknown"
        if cpu is None
        else ", ".join(f"{name} {ms:g}" for name, ms in cpu.items()) + " ms per interview-second",
    }
    for trial in capacity.trials:
        verdict = "; ".join(trial.inconclusive + trial.failed) or "all levels kept"
        lines[f"tried {trial.interviews}"] = verdict
    return "\n".join(f"{name:>22}  {value}" for name, value in lines.items())
