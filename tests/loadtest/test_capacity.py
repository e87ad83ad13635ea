"""The search by planted servers that carry a known number; nothing runs here."""

import asyncio

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.__main__ import find_capacity
from loadtest.arguments import OpenFilesError, UsageError
from loadtest.capacity import Capacity, Search, Trial, as_text, judge, verdict
from loadtest.histogram import Histogram
from loadtest.invites import InviteError
from loadtest.report import Report, make_report
from loadtest.results import GeneratorCost, InterviewResult
from loadtest.run import NoServer
from loadtest.whip import Refused
from loadtest.worker import WorkerError

COST = {"total": 9.0, "media": 5.0, "analysis": 4.0}


def trial(interviews: int, carries: int) -> Trial:
    failed = [] if interviews <= carries else ["forward latency p99: 80 ms, not at most 50"]
    return Trial(interviews, failed, [], COST)


def searched(carries: int, start: int = 10, limit: int = 1000, resolution: float = 0.05) -> Search:
    search = Search(start, limit, resolution)
    while (interviews := search.next_interviews()) is not None:
        search.add(trial(interviews, carries))
        assert len(search.trials) < 40
    return search


@given(st.integers(0, 1200), st.integers(1, 100), st.sampled_from([0.01, 0.05, 0.2]))
def test_a_planted_capacity_is_found_to_the_resolution(
    carries: int, start: int, resolution: float
) -> None:
    found = searched(carries, start, 1000, resolution).capacity()
    assert found.interviews <= carries
    if carries >= 1000:
        assert (found.interviews, found.exact, found.failed_at) == (1000, False, None)
    else:
        assert found.exact
        assert found.failed_at is not None
        assert found.failed_at > carries
        assert found.failed_at - found.interviews <= max(1, round(carries * resolution))


def test_the_search_doubles_and_then_halves() -> None:
    tried = [trial.interviews for trial in searched(70).trials]
    assert tried == [10, 20, 40, 80, 60, 70, 75, 72, 72], "the one that decides is run twice"


def test_a_start_that_is_too_much_is_gone_below() -> None:
    found = searched(3, start=10).capacity()
    assert (found.interviews, found.failed_at) == (3, 4)


def test_a_server_that_carries_none_has_the_capacity_of_none() -> None:
    found = searched(0).capacity()
    assert (found.interviews, found.exact, found.failed_at) == (0, True, 1)
    assert found.server_cpu_ms_per_interview_second is None


def test_the_level_that_failed_first_and_the_cost_are_told() -> None:
    found = searched(70).capacity()
    assert found.failed_first == ["forward latency p99: 80 ms, not at most 50"]
    assert found.server_cpu_ms_per_interview_second == COST
    text = as_text(found)
    assert f"capacity  {found.interviews} interviews" in text
    assert "failed first  with 72: forward latency p99" in text
    assert "media 5, analysis 4" in text


def run_of(interviews: int, verdicts: str) -> Search:
    """A search of one number whose runs passed (p), failed (f) or told nothing (i)."""
    search = Search(interviews, interviews)
    for each in verdicts:
        assert search.next_interviews() == interviews
        failed, inconclusive = ["late"] * (each == "f"), ["overloaded"] * (each == "i")
        search.add(Trial(interviews, failed, inconclusive, COST))
    return search


@pytest.mark.parametrize(
    ("verdicts", "interviews", "failed_at", "exact"),
    [
        ("ff", 0, 1, True),
        ("fp", 1, None, False),
        ("ip", 1, None, False),
        ("ii", 0, None, False),
        ("iff", 0, 1, True),
        ("fip", 1, None, False),
        ("fii", 0, 1, False),
    ],
)
def test_one_run_of_bad_luck_does_not_decide(
    verdicts: str, interviews: int, failed_at: int | None, exact: bool
) -> None:
    search = run_of(1, verdicts)
    assert search.next_interviews() is None
    found = search.capacity()
    assert (found.interviews, found.failed_at, found.exact) == (interviews, failed_at, exact)
    assert len(found.trials) == len(verdicts)


