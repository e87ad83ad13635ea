"""One run: N interviews, each a candidate and an observer, joined, measured, left."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from loadtest import server_cost
from loadtest.browser import Probe, open_probe
from loadtest.duration import clock
from loadtest.histogram import Histogram
from loadtest.interview import NOT_BEGUN
from loadtest.invites import ByCommand, Invite, InviteError, many_by_owner
from loadtest.part import Part
from loadtest.peer import Crowd, open_crowd
from loadtest.plan import Plan
from loadtest.recording import Sent, check_recording
from loadtest.report import Report, make_report
from loadtest.results import GeneratorCost, InterviewResult
from loadtest.series import Moment, Series, Totals
from loadtest.whip import REQUEST_TIMEOUT
from loadtest.worker import RemotePart, WorkerError, open_remote

PROGRESS_INTERVAL_S = 1.0

T = TypeVar("T")


class NoServer(Exception):
    """Nothing answers at the URL."""


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
        f"{clock(round(progress.left_s))} left",
    ]
    return "   ".join(figures)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"


async def run(
    plan: Plan,
    stop: asyncio.Event,
    progress: Callable[[Progress], None] = lambda _: None,
    phase: Callable[[str], None] = lambda _: None,
) -> Report:
    """Until `plan.duration_s` is over or `stop` is set; then says what was measured until then.

    `progress` is told every second of what is measured, `phase` what is done before and after.

    Raises NoServer, Refused or InviteError when no interview could even be made.
    """
    async with open_crowd() as crowd:
        await _until(stop, _find_server(crowd.http, plan.url))
        if plan.foreign is None:
            phase(f"making {plan.course.interviews + plan.browser} invitations")
        invites = await _until(stop, _make_invites(crowd.http, plan)) or []
        numbers = range(min(plan.course.interviews, len(invites)))
        async with _parts(crowd, plan, {number: invites[number] for number in numbers}) as parts:
            phase("joining")
            await _until(stop, _gathered(part.open() for part in parts))
            async with _browser(plan, invites[len(numbers) :]) as probe:
                measured = await _measure(crowd.http, plan, parts, probe, stop, progress)
        interrupted = stop.is_set()
        if plan.check_recordings:
            stop.clear()  # a second Ctrl-C ends this, too
            await _until(stop, _check_recordings(crowd.http, plan, invites, measured, phase))
            interrupted = interrupted or stop.is_set()
        return make_report(
            measured.results,
            measured.duration_s,
            measured.generator,
            measured.server_cpu_s,
            measured.loop_lag_s,
            interrupted,
            measured.series,
            probe.report if probe is not None else None,
            plan.networks(),
            plan.course.name,
            plan.setting(),
        )


async def _find_server(http: aiohttp.ClientSession, url: str) -> None:
    try:
        async with http.get(f"{url}/healthz", timeout=REQUEST_TIMEOUT):
            pass
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise NoServer(f"no server answers at {url}: {error}") from error


async def _make_invites(http: aiohttp.ClientSession, plan: Plan) -> Sequence[Invite | None]:
    count = plan.course.interviews + plan.browser
    if plan.foreign is not None:
        return [None] * count
    titles = [f"Load test {number}" for number in range(1, count + 1)]
    if plan.owner_token is not None:
        return await many_by_owner(http, plan.url, plan.owner_token, titles)
    if not (plan.data_dir / "keys").is_dir():
        raise InviteError(
            f"no server keeps its data in {plan.data_dir}: say --data-dir where it does"
        )
    command = ByCommand(plan.url, plan.data_dir)
    try:
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(command.invite(title)) for title in titles]
    except* InviteError as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in made]


@asynccontextmanager
async def _parts(
    crowd: Crowd, plan: Plan, invites: Mapping[int, Invite | None]
) -> AsyncIterator[list[Part | RemotePart]]:
    """The interviews, dealt out to as many processes as the plan says; all leave at the end."""
    if plan.processes == 1:
        part = Part(crowd, plan, invites)
        try:
            yield [part]
        finally:
            await part.leave()
        return
    async with AsyncExitStack() as stack:
        parts: list[Part | RemotePart] = []
        for index in range(plan.processes):
            mine = {n: invite for n, invite in invites.items() if n % plan.processes == index}
            parts.append(await stack.enter_async_context(open_remote(plan, mine)))
        yield parts


@asynccontextmanager
async def _browser(plan: Plan, invites: Sequence[Invite | None]) -> AsyncIterator[Probe | None]:
    """The browser, joined, where the plan has one."""
    if not invites or invites[0] is None:
        yield None
        return
    async with open_probe(plan.url, invites[0]) as probe:
        await probe.join()
        yield probe


@dataclass(frozen=True, slots=True)
class _Measured:
    results: list[InterviewResult]  #: by the number of the interview
    sent: dict[int, Sent]
    duration_s: float
    generator: GeneratorCost
    server_cpu_s: dict[str, float] | None
    loop_lag_s: float | None
    series: list[Moment]


async def _measure(
    http: aiohttp.ClientSession,
    plan: Plan,
    parts: Sequence[Part | RemotePart],
    probe: Probe | None,
    stop: asyncio.Event,
    progress: Callable[[Progress], None],
) -> _Measured:
    pid = plan.server_pid
    if pid is None and plan.foreign is None:
        pid = server_cost.find_server_pid(plan.data_dir)
    if probe is not None:
        await probe.begin()
    metrics_before = await _metrics(http, plan)
    before = server_cost.process_times(pid) if pid else {}
    own_before, began = time.process_time(), time.monotonic()
    for part in parts:
        part.begin()
    series = Series(_totals(parts), before, began)
    # Where nobody is in and nobody comes, there is nothing to wait for.
    if probe or plan.course.joined_later or any(part.anybody_in() for part in parts):
        playing = asyncio.create_task(_gathered(part.play() for part in parts), name="scenario")
        await _watch_progress(plan, parts, series, began, stop, progress)
        await _until(stop, _finished(playing))
    duration_s = time.monotonic() - began
    own_cpu_s = time.process_time() - own_before
    after = server_cost.process_times(pid) if pid else {}
    metrics = await _metrics(http, plan)
    spent_s = server_cost.cpu_by_name(before, after) if after else None
    if spent_s is not None:
        spent_s = server_cost.with_recorder(spent_s, metrics_before, metrics)
    if probe is not None:
        await probe.end()
    results = await asyncio.gather(*(part.end() for part in parts))
    costs = [result.generator for result in results]
    if plan.processes > 1:  # this process only watches
        costs.append(GeneratorCost(own_cpu_s, Histogram()))
    by_number = {n: each for result in results for n, each in result.interviews.items()}
    return _Measured(
        [
            by_number.get(number, InterviewResult(error=NOT_BEGUN))
            for number in range(plan.course.interviews)
        ],
        {n: each for result in results for n, each in result.sent.items()},
        duration_s,
        GeneratorCost.all_processes(costs),
        spent_s,
        server_cost.loop_lag_s(metrics),
        series.moments,
    )


async def _watch_progress(
    plan: Plan,
    parts: Sequence[Part | RemotePart],
    series: Series,
    began: float,
    stop: asyncio.Event,
    progress: Callable[[Progress], None],
) -> None:
    server = series.server
    while not stop.is_set() and (left_s := began + plan.duration_s - time.monotonic()) > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), min(left_s, PROGRESS_INTERVAL_S))
        totals, server = _totals(parts), server_cost.same_processes(server)
        moment = series.add(totals, server, time.monotonic())
        left_s = max(0.0, began + plan.duration_s - time.monotonic())
        progress(Progress(left_s, totals.packets_lost, moment))


def _totals(parts: Sequence[Part | RemotePart]) -> Totals:
    totals = Totals()
    for part in parts:
        totals.merge(part.totals())
    return totals


async def _check_recordings(
    http: aiohttp.ClientSession,
    plan: Plan,
    invites: Sequence[Invite | None],
    measured: _Measured,
    phase: Callable[[str], None],
) -> None:
    """One after the other: a recording is read much faster than it was made."""
    for number, result in enumerate(measured.results):
        invite = invites[number] if number < len(invites) else None
        token = invite and (invite.recruiter or plan.owner_token)
        if invite and token and invite.interview_id and result.error is None:
            phase(f"checking recordings {number + 1} of {len(measured.results)}")
            result.recording = await check_recording(
                http, plan.url, invite.interview_id, token, measured.sent[number]
            )


async def _metrics(http: aiohttp.ClientSession, plan: Plan) -> str:
    """What our own server counts; empty where that cannot be told."""
    if plan.foreign is None:
        with suppress(aiohttp.ClientError, TimeoutError):
            headers = await asyncio.to_thread(server_cost.metrics_headers, plan.data_dir)
            url = f"{plan.url}/metrics"
            async with http.get(url, headers=headers, timeout=REQUEST_TIMEOUT) as response:
                return await response.text()
    return ""


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


async def _gathered(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work)
    except* WorkerError as errors:
        raise errors.exceptions[0] from None


async def _finished(task: "asyncio.Task[None]") -> None:
    """Waits for the task; it is cancelled where this is."""
    try:
        await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
