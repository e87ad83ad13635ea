import msgspec
import pytest

from loadtest.histogram import Histogram
from loadtest.report import (
    GeneratorCost,
    InterviewResult,
    Report,
    as_text,
    make_report,
)

IDLE = GeneratorCost(0.5, Histogram([0.001] * 1000))


def result(**changes: object) -> InterviewResult:
    planted: dict[str, object] = {
        "join_s": 0.020,
        "first_picture_s": 0.100,
        "packets_sent": 1800,
        "packets_received": 1790,
        "packets_lost": 10,
        "frames_sent": 300,
        "frames_received": 297,
        "audio_frames_sent": 500,
        "audio_frames_received": 500,
        "forward_latency_s": Histogram([0.002] * 98 + [0.040, 0.050]),
        "indicator_latency_s": Histogram([0.300] * 10),
    }
    return InterviewResult(**{**planted, **changes})  # type: ignore[arg-type]


def report(*results: InterviewResult, generator: GeneratorCost = IDLE, **more: object) -> Report:
    settings: dict[str, object] = {
        "server_cpu_s": {"media": 0.12, "analysis": 0.28},
        "loop_lag_s": 0.004,
    }
    return make_report(list(results), 10.0, generator, **{**settings, **more})  # type: ignore[arg-type]


def test_planted_figures_are_reported() -> None:
    made = report(result(), result())
    assert made.valid
    assert (made.interviews, made.joined) == (2, 2)
    assert made.forward_latency_ms.p50 == pytest.approx(2, rel=0.01)
    assert made.forward_latency_ms.p99 == pytest.approx(40, rel=0.01)
    assert made.forward_latency_ms.max == 50
    assert made.indicator_latency_ms.p95 == pytest.approx(300, rel=0.01)
    assert (made.packets_sent, made.packets_received, made.packets_lost) == (3600, 3580, 20)
    assert (made.frame_completeness, made.audio_completeness) == (0.99, 1.0)
    assert made.join_ms.p95 == pytest.approx(20, rel=0.01)
    assert made.server_event_loop_lag_max_ms == 4


def test_cpu_is_per_interview_and_second_in_all_and_by_process() -> None:
    made = report(result(), result())
    assert made.server_cpu_ms_per_interview_second == {"total": 20, "media": 6, "analysis": 14}
    assert made.generator_cpu_ms_per_candidate_second == 25
    assert made.generator_cpu_share == 0.05


def test_an_unknown_server_process_is_reported_as_absent() -> None:
    assert report(result(), server_cpu_s=None).server_cpu_ms_per_interview_second is None


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
        ({"datagrams_refused": 3}, "refused 3 datagrams"),
        ({"frames_received": 0}, "no observer received"),
    ],
)
def test_a_run_that_lost_its_ground_is_invalid(changes: dict[str, object], why: str) -> None:
    made = report(result(**changes))
    assert not made.valid
    assert why in made.invalid_because[0]


def test_nothing_measured_still_makes_a_report() -> None:
    made = make_report([InterviewResult(error="x")], 0.0, IDLE, None, None, interrupted=True)
    assert made.interrupted
    assert made.frame_completeness is None
    assert made.forward_latency_ms.p50 is None
    assert "not measured" in as_text(made)


def test_the_names_that_others_read_stay() -> None:
    names = set(msgspec.to_builtins(report(result())))
    assert names >= {
        "interviews",
        "joined",
        "valid",
        "invalid_because",
        "forward_latency_ms",
        "indicator_latency_ms",
        "join_ms",
        "packets_sent",
        "packets_received",
        "packets_lost",
        "frame_completeness",
        "server_cpu_ms_per_interview_second",
    }


def test_people_read_the_same_figures() -> None:
    text = as_text(report(result(), InterviewResult(error="HTTP 503: busy")))
    assert "1 of 2, 10 s" in text
    assert "297 of 300" in text
    assert "total 40, media 12, analysis 28 ms per interview-second" in text
    assert "NO: 1 of 2 interviews did not take place" in text
    assert "HTTP 503: busy" in text
