"""The comparison: every server at every job, round after round, under the same peers."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from msgspec.structs import replace

from loadtest import sdp, server_cost, whip
from loadtest.histogram import Histogram
from loadtest.observer import Observer
from loadtest.packets import PacketisedClip
from loadtest.peer import Candidate, Crowd, open_crowd
from loadtest.peers.servers import CONTESTANTS, Contestant, Place, Running, Seat, StartError
from loadtest.peers.table import Job, Trial
from loadtest.transport import ConnectError
from loadtest.watch import WatchError

#: After its start, and after the last join, until a server has come to rest.
SETTLE_S = 2.0
#: Of the 130 kB that come from each publisher; a server may encode again, or write in blocks.
MIN_RECORDED_BYTES_PER_S = 10_000
FAULTS = (
    StartError,
    whip.Refused,
    ConnectError,
    sdp.AnswerError,
    WatchError,
    aiohttp.ClientError,
    TimeoutError,
)


@dataclass(frozen=True, slots=True)
class Plan:
    address: str
    clip: PacketisedClip
    publishers: int
    seconds: float
    rounds: int


async def compare(
    plan: Plan, contestants: list[Contestant], say: Callable[[str], None]
) -> AsyncIterator[Trial]:
    """Yields each trial when it is over."""
    for number in range(1, plan.rounds + 1):
        for contestant, job in _turns(contestants):
            say(f"round {number} of {plan.rounds}: {contestant.name}, {job}")
            yield await run_trial(plan, contestant, job)


def _turns(contestants: list[Contestant]) -> Iterator[tuple[Contestant, Job]]:
    """A B C A B C: what is compared is measured near in time."""
    for job in Job:
        for contestant in contestants:
            if job in contestant.jobs:
                yield contestant, job


def present(address: str) -> tuple[list[Contestant], dict[str, str]]:
    """Who takes part, and why the others don't."""
    absent = {each.name: why for each in CONTESTANTS if (why := each.absent(address)) is not None}
    return [each for each in CONTESTANTS if each.name not in absent], absent


async def run_trial(plan: Plan, contestant: Contestant, job: Job) -> Trial:
    """One server started, loaded, measured and stopped; what went wrong is in the result."""
    count = min(plan.publishers, contestant.max_publishers or plan.publishers)
    trial = Trial(contestant.name, job, count)
    with tempfile.TemporaryDirectory(prefix="vivavoce-bench-") as folder:
        async with open_crowd() as crowd:
            place = Place(crowd.http, plan.address, Path(folder))
            try:
                async with contestant.start(job, place) as server:
                    await asyncio.sleep(SETTLE_S)
                    idle = replace(trial, idle_bytes=resident_bytes(server.pid))
                    stored = stored_bytes(place.folder)
                    async with _loaded(crowd, plan.clip, server, job, count) as pairs:
                        await asyncio.sleep(SETTLE_S)
                        done = await _measure(crowd, server.pid, pairs, plan.seconds, idle)
                        return recorded(done, stored_bytes(place.folder) - stored)
            except FAULTS as error:
                return replace(trial, failed=str(error) or type(error).__name__)


def recorded(trial: Trial, recorded_bytes: int) -> Trial:
    """The trial with what was written meanwhile; a server that should have and did not fails."""
    enough = MIN_RECORDED_BYTES_PER_S * trial.publishers * trial.seconds
    failed = trial.failed
    if failed is None and trial.job is not Job.RECEIVE and recorded_bytes < enough:
        failed = f"only {recorded_bytes} bytes were recorded"
    return replace(trial, recorded_bytes=recorded_bytes, failed=failed)


# ---- the load -----------------------------------------------------------------------------


@dataclass(slots=True)
class Pair:
    """A candidate, and who watches it."""

    candidate: Candidate
    observer: Observer | None
    watching: asyncio.Task[None] | None = None


@asynccontextmanager
async def _loaded(
    crowd: Crowd, clip: PacketisedClip, server: Running, job: Job, count: int
) -> AsyncIterator[list[Pair]]:
    async with AsyncExitStack() as stack:
        pairs = []
        for seat in await server.seats(count):
            pairs.append(await stack.enter_async_context(_seated(crowd, clip, seat, job)))
        yield pairs