def test_a_hiccup_on_the_way_up_costs_runs_but_not_the_result() -> None:
    search = Search(10, 160)
    hiccups = [40]
    while (interviews := search.next_interviews()) is not None:
        unlucky = interviews in hiccups
        search.add(trial(interviews, 0 if unlucky else 100))
        if unlucky:
            hiccups.remove(interviews)
    found = search.capacity()
    assert found.exact
    assert 95 <= found.interviews <= 100
    assert not hiccups


def test_a_search_that_only_measured_the_generator_ends_without_a_verdict() -> None:
    search = Search(10)
    search.add(trial(10, 100))
    overloaded = Trial(20, ["forward latency p99: 80 ms"], ["the generator sent late"], COST)
    search.add(overloaded)
    assert search.next_interviews() == 20
    search.add(overloaded)
    assert search.next_interviews() is None
    found = search.capacity()
    assert (found.interviews, found.exact, found.failed_at) == (10, False, None)
    assert "the generator sent late" in found.stopped_because
    text = as_text(found)
    assert "at least 10 interviews" in text
    assert text.count("tried 20") == 2


def test_a_search_that_was_ended_tells_what_it_knows() -> None:
    search = Search(10)
    search.add(trial(10, 100))
    found = search.capacity("interrupted")
    assert (found.interviews, found.exact, found.stopped_because) == (10, False, "interrupted")


def test_nothing_found_is_not_said_to_be_at_least_zero() -> None:
    assert "capacity  unknown" in as_text(run_of(10, "ii").capacity())
    assert "capacity  unknown" in as_text(run_of(10, "f").capacity("interrupted"))
    assert "capacity  0 interviews" in as_text(searched(0).capacity())


def result(**changes: object) -> InterviewResult:
    latency = Histogram([0.005] * 100)
    settings: dict[str, object] = {
        "frames_sent": 1000,
        "frames_received": 1000,
        "audio_frames_sent": 1000,
        "audio_frames_received": 1000,
        "forward_latency_s": latency,
        "indicator_latency_s": Histogram([0.2]),
    }
    return InterviewResult(**{**settings, **changes})  # type: ignore[arg-type]


IDLE = GeneratorCost(0.1, Histogram([0.001]))


@pytest.mark.parametrize(
    ("bad", "failed"),
    [
        ({}, []),
        ({"frames_received": 998}, []),  # 99.9 % of both
        ({"frames_received": 990}, ["frames complete: 99.5 %, not at least 99.9"]),
        (
            {"forward_latency_s": Histogram([0.0799] * 100)},
            ["forward latency p99: 79.9 ms, not at most 50"],
        ),
        (
            {"indicator_latency_s": Histogram([0.6] * 9)},
            ["indicator latency p95: 600 ms, not at most 500"],
        ),
        ({"frames_misrouted": 3}, ["frames of other candidates: 3, not at most 0"]),
        ({"error": "HTTP 503: full"}, ["interviews joined: 50 %, not at least 100"]),
        ({"connection_lost": "the observer's"}, ["connections: 1 lost"]),
    ],
)
def test_each_level_that_is_not_kept_is_named(bad: dict[str, object], failed: list[str]) -> None:
    report = make_report([result(), result(**bad)], 10, IDLE, {"media": 1.0}, None)
    found = judge(report)
    assert found.inconclusive == []
    assert found.failed == failed


def test_levels_that_could_not_be_measured_are_named() -> None:
    deaf = result(indicator_latency_s=Histogram())
    found = judge(make_report([deaf], 10, IDLE, None, None))
    assert found.passed
    assert verdict(found) == "all measured levels kept, not measured: indicator latency p95"


def test_a_run_that_measured_nothing_keeps_no_level() -> None:
    unobserved = InterviewResult(join_s=0.1)
    found = judge(make_report([unobserved], 10, IDLE, None, None))
    assert not found.passed
    assert verdict(found) == "no frame was measured"


