"""One run: N interviews, each a candidate and an observer, joined, measured, left."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from loadtest import server_cost
from loadtest.browser import Probe, open_probe
from loadtest.endpoints import Endpoints, EndpointTemplates
from loadtest.histogram import Histogram
from loadtest.interview import Interview
from loadtest.invites import ByCommand, Invite, InviteError, by_owner
from loadtest.packets import PacketisedClip
from loadtest.peer import Crowd, open_crowd
from loadtest.recording import check_recording
from loadtest.report import GeneratorCost, InterviewResult, Report, make_report
from loadtest.series import Moment, Series, Totals
from loadtest.whip import REQUEST_TIMEOUT

#: Joins at a time: more handshakes at once only wait for each other on the server's core.
JOINS_AT_ONCE = 8
#: What is still on its way, repairs included, after the candidates have stopped.
DRAIN_S = 0.5
PROGRESS_INTERVAL_S = 1.0

T = TypeVar("T")


class NoServer(Exception):
    """Nothing answers at the URL."""


@dataclass(frozen=True, slots=True)
class Plan:
    url: str
    clips: tuple[PacketisedClip, ...]  #: used in turn
    interviews: int
    duration_s: float
    data_dir: Path
    owner_token: str | None = None
    server_pid: int | None = None
    check_recordings: bool = True
    browser: bool = False  #: one more interview, in a real one
    foreign: EndpointTemplates | None = None  #: another server than ours; no invitations then


@dataclass(frozen=True, slots=True)
class Progress:
    left_s: float
    packets_lost: int  #: since the run began
    moment: Moment


def progress_line(progress: Progress) -> str:
    """The second that was: in one line of a terminal."""
    moment = progress.moment
    cpu = moment.server_cpu_percent
    figures = [
        f"{moment.interviews} interviews",
        f"forward p99 {_ms(moment.forward_latency_ms.p99)}",
        f"indicators p95 {_ms(moment.indicator_latency_ms.p95)}",
        f"{progress.packets_lost} packets lost",
        f"server CPU {sum(cpu.values()):.0f} %" if cpu else "server CPU –",
        f"{progress.left_s:.0f} s left",
    ]
    return "   ".join(figures)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"


async def run(
    plan: Plan, stop: asyncio.Event, progress: Callable[[Progress], None] = lambda _: None
) -> Report:
    """Until `plan.duration_s` is over or `stop` is set; then says what was measured until then.

    Raises NoServer, Refused or InviteError when no interview could even be made.
    """
    async with open_crowd() as crowd:
        await _find_server(crowd.http, plan.url)
        invites = await _until(stop, _make_ways(crowd.http, plan)) or []
        async with (
            _joined(crowd, plan, invites[: plan.interviews], stop) as interviews,
            _browser(plan, invites[plan.interviews :]) as probe,
        ):
            measured = await _measure(crowd, plan, interviews, probe, stop, progress)
        interrupted = stop.is_set()
        if plan.check_recordings:
            stop.clear()  # a second Ctrl-C ends this, too
            await _until(stop, _check_recordings(crowd.http, plan, invites, interviews))
        return make_report(
            measured.results,
            measured.duration_s,
            measured.generator,
            measured.server_cpu_s,
            measured.loop_lag_s,
            interrupted,
            measured.series,
            probe.report if probe is not None else None,
        )


async def _find_server(http: aiohttp.ClientSession, url: str) -> None:
    try:
        async with http.get(f"{url}/healthz", timeout=REQUEST_TIMEOUT):
            pass
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise NoServer(f"no server answers at {url}: {error}") from error


async def _make_ways(http: aiohttp.ClientSession, plan: Plan) -> Sequence[Invite | Endpoints]:
    if plan.foreign is None:
        return await _make_invites(http, plan)
    return [plan.foreign.endpoints(http, number + 1) for number in range(plan.interviews)]


async def _make_invites(http: aiohttp.ClientSession, plan: Plan) -> list[Invite]:
    count = plan.interviews + plan.browser
    titles = [f"Load test {number}" for number in range(1, count + 1)]
    if plan.owner_token is not None:
        return [await by_owner(http, plan.url, plan.owner_token, title) for title in titles]
    command = ByCommand(plan.url, plan.data_dir)
    try:
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(command.invite(title)) for title in titles]
    except* InviteError as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in made]


@asynccontextmanager
async def _joined(
    crowd: Crowd, plan: Plan, invites: Sequence[Invite | Endpoints], stop: asyncio.Event
) -> AsyncIterator[list[Interview]]:
    interviews = [
        Interview(crowd, plan.url, invite, plan.clips[number % len(plan.clips)])
        for number, invite in enumerate(invites)
    ]
    turn = asyncio.Semaphore(JOINS_AT_ONCE)

    async def join(interview: Interview) -> None:
        async with turn:
            await interview.join()

    async def join_all() -> None:
        async with asyncio.TaskGroup() as tasks:
            for interview in interviews:
                tasks.create_task(join(interview), name="join")

    try:
        await _until(stop, join_all())
        yield interviews
    finally:
        await asyncio.gather(*(interview.leave() for interview in interviews))


@asynccontextmanager
async def _browser(
    plan: Plan, invites: Sequence[Invite | Endpoints]
) -> AsyncIterator[Probe | None]:
    """The browser, joined, where the plan has one."""
    if not invites or isinstance(invites[0], Endpoints):
        yield None
        return
    async with open_probe(plan.url, invites[0]) as probe:
        await probe.join()
        yield probe


@dataclass(frozen=True, slots=True)
class _Measured:
    results: list[InterviewResult]
    duration_s: float
    generator: GeneratorCost
    server_cpu_s: dict[str, float] | None
    loop_lag_s: float | None
    series: list[Moment]


async def _measure(
    crowd: Crowd,
    plan: Plan,
    interviews: list[Interview],
    probe: Probe | None,
    stop: asyncio.Event,
    progress: Callable[[Progress], None],
) -> _Measured:
    pid = plan.server_pid
    if pid is None and plan.foreign is None:
        pid = server_cost.find_server_pid(plan.data_dir)
    if probe is not None:
        await probe.begin()
    crowd.pacer.lateness_s = Histogram()  # joining is allowed to be late
    before = server_cost.process_times(pid) if pid else {}
    own_before, began = time.process_time(), time.monotonic()
    series = Series(await _totals(interviews), before, began)
    await _watch_progress(plan, interviews, series, began, stop, progress)
    duration_s = time.monotonic() - began
    generator = GeneratorCost(time.process_time() - own_before, crowd.pacer.lateness_s)
    after = server_cost.process_times(pid) if pid else {}
    lag_s = None if plan.foreign else await _loop_lag_s(crowd.http, plan.url)
    if probe is not None:
        await probe.end()
    for interview in interviews:
        interview.end_viewing()
        interview.candidate.pause()
    await asyncio.sleep(DRAIN_S)
    results = [interview.collect() for interview in interviews]
    results += [InterviewResult(error="interrupted before it began")] * (
        plan.interviews - len(results)
    )
    server_cpu_s = server_cost.cpu_by_name(before, after) if after else None
    return _Measured(results, duration_s, generator, server_cpu_s, lag_s, series.moments)


async def _watch_progress(
    plan: Plan,
    interviews: list[Interview],
    series: Series,
    began: float,
    stop: asyncio.Event,
    progress: Callable[[Progress], None],
) -> None:
    server = series.server
    while not stop.is_set() and (left_s := began + plan.duration_s - time.monotonic()) > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), min(left_s, PROGRESS_INTERVAL_S))
        totals, server = await _totals(interviews), server_cost.same_processes(server)
        moment = series.add(totals, server, time.monotonic())
        left_s = max(0.0, began + plan.duration_s - time.monotonic())
        progress(Progress(left_s, totals.packets_lost, moment))


async def _totals(interviews: list[Interview]) -> Totals:
    """Between one interview and the next it lets the pacer send what is due."""
    totals = Totals(generator_cpu_s=time.process_time())
    for each in interviews:
        totals.add(each.collect())
        await asyncio.sleep(0)
    return totals


async def _check_recordings(
    http: aiohttp.ClientSession,
    plan: Plan,
    invites: Sequence[Invite | Endpoints],
    interviews: list[Interview],
) -> None:
    """One after the other: a recording is read much faster than it was made."""
    for invite, interview in zip(invites, interviews, strict=False):
        if isinstance(invite, Endpoints):
            return
        token = invite.recruiter or plan.owner_token
        if interview.result.error is None and token and invite.interview_id:
            interview.result.recording = await check_recording(
                http, plan.url, invite.interview_id, token, interview.sent_tracks()
            )


async def _loop_lag_s(http: aiohttp.ClientSession, url: str) -> float | None:
    with suppress(aiohttp.ClientError, TimeoutError):
        async with http.get(f"{url}/metrics", timeout=REQUEST_TIMEOUT) as response:
            return server_cost.loop_lag_s(await response.text())
    return None


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result; None, and the work cancelled, when `stop` is set first."""
    working = asyncio.create_task(work, name="work")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait({working})
