import msgspec
import pytest

from loadtest.histogram import Histogram
from loadtest.report import BrowserReport, OffsetMs, Report, make_report
from loadtest.results import GeneratorCost, InterviewResult, RecordingResult
from loadtest.series import Series, Totals
from loadtest.server_cost import ProcessTime
from loadtest.summary import as_text
from loadtest.truth import Offsets

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


# ---- what people saw, what was recorded


def offsets(*each_s: float) -> Offsets:
    made = Offsets()
    for offset_s in each_s:
        made.add(offset_s)
    return made


def recording(**changes: object) -> RecordingResult:
    planted: dict[str, object] = {
        "frames_sent": 800,
        "frames_missing": 8,
        "frames_undeclared": 2,
        "gaps_declared": 3,
        "gaps_undeclared": 1,
        "av_offsets": offsets(-0.080, -0.080, 0.010),
        "drift": 1e-6,
    }
    return RecordingResult(**{**planted, **changes})  # type: ignore[arg-type]


def test_what_people_saw_is_summed_and_its_worst_kept() -> None:
    seen = result(
        frames_shown=296,
        frames_duplicated=1,
        frames_out_of_order=2,
        freezes_s=Histogram([0.3, 1.0]),
        av_offsets=offsets(0.080, 0.080, -0.100),
    )
    made = report(seen, seen)
    assert (made.frames_lost, made.frames_shown) == (6, 592)
    assert (made.frames_duplicated, made.frames_out_of_order) == (2, 4)
    assert (made.freezes, made.freeze_ms.max) == (4, 1000)
    assert made.av_offset_ms == OffsetMs(80, 100, 100, 6)


def test_recordings_are_reported_together_with_what_nobody_declared() -> None:
    other = recording(frames_missing=0, frames_undeclared=0, drift=-2e-6)
    made = report(result(recording=recording()), result(recording=other))
    assert (made.recordings_checked, made.recording_completeness) == (2, 0.995)
    assert (made.recording_frames_missing, made.recording_frames_undeclared) == (8, 2)
    assert (made.recording_gaps_declared, made.recording_gaps_undeclared) == (6, 2)
    assert made.recording_av_offset_ms.p50 == -80
    assert made.recording_drift_ms_per_hour == pytest.approx(-7.2)
    kept = {level.name: level.kept for level in made.levels}
    assert kept["recorded or declared missing"] is False
    assert kept["recorded lip sync, p95"] is False


def test_a_recording_that_cannot_be_read_is_an_error_and_counts_as_none() -> None:
    made = report(result(recording=RecordingResult(error="HTTP 404 for the index")))
    assert made.recordings_checked == 0
    assert made.recording_frames_missing is None
    assert made.errors == ["recording: HTTP 404 for the index"]
    assert kept(made)["recordings read"] is False
    half = report(result(recording=recording()), result(recording=RecordingResult(error="x")))
    assert kept(half)["recordings read"] is False


def kept(made: Report) -> dict[str, bool | None]:
    return {level.name: level.kept for level in made.levels}


def test_sounds_and_frames_of_others_have_levels_of_their_own() -> None:
    assert (
        kept(report(result(audio_frames_sent=1000, audio_frames_received=0)))["sounds complete"]
        is False
    )
    assert kept(report(result(frames_misrouted=1)))["frames of other candidates"] is False
    assert kept(report(result()))["frames of other candidates"] is True


def test_a_browser_that_failed_makes_the_run_invalid() -> None:
    made = report(result(), browser=BrowserReport("no picture"))
    assert made.invalid_because == ["the browser: no picture"]


def test_what_was_asked_for_is_kept() -> None:
    assert report(result(), setting={"seed": "7"}).setting == {"seed": "7"}


def test_a_leak_breaks_a_level_of_a_long_run() -> None:
    series = Series(Totals(), {}, 0.0)
    for second in range(1, 701):
        media = ProcessTime("media", 0.0, 50_000_000 + second * 2000)
        series.add(Totals(), {1: media}, float(second))
    made = report(result(), series=series.moments, scenario="soak")
    (level,) = [each for each in made.levels if each.name == "memory growth of a process"]
    assert level.measured == pytest.approx(7.2)
    assert level.kept is False
    assert "media +7.2 MB an hour" in as_text(made)
    assert "memory growth of a process" not in {each.name for each in report(result()).levels}


def test_a_run_that_was_ended_at_once_does_not_blame_the_generator() -> None:
    busy = GeneratorCost(0.1, Histogram())
    made = make_report([InterviewResult(error="x")], 0.02, busy, None, None, interrupted=True)
    assert made.generator_faults == []
    assert "0 of 1, 0.02 s, interrupted" in as_text(made)


def test_the_server_works_for_the_browser_as_well() -> None:
    seen = BrowserReport(None, 200.0, 150.0, 900.0, 400.0, 30.0, 0, 0, None, -10.0)
    made = report(result(), browser=seen, server_cpu_s={"media": 0.2})
    assert made.server_cpu_ms_per_interview_second == {"total": 10, "media": 10}
    assert "30.0 frames/s" in as_text(made)
    failed = report(result(), browser=BrowserReport("the browser: gone"))
    assert failed.errors == ["the browser: gone"]
    assert "the browser: gone" in as_text(failed)