@asynccontextmanager
async def _seated(crowd: Crowd, clip: PacketisedClip, seat: Seat, job: Job) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        candidate = Candidate(crowd, seat.publish, clip)
        stack.push_async_callback(_leave, candidate)
        await candidate.join()
        pair = Pair(candidate, None)
        if job is Job.OBSERVE and seat.observe is not None:
            sources = {candidate.audio_ssrc, candidate.video_ssrc}
            pair.observer = Observer(crowd, seat.observe, sources)
            stack.push_async_callback(_leave, pair.observer)
            await pair.observer.join()
            if seat.indicators is not None:
                pair.watching = asyncio.create_task(seat.indicators.run(), name="indicators")
                stack.push_async_callback(_cancel, pair.watching)
        yield pair


async def _leave(peer: Candidate | Observer) -> None:
    with suppress(*FAULTS):
        await peer.leave()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, *FAULTS):
        await task


# ---- the measurement ----------------------------------------------------------------------


async def _measure(
    crowd: Crowd, pid: int, pairs: list[Pair], seconds: float, trial: Trial
) -> Trial:
    crowd.pacer.lateness_s = Histogram()  # joining is allowed to be late
    tracks = [track for pair in pairs if pair.observer for track in pair.observer.tracks.values()]
    for track in tracks:
        track.latency_s = Histogram()
    before, began = _Clocks.read(pid), time.monotonic()
    received = sum(track.packets.received for track in tracks)
    lost = sum(track.packets.lost for track in tracks)
    await asyncio.sleep(seconds)
    spent, elapsed_s = _Clocks.read(pid) - before, time.monotonic() - began
    latency = Histogram()
    for track in tracks:
        latency.merge(track.latency_s)
    return replace(
        trial,
        seconds=elapsed_s,
        cpu_s=spent.server_s,
        busy_bytes=resident_bytes(pid),
        generator_cpu_s=spent.own_s,
        lateness_p99_s=crowd.pacer.lateness_s.percentile(99) or 0.0,
        others_cores=max(0.0, spent.all_s - spent.server_s - spent.own_s) / elapsed_s,
        latency_p50_s=latency.percentile(50),
        latency_p99_s=latency.percentile(99),
        packets_received=sum(track.packets.received for track in tracks) - received,
        packets_lost=sum(track.packets.lost for track in tracks) - lost,
        failed=_failure(pairs),
    )


def _failure(pairs: list[Pair]) -> str | None:
    """Peers that fell out during the measurement."""
    if any(pair.candidate.lost.is_set() for pair in pairs):
        return "a candidate's connection was lost"
    watched = [pair.observer for pair in pairs if pair.observer]
    if any(each.lost.is_set() or not each.tracks for each in watched):
        return "an observer's connection was lost, or nothing came"
    if any(pair.watching is not None and pair.watching.done() for pair in pairs):
        return "an observer's WebSocket was closed"
    return None


@dataclass(frozen=True, slots=True)
class _Clocks:
    """CPU seconds so far."""

    server_s: float
    own_s: float
    all_s: float  #: of the whole machine

    @classmethod
    def read(cls, pid: int) -> "_Clocks":
        server_s = sum(each.cpu_s for each in server_cost.process_times(pid).values())
        return cls(server_s, time.process_time(), machine_cpu_s(Path("/proc/stat").read_text()))

    def __sub__(self, before: "_Clocks") -> "_Clocks":
        return _Clocks(
            self.server_s - before.server_s, self.own_s - before.own_s, self.all_s - before.all_s
        )


def machine_cpu_s(stat: str) -> float:
    """CPU seconds that all programs have used, from /proc/stat (proc(5))."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, stat.split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def stored_bytes(folder: Path) -> int:
    """In all files below the folder, which may come and go meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def resident_bytes(root: int) -> int:
    """Of a process and all below it; pages that they share count for each."""
    pages = 0
    for pid in server_cost.process_times(root):
        with suppress(OSError):  # it has just ended
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
