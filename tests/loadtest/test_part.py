"""Scenarios and emulated networks in whole runs against the real media plane."""

import asyncio
import math
import os
from pathlib import Path

import pytest

from loadtest.media import Clip
from loadtest.network import Impairments
from loadtest.packets import PacketisedClip, packetise
from loadtest.plan import Plan
from loadtest.report import Report
from loadtest.run import run
from loadtest.scenario import make_scenario
from tests.loadtest.conftest import short_clip
from tests.loadtest.mini_server import OWNER_TOKEN, MiniServer


@pytest.fixture(scope="module")
def clip() -> PacketisedClip:
    return packetise(short_clip("vp8"))


async def report_of(
    mini: MiniServer, clip: PacketisedClip, interviews: int, duration_s: float, **changes: object
) -> Report:
    nowhere = Path("/nonexistent")
    settings: dict[str, object] = {
        "scenario": make_scenario(str(changes.pop("course", "steady")), interviews, duration_s, "x")
    }
    plan = Plan(
        mini.url,
        (clip,),
        interviews,
        duration_s,
        nowhere,
        OWNER_TOKEN,
        os.getpid(),
        **{**settings, **changes},  # type: ignore[arg-type]
    )
    return await run(plan, asyncio.Event())


# ---- networks ---------------------------------------------------------------------------


async def test_an_emulated_loss_of_five_percent_is_measured_as_five_percent(
    mini: MiniServer, clip: PacketisedClip
) -> None:
    lossy = (Impairments(loss=0.05),)
    report = await report_of(mini, clip, 2, 6.0, observer_networks=lossy, seed="planted")
    assert report.packets_received > 1500
    deviation = math.sqrt(0.05 * 0.95 / report.packets_received)
    assert report.downlink_loss == pytest.approx(0.05, abs=4 * deviation)
    assert report.uplink_loss == 0
    assert report.networks == {"candidates": [], "observers": ["loss=5%"]}
    assert report.frame_completeness is not None
    assert report.frame_completeness > 0.98, "losses were repaired"


async def test_a_loss_on_the_way_up_is_measured_by_what_the_server_misses(
    mini: MiniServer, clip: PacketisedClip
) -> None:
    lossy = (Impairments(loss=0.05),)
    report = await report_of(mini, clip, 2, 6.0, candidate_networks=lossy, seed="planted")
    pictures = 0.6 * report.packets_sent  # the others are sound, which comes twice
    deviation = math.sqrt(0.05 * 0.95 / pictures)
    assert report.uplink_loss == pytest.approx(0.05, abs=4 * deviation)


async def test_an_emulated_delay_is_in_the_latency_and_in_the_servers_round_trip(
    mini: MiniServer, clip: PacketisedClip
) -> None:
    slow = (Impairments(delay_s=0.1),)
    trips: list[float | None] = []
    asyncio.get_running_loop().call_later(
        2.5, lambda: trips.extend(each.stats(0.0).round_trip_s for each in mini.sources.values())
    )
    report = await report_of(mini, clip, 1, 3.0, candidate_networks=slow)
    assert report.forward_latency_ms.p50 == pytest.approx(102, abs=15)
    assert trips == [pytest.approx(0.2, abs=0.05)]
    assert report.max_bitrate_bps is not None


async def test_media_goes_on_from_another_address(mini: MiniServer, clip: PacketisedClip) -> None:
    moving = (Impairments(move_s=0.7),)
    report = await report_of(
        mini, clip, 1, 3.0, candidate_networks=moving, observer_networks=moving
    )
    assert (report.joined, report.connections_lost) == (1, 0)
    assert report.frame_completeness is not None
    assert report.frame_completeness > 0.95


async def test_pauses_that_are_not_sent_are_not_missed(mini: MiniServer) -> None:
    clip = short_clip("vp8", 2)
    pausing = [packet if number < 50 else b"" for number, packet in enumerate(clip.audio)]
    report = await report_of(
        mini, packetise(Clip(clip.codec, clip.video, clip.keyframes, pausing)), 1, 3.0
    )
    assert (report.audio_completeness, report.frame_completeness) == (1.0, 1.0)
    assert report.uplink_loss == report.downlink_loss == 0


# ---- scenarios --------------------------------------------------------------------------


async def test_a_ramp_brings_everybody(mini: MiniServer, clip: PacketisedClip) -> None:
    report = await report_of(mini, clip, 3, 3.0, course="ramp:2")
    assert (report.joined, report.frame_completeness) == (3, 1.0)
    assert report.series[0].interviews < report.series[-1].interviews == 3


async def test_late_observers_see_all_from_when_they_came(
    mini: MiniServer, clip: PacketisedClip
) -> None:
    report = await report_of(mini, clip, 2, 3.0, course="late-observers:1")
    assert (report.joined, report.frame_completeness) == (2, 1.0)
    assert report.first_picture_ms.samples == 2
    assert 2 * 40 < report.frames_sent < 2 * 80


async def test_after_a_lost_network_all_come_back_and_frames_go_on(
    mini: MiniServer, clip: PacketisedClip
) -> None:
    report = await report_of(mini, clip, 2, 4.0, course="reconnect:2")
    assert (report.joined, report.connections_lost, report.errors) == (2, 0, [])
    assert report.rejoin_ms.samples == 2
    assert report.frames_misrouted == 0
    assert report.frame_completeness is not None
    assert report.frame_completeness > 0.97, "what was on its way is lost, no more"
    assert report.frames_received > 2 * 80


async def test_churn_measures_those_who_left_and_those_who_followed(
    mini: MiniServer, clip: PacketisedClip
) -> None:
    report = await report_of(mini, clip, 2, 4.0, course="churn:1.5")
    assert report.interviews > 2
    assert (report.joined, report.errors) == (report.interviews, [])
    assert report.frame_completeness == 1.0
    assert max(moment.interviews for moment in report.series) <= 3
    assert mini.peers == {}


async def test_the_generator_goes_first_while_it_measures(
    mini: MiniServer, clip: PacketisedClip
) -> None:
    policies = set()
    plan = Plan(mini.url, (clip,), 1, 1.2, Path("/nonexistent"), OWNER_TOKEN, os.getpid())
    await run(plan, asyncio.Event(), lambda _: policies.add(os.sched_getscheduler(0)))
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    if os.geteuid() == 0:
        assert policies == {os.SCHED_RR | os.SCHED_RESET_ON_FORK}
