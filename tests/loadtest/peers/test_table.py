"""Medians, ranges and doubts, on numbers that can be checked by hand."""

import re

import pytest
from msgspec.structs import replace

from loadtest.peers.table import Comparison, Job, Range, Trial, as_text, doubts, row, spread

MEGABYTE = 1 << 20


def trial(cpu_s: float, job: Job = Job.RECEIVE, **measured: object) -> Trial:
    base = Trial("a", job, 10, 10.0, cpu_s, 20 * MEGABYTE, 30 * MEGABYTE)
    return replace(base, **measured)


def test_cpu_is_counted_for_each_publisher_and_second() -> None:
    assert trial(0.6).cpu_ms == 6.0
    assert trial(1.0, publishers=1).cpu_ms == 100.0


def test_the_median_and_the_range_are_of_the_values_that_there_are() -> None:
    assert spread([3.0, None, 1.0, 8.0]) == Range(3.0, 1.0, 8.0)
    assert spread([None]) is None


def test_a_row_takes_its_own_trials_by_job() -> None:
    other = replace(trial(99.0), server="b")
    line = row("a", [trial(0.6), trial(0.5), trial(1.0), trial(2.0, Job.RECORD), other])
    assert line.cpu_ms == {
        Job.RECEIVE: Range(6.0, 5.0, 10.0),
        Job.RECORD: Range(20.0, 20.0, 20.0),
        Job.OBSERVE: None,
    }


def test_memory_under_load_is_that_of_the_heaviest_job() -> None:
    heavy = trial(1.0, Job.RECORD, busy_bytes=50 * MEGABYTE)
    line = row("a", [trial(1.0), heavy])
    assert (line.idle_mb, line.busy_mb) == (Range(20, 20, 20), Range(50, 50, 50))


def test_latency_is_that_of_the_job_with_observers() -> None:
    watched = trial(1.0, Job.OBSERVE, latency_p50_s=0.0005, latency_p99_s=0.002)
    line = row("a", [trial(1.0), watched])
    assert (line.latency_p50_ms, line.latency_p99_ms) == (Range(0.5, 0.5, 0.5), Range(2, 2, 2))


def test_a_trial_with_a_fault_counts_nowhere() -> None:
    lost = trial(0.0, failed="lost", idle_bytes=0)
    line = row("a", [trial(0.5), lost])
    assert line.cpu_ms[Job.RECEIVE] == Range(5.0, 5.0, 5.0)
    assert line.idle_mb == Range(20, 20, 20)
    assert row("a", [trial(0.5, failed="lost")]).cpu_ms[Job.RECEIVE] is None


def test_a_trial_whose_generator_was_late_counts_nowhere() -> None:
    line = row("a", [trial(0.5), trial(9.0, lateness_p99_s=0.021)])
    assert line.cpu_ms[Job.RECEIVE] == Range(5.0, 5.0, 5.0)


def test_a_server_that_drops_packets_is_not_compared() -> None:
    lossy = replace(trial(1.0), packets_lost=3, packets_received=197)
    assert "3 packets were lost" in (lossy.fault or "")
    assert replace(lossy, packets_lost=1).fault is None


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        ({"failed": "no start"}, "a, receive: one trial does not count: no start"),
        (
            {"lateness_p99_s": 0.03},
            "a, receive: one trial does not count: the generator was 30 ms late (p99)",
        ),
        (
            {"others_cores": 0.5},
            "Cores that other programs took meanwhile: 0.2 (0.0–0.5). Compare, don't quote.",
        ),
        (
            {"packets_lost": 1, "packets_received": 199},
            "a, receive: 1 of 200 packets did not reach the observers",
        ),
    ],
)
def test_what_speaks_against_a_trial_is_said(measured: dict[str, object], text: str) -> None:
    assert doubts([trial(1.0), replace(trial(1.0), **measured)]) == [text]


def test_the_table_lines_up_and_names_who_is_absent() -> None:
    trials = [trial(0.6), trial(12.0, Job.OBSERVE)]
    comparison = Comparison(
        10, 10.0, 3, "2 cores.", [row("a", trials)], {"Janus": "not installed"}, ["A note."], trials
    )
    plan, _, header, line, absent, _, note = as_text(comparison).split("\n")
    assert plan.startswith("10 publishers, 3 interleaved rounds of 10 s")
    assert re.split(r"\s{3,}", line)[:4] == ["a", "6.0 (6.0–6.0)", "–", "120 (120–120)"]
    assert line.index("6.0 (6.0–6.0)") + 13 == header.index("receive") + len("receive")
    assert absent.split("   ")[-1].strip() == "absent: not installed"
    assert note == "A note."