def test_an_overloaded_generator_makes_a_run_inconclusive() -> None:
    busy = GeneratorCost(9.5, Histogram([0.001]))
    idle = GeneratorCost(0.1, Histogram([0.001]))
    one_of_two = GeneratorCost.all_processes([busy, idle])
    assert judge(make_report([result()], 10, one_of_two, None, None)).inconclusive == [
        "the generator used 95% of a core"
    ]
    late = GeneratorCost(0.1, Histogram([0.05] * 10))
    many = GeneratorCost(0.1, Histogram([0.001] * 10_000))
    assert (
        "p99 50 ms"
        in judge(
            make_report([result()], 10, GeneratorCost.all_processes([late, many]), None, None)
        ).inconclusive[0]
    )


class Attempts:
    """Planted runs: a server that carries `carries`, and what else happens in which run."""

    def __init__(self, carries: int, **errors: Exception) -> None:
        self.carries, self.errors = carries, errors
        self.tried: list[int] = []

    async def __call__(self, interviews: int) -> Report:
        self.tried.append(interviews)
        if error := self.errors.pop(f"run_{len(self.tried)}", None):
            raise error
        error_text = None if interviews <= self.carries else "HTTP 503: full"
        results = [result(), *(result(error=error_text) for _ in range(interviews - 1))]
        return make_report(results, 10, IDLE, {"media": 1.0}, None)


async def find(attempts: Attempts, start: int = 2, limit: int = 8) -> Capacity:
    return await find_capacity(Search(start, limit), attempts, asyncio.Event(), settle_s=0)


async def test_runs_are_made_until_the_capacity_is_found() -> None:
    attempts = Attempts(5)
    found = await find(attempts)
    assert attempts.tried == [2, 4, 8, 6, 5, 6]
    assert (found.interviews, found.exact, found.failed_at) == (5, True, 6)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Refused(503, "full"), "server: HTTP 503: full"),
        (InviteError("vivavoce invite: locked"), "server: vivavoce invite: locked"),
        (TimeoutError(), "server: the server did not answer in time"),
        (aiohttp.ServerDisconnectedError(), "server: Server disconnected"),
    ],
)
async def test_a_server_that_fails_under_load_has_failed_a_trial(
    error: Exception, text: str
) -> None:
    attempts = Attempts(100, run_2=error, run_4=error)
    found = await find(attempts)
    assert attempts.tried == [2, 4, 3, 4]
    assert (found.interviews, found.exact, found.failed_at) == (3, True, 4)
    assert found.failed_first == [text]


@pytest.mark.parametrize(
    "error", [NoServer("no server answers"), UsageError("--server-pid: no process")]
)
async def test_a_server_that_is_gone_ends_the_search_with_what_is_known(error: Exception) -> None:
    attempts = Attempts(2, run_3=error)
    found = await find(attempts)
    assert attempts.tried == [2, 4, 3]
    assert (found.interviews, found.exact, found.failed_at) == (2, False, 4)
    assert found.stopped_because == f"the server is gone: {error}"


@pytest.mark.parametrize("error", [OpenFilesError("too many open files"), WorkerError("code -9")])
async def test_a_limit_of_the_generator_says_nothing_of_the_server(error: Exception) -> None:
    attempts = Attempts(100, run_2=error, run_3=error)
    found = await find(attempts)
    assert attempts.tried == [2, 4, 4]
    assert (found.interviews, found.exact, found.failed_at) == (2, False, None)
    assert found.stopped_because == f"the generator was the limit: {error}"


async def test_what_is_wrong_at_first_is_no_trial() -> None:
    with pytest.raises(Refused, match="wrong token"):
        await find(Attempts(5, run_1=Refused(401, "wrong token")))


async def test_a_search_that_is_stopped_runs_nothing_more() -> None:
    attempts, stop = Attempts(100), asyncio.Event()

    async def stopped_in_the_second(interviews: int) -> Report:
        report = await attempts(interviews)
        if interviews > 2:
            stop.set()
            return msgspec.structs.replace(report, interrupted=True)
        return report

    found = await find_capacity(Search(2, 8), stopped_in_the_second, stop, settle_s=0)
    assert (found.interviews, found.stopped_because, len(found.trials)) == (2, "interrupted", 1)
