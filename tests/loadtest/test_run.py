"""Whole runs against the real media plane."""

import asyncio
import os
from pathlib import Path

import pytest

from loadtest.packets import PacketisedClip, packetise
from loadtest.plan import Plan
from loadtest.run import NoServer, Progress, progress_line, run
from loadtest.scenario import make_scenario
from loadtest.whip import Refused
from tests.loadtest.conftest import short_clip
from tests.loadtest.mini_server import OWNER_TOKEN, MiniServer


@pytest.fixture(scope="module")
def clips() -> tuple[PacketisedClip, ...]:
    return packetise(short_clip("h264")), packetise(short_clip("vp8"))


def plan(mini: MiniServer, clips: tuple[PacketisedClip, ...], **changes: object) -> Plan:
    settings: dict[str, object] = {
        "url": mini.url,
        "clips": clips,
        "interviews": 2,
        "duration_s": 2.0,
        "data_dir": Path("/nonexistent"),
        "owner_token": OWNER_TOKEN,
        "server_pid": os.getpid(),  # here both ends live in one process
    }
    return Plan(**{**settings, **changes})  # type: ignore[arg-type]


async def test_a_run_measures_every_interview(
    mini: MiniServer, clips: tuple[PacketisedClip, ...]
) -> None:
    mini.indicator_age_s = 0.250
    shown: list[Progress] = []
    report = await run(plan(mini, clips), asyncio.Event(), shown.append)
    assert (report.interviews, report.joined, report.errors) == (2, 2, [])
    assert report.frame_completeness == 1.0
    assert report.audio_completeness == 1.0
    assert (report.packets_lost, report.frames_misrouted) == (0, 0)
    assert report.frames_sent >= 2 * 55
    assert report.forward_latency_ms.p50 is not None
    assert report.forward_latency_ms.p50 < 100
    assert report.indicator_latency_ms.p50 == pytest.approx(250, abs=50)
    assert report.join_ms.samples == report.first_picture_ms.samples == 2
    assert report.server_cpu_ms_per_interview_second is not None
    assert report.server_cpu_ms_per_interview_second["media"] > 0
    assert report.server_event_loop_lag_max_ms == 4
    assert [progress.moment.interviews for progress in shown] == [2] * len(shown)
    assert [moment.interviews for moment in report.series] == [2] * len(shown)
    assert sum(moment.forward_latency_ms.samples for moment in report.series) > 200
    assert report.series[0].server_memory_bytes["media"] > 1 << 20
    figures = progress_line(shown[0])
    assert figures.startswith("2 interviews   forward p99 ")
    assert "0 packets lost   server CPU " in figures
    assert figures.endswith(f"{shown[0].left_s:.0f} s left")
    assert mini.peers == {}, "everybody has left"


async def test_an_interrupted_run_reports_what_it_measured(
    mini: MiniServer, clips: tuple[PacketisedClip, ...]
) -> None:
    stop = asyncio.Event()
    report = await run(
        plan(mini, clips, interviews=1, duration_s=3600.0),
        stop,
        lambda progress: stop.set() if progress.left_s < 3599.5 else None,
    )
    assert report.interrupted
    assert report.frames_received > 10
    assert 0.5 < report.duration_s < 60


async def test_a_run_stopped_at_once_reports_that_nothing_took_place(
    mini: MiniServer, clips: tuple[PacketisedClip, ...]
) -> None:
    stop = asyncio.Event()
    stop.set()
    report = await run(plan(mini, clips), stop)
    assert (report.joined, report.valid, report.interrupted) == (0, False, True)


async def test_interviews_that_are_refused_are_counted_with_the_reason(
    mini: MiniServer, clips: tuple[PacketisedClip, ...]
) -> None:
    mini.refuse_after = 1
    report = await run(plan(mini, clips, duration_s=0.5), asyncio.Event())
    assert (report.joined, report.valid) == (1, False)
    assert report.errors == ["HTTP 503: full"]
    assert "1 of 2 interviews did not take place" in report.invalid_because


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_run_that_nobody_can_join_does_not_wait_for_its_end(
    mini: MiniServer, clips: tuple[PacketisedClip, ...], processes: int
) -> None:
    mini.refuse_after = 0
    async with asyncio.timeout(30):
        report = await run(
            plan(mini, clips, duration_s=3600.0, processes=processes), asyncio.Event()
        )
    assert (report.joined, report.valid, report.errors) == (0, False, ["HTTP 503: full"])
    assert not report.interrupted


async def test_who_comes_later_is_waited_for(
    mini: MiniServer, clips: tuple[PacketisedClip, ...]
) -> None:
    mini.refuse_after = 0

    def opened(_: Progress) -> None:
        mini.refuse_after = None

    flash = make_scenario("flash:1.5", 2, 2.0)
    report = await run(plan(mini, clips, scenario=flash), asyncio.Event(), opened)
    assert (report.joined, report.errors) == (1, ["HTTP 503: full"])


async def test_a_connection_that_ends_in_between_makes_the_run_invalid(
    mini: MiniServer, clips: tuple[PacketisedClip, ...]
) -> None:
    closing: list[asyncio.Task[None]] = []
    report = await run(
        plan(mini, clips, interviews=1, duration_s=1.0),
        asyncio.Event(),
        lambda _: closing.append(asyncio.create_task(mini.close_media())),
    )
    assert report.connections_lost == 1
    assert not report.valid
    assert "media connection was lost" in report.errors[0]


async def test_a_wrong_owner_token_ends_the_run(
    mini: MiniServer, clips: tuple[PacketisedClip, ...]
) -> None:
    with pytest.raises(Refused, match="wrong token"):
        await run(plan(mini, clips, owner_token="guess"), asyncio.Event())


async def test_no_server_is_said_before_anything_else(
    mini: MiniServer, clips: tuple[PacketisedClip, ...], unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with pytest.raises(NoServer, match=str(unused_tcp_port)):
        await run(plan(mini, clips, url=url), asyncio.Event())
