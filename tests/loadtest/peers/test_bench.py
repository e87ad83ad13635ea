"""Whole trials, against servers that are really started."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from loadtest import server_cost
from loadtest.packets import packetise
from loadtest.peers.bench import (
    Plan,
    _turns,
    machine_cpu_s,
    present,
    recorded,
    resident_bytes,
    run_trial,
)
from loadtest.peers.namespace import LOOPBACK
from loadtest.peers.servers import CONTESTANTS, Contestant, Place, Running, StartError
from loadtest.peers.table import Job, Trial
from tests.loadtest.conftest import short_clip


@pytest.fixture
def plan() -> Plan:
    return Plan(LOOPBACK, packetise(short_clip("vp8")), publishers=1, seconds=1.0, rounds=1)


def contestant(name: str) -> Contestant:
    return next(each for each in CONTESTANTS if each.name == name)


def children() -> set[int]:
    return set(server_cost.process_times(os.getpid())) - {os.getpid()}


@pytest.mark.may_block("reads /proc and log files while nothing else runs")
@pytest.mark.parametrize(
    ("name", "job"),
    [("aiortc MediaBlackhole", Job.RECEIVE), ("aiortc MediaRecorder", Job.RECORD)],
)
async def test_a_stock_aiortc_is_measured(plan: Plan, name: str, job: Job) -> None:
    before = children()
    # A MediaRecorder writes in blocks of 256 kB: two seconds' worth.
    trial = await run_trial(replace(plan, seconds=3.0), contestant(name), job)
    assert trial.failed is None
    assert trial.cpu_ms > 10  # it decodes 720p
    assert trial.busy_bytes > trial.idle_bytes > 10_000_000
    assert trial.latency_p50_s is None
    assert children() == before


@pytest.mark.may_block("reads /proc and log files while nothing else runs")
async def test_our_own_server_is_measured_with_an_observer(plan: Plan) -> None:
    trial = await run_trial(plan, contestant("Vivavoce --workers 0"), Job.OBSERVE)
    assert trial.failed is None
    assert trial.cpu_s > 0
    assert trial.packets_received > 100
    assert trial.latency_p99_s is not None


@pytest.mark.may_block("reads /proc and log files while nothing else runs")
async def test_a_server_that_does_not_start_is_a_fault_of_its_trial(plan: Plan) -> None:
    @asynccontextmanager
    async def start(job: Job, place: Place) -> AsyncIterator[Running]:
        raise StartError("no such model")
        yield

    trial = await run_trial(plan, Contestant("broken", (Job.RECEIVE,), start), Job.RECEIVE)
    assert trial.fault == "no such model"


@pytest.mark.may_block("reads /proc and log files while nothing else runs")
async def test_an_interrupted_trial_leaves_no_process_behind(plan: Plan) -> None:
    before, running = children(), asyncio.Event()
    original = contestant("aiortc MediaBlackhole")

    @asynccontextmanager
    async def start(job: Job, place: Place) -> AsyncIterator[Running]:
        async with original.start(job, place) as server:
            running.set()
            yield server

    watched = replace(original, start=start)
    trial = asyncio.create_task(run_trial(plan, watched, Job.RECEIVE))
    await running.wait()
    assert children() != before
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    assert children() == before


def test_the_jobs_are_interleaved() -> None:
    order = [(each.name, job) for each, job in _turns(list(CONTESTANTS))]
    assert len(order) == len(set(order)) == sum(len(each.jobs) for each in CONTESTANTS)
    assert [name for name, job in order if job is Job.OBSERVE] == [
        "Janus",
        "Vivavoce --workers 0",
        "Vivavoce with analysis",
    ]
    assert [job for _, job in order] == sorted((job for _, job in order), key=list(Job).index)


def test_janus_is_absent_where_there_is_only_loopback() -> None:
    contestants, absent = present(LOOPBACK)
    assert "Janus" in absent
    assert "Janus" not in [each.name for each in contestants]


def test_the_cpu_of_the_machine_leaves_idle_time_out() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    stat = f"cpu  {ticks} {ticks} {ticks} 999 999 {ticks} {ticks} 7 7 7\ncpu0 1 1 1 1\n"
    assert machine_cpu_s(stat) == 5.0


def test_resident_memory_is_that_of_all_processes() -> None:
    statm = Path("/proc/self/statm").read_text()
    own = int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident_bytes(os.getpid()) > own / 2


def test_a_server_that_records_nothing_fails() -> None:
    trial = Trial("a", Job.RECORD, publishers=2, seconds=10.0)
    assert recorded(trial, 200_000).failed is None
    assert recorded(trial, 199_999).failed == "only 199999 bytes were recorded"
    assert recorded(structs.replace(trial, job=Job.RECEIVE), 0).failed is None
    assert recorded(structs.replace(trial, failed="lost"), 0).failed == "lost"
