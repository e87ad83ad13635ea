"""The comparison on bad networks: its parts, then one short trial with our own server."""

import subprocess
import sys

import pytest

from loadtest.network import parse_network
from loadtest.packets import packetise
from loadtest.peers.calls import Plan, batches, run_trial
from loadtest.peers.namespace import LOOPBACK
from loadtest.peers.networks import NETWORKS
from loadtest.peers.outcomes import OURS
from loadtest.peers.servers import RECEIVERS
from tests.loadtest.conftest import short_clip


def test_each_network_is_one_that_can_be_emulated_and_has_a_round_trip_of_60_ms() -> None:
    assert {parse_network(each).delay_s for each in NETWORKS.values()} == {0.03}


def test_batches_are_of_nearly_equal_size_and_have_all() -> None:
    assert batches(["a", "b", "c"], None) == [["a", "b", "c"]]
    some = batches(list("abcdefghijk"), 4)
    assert sorted(map(len, some)) == [3, 4, 4]
    assert sorted("".join("".join(each) for each in some)) == list("abcdefghijk")


@pytest.mark.may_block("reads log files, and demuxes, while nothing else runs")
async def test_our_own_server_is_compared_on_a_lossy_network_and_with_another_address() -> None:
    clip = packetise(short_clip("vp8", 2))
    networks = {"10 %": NETWORKS["10 %"], "moves": "delay=30ms,move=1s"}
    plan = Plan(LOOPBACK, clip, clip, 3.0, ["1"], networks)
    ours = next(each for each in RECEIVERS if each.name == OURS)
    outcomes = await run_trial(plan, ours, list(networks), "1")
    for each in outcomes:
        assert (each.failed, each.lost) == (None, False)
        assert each.pictures_sent == each.pictures_kept > 80
        assert each.sounds_sent == each.sounds_kept > 130
        assert each.latency_p50_s is not None
        assert each.latency_p50_s > 0.06
        assert each.sounds_heard is not None
        assert each.sounds_heard > 100


@pytest.mark.may_block("reads log files while nothing else runs")
async def test_a_stock_aiortc_gives_its_observer_what_it_decodes() -> None:
    clip = packetise(short_clip("vp8", 2))
    plan = Plan(LOOPBACK, clip, clip, 3.0, ["1"], {"1 %": NETWORKS["1 %"]})
    aiortc = next(each for each in RECEIVERS if each.name == "aiortc")
    (outcome,) = await run_trial(plan, aiortc, ["1 %"], "1")
    assert (outcome.failed, outcome.lost, outcome.latency_p50_s) == (None, False, None)
    assert min(outcome.pictures_kept, outcome.pictures_shown or 0) > 20
    assert min(outcome.sounds_kept, outcome.sounds_heard or 0) > 20
    assert 0 < outcome.black_s < outcome.still_s + 1e-9


@pytest.mark.parametrize("flags", [("--seeds", "0"), ("--seconds", "nan"), ("--seeds", "x")])
def test_what_cannot_be_done_is_said(flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "loadtest.peers.networks", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "above zero" in done.stderr or "invalid int" in done.stderr
