import pytest

from loadtest.histogram import Histogram
from loadtest.results import GeneratorCost, InterviewResult
from tests.loadtest.test_report import report, result


def test_an_interview_that_did_not_take_place_makes_the_run_invalid() -> None:
    made = report(result(), InterviewResult(error="HTTP 503"), InterviewResult(error="HTTP 503"))
    assert (made.interviews, made.joined, made.valid) == (3, 1, False)
    assert made.invalid_because == ["2 of 3 interviews did not take place"]
    assert made.errors == ["HTTP 503"]


@pytest.mark.parametrize(
    ("generator", "why"),
    [
        (GeneratorCost(0.5, Histogram([0.001] * 98 + [0.021] * 2)), "sent late: p99 21 ms"),
        (GeneratorCost(8.6, Histogram([0.001])), "used 86% of a core"),
    ],
)
def test_a_generator_that_was_the_bottleneck_makes_the_run_invalid(
    generator: GeneratorCost, why: str
) -> None:
    made = report(result(), generator=generator)
    assert not made.valid
    assert why in made.invalid_because[0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"connection_lost": "the observer's socket: closed"}, "lost a connection"),
        ({"datagrams_refused": 3}, "dropped 3 datagrams"),
        ({"frames_received": 0}, "no observer received"),
    ],
)
def test_a_run_that_lost_its_ground_is_invalid(changes: dict[str, object], why: str) -> None:
    made = report(result(**changes))
    assert not made.valid
    assert why in made.invalid_because[0]


def test_a_generator_that_stood_still_once_in_an_hour_makes_the_run_invalid() -> None:
    stalled = GeneratorCost(0.5, Histogram([0.001] * 10_000 + [1.0]))
    assert report(result(), generator=stalled).invalid_because == [
        "the generator stood still for 1000 ms"
    ]
