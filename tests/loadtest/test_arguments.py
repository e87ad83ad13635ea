"""From the command line to a plan; `test_main.py` has what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest import arguments as module
from loadtest.arguments import capacity_parser, make_plan, run_parser
from loadtest.network import PROFILES, Impairments
from loadtest.plan import Plan
from tests.loadtest.conftest import write_tone

PlanOf = Callable[..., Plan]


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    def plan(*flags: str) -> Plan:
        media = ("--cache", str(tmp_path), "--audio", str(write_tone(tmp_path, 0.5)))
        arguments = run_parser(None).parse_args([*media, "--codec", "vp8", *flags])
        return make_plan(arguments, arguments.interviews)

    return plan


def test_by_default_one_steady_interview_on_the_machines_own_network(plan_of: PlanOf) -> None:
    plan = plan_of()
    assert (plan.interviews, plan.course.name, plan.processes) == (1, "steady", 1)
    assert plan.candidate_network(0) is None
    assert plan.networks() == {"candidates": [], "observers": []}


def test_networks_are_used_in_turn_each_interview_with_a_seed_of_its_own(plan_of: PlanOf) -> None:
    plan = plan_of("--network", "bad", "--network", "loss=5%", "--seed", "7")
    used = [plan.candidate_network(number) for number in range(4)]
    assert [each and each.impairments for each in used] == [
        PROFILES["bad"],
        Impairments(loss=0.05),
    ] * 2

    def lost(number: int) -> list[bool]:
        network = plan.candidate_network(number)
        assert network is not None
        return [network.up.arrival(1000, 0) is None for _ in range(300)]

    assert lost(1) == lost(1)
    assert lost(1) != lost(3)
    assert plan.observer_network(0) is None


def test_no_more_processes_than_interviews(plan_of: PlanOf) -> None:
    assert plan_of("--interviews", "2", "--processes", "4").processes == 2


def test_a_search_reads_no_recordings_and_opens_no_browser(tmp_path: Path) -> None:
    arguments = capacity_parser(None).parse_args(["--start", "3"])
    assert (arguments.start, arguments.no_recording_check, arguments.browser) == (3, True, False)


def test_impossible_numbers_are_refused_before_anything_is_made_of_them() -> None:
    arguments = run_parser(None).parse_args(["--interviews", "999999999999"])
    with pytest.raises(module.UsageError, match="open files"):
        make_plan(arguments, arguments.interviews)
