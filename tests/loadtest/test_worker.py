"""Parts of a run in processes of their own, against the real media plane."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from loadtest.packets import PacketisedClip, packetise
from loadtest.plan import Plan
from loadtest.run import Progress, run
from loadtest.worker import WorkerError, open_remote
from tests.loadtest.conftest import short_clip
from tests.loadtest.mini_server import OWNER_TOKEN, MiniServer


@pytest.fixture(scope="module")
def clip() -> PacketisedClip:
    return packetise(short_clip("vp8"))


def plan(mini: MiniServer, clip: PacketisedClip, interviews: int, duration_s: float) -> Plan:
    nowhere = Path("/nonexistent")
    return Plan(
        mini.url, (clip,), interviews, duration_s, nowhere, OWNER_TOKEN, os.getpid(), processes=2
    )


async def test_a_run_in_two_processes_measures_every_interview(
    mini: MiniServer, clip: PacketisedClip
) -> None:
    shown: list[Progress] = []
    report = await run(plan(mini, clip, 3, 3.0), asyncio.Event(), shown.append)
    assert (report.interviews, report.joined, report.errors) == (3, 3, [])
    assert report.frame_completeness == 1.0
    assert report.frames_sent > 3 * 80
    assert report.indicator_latency_ms.samples > 3 * 20
    assert shown[-1].moment.interviews == 3
    assert report.generator_cpu_ms_per_candidate_second
    assert mini.peers == {}, "everybody has left"


async def test_a_run_in_processes_that_is_interrupted_reports_what_it_measured(
    mini: MiniServer, clip: PacketisedClip
) -> None:
    stop = asyncio.Event()
    report = await run(
        plan(mini, clip, 2, 3600.0),
        stop,
        lambda progress: stop.set() if progress.moment.at_s > 1.5 else None,
    )
    assert report.interrupted
    assert report.frames_received > 20
    assert mini.peers == {}


async def test_a_process_that_dies_is_told(mini: MiniServer, clip: PacketisedClip) -> None:
    async with open_remote(plan(mini, clip, 1, 3600.0), {}) as part:
        await part.open()
        part.begin()
        os.kill(part._process.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match="ended with code -9"):
            await part.end()


async def test_a_process_ends_when_nobody_is_left_who_asks(
    mini: MiniServer, clip: PacketisedClip
) -> None:
    async with open_remote(plan(mini, clip, 1, 3600.0), {}) as part:
        await part.open()
    assert part._process.returncode == 0
