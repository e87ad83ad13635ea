from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from loadtest.compare import EXIT_USAGE, FIGURES, Row, compare, judge, main
from loadtest.histogram import Histogram
from loadtest.report import Report
from tests.loadtest.test_report import report, result


def run(cpu_s: float = 0.12, latency_s: float = 0.002) -> Report:
    measured = result(forward_latency_s=Histogram([latency_s] * 100))
    return report(measured, server_cpu_s={"media": cpu_s})


def row(a: list[Report], b: list[Report], figure: str) -> Row:
    (found,) = (each for each in compare(a, b) if each.figure == figure)
    return found


def test_the_ratio_is_that_of_the_medians() -> None:
    cpu = row(
        [run(0.1), run(0.1), run(0.9)], [run(0.2)], "server_cpu_ms_per_interview_second.media"
    )
    assert cpu.ratio == pytest.approx(2)
    assert cpu.verdict == "a"


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ((10.0,), (20.0,), "a"),
        ((10.0, 11.0), (20.0, 21.0), "a"),
        ((20.0, 21.0), (10.0, 11.0), "b"),
        ((10.0, 20.0), (15.0, 25.0), "noise"),
        ((10.0, 20.0), (15.0,), "same"),
        ((10.0,), (10.0,), "same"),
        ((), (10.0,), "unknown"),
    ],
)
def test_what_lies_within_the_spread_of_several_runs_is_noise(
    a: tuple[float, ...], b: tuple[float, ...], verdict: str
) -> None:
    assert judge(a, b, "less") == verdict
    swapped = {"a": "b", "b": "a"}.get(verdict, verdict)
    assert judge(a, b, "more") == swapped


def test_every_figure_compared_is_one_of_the_report() -> None:
    names = set(msgspec.to_builtins(run()))
    assert {figure.partition(".")[0] for figure in FIGURES} <= names


def test_what_neither_side_measured_is_left_out() -> None:
    figures = [each.figure for each in compare([run()], [run()])]
    assert "recording_completeness" not in figures
    assert "forward_latency_ms.p99" in figures


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    def write(name: str, *runs: Report) -> str:
        path = tmp_path / name
        path.write_bytes(b"\n".join(map(msgspec.json.encode, runs)))
        return str(path)

    return write


def test_two_files_are_one_table(
    save: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([save("a", run(0.1)), save("b", run(0.2))]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (each for each in lines if ".media" in each)
    assert line.split() == [
        *("server_cpu_ms_per_interview_second.media", "10", "20", "2.00", "a", "is", "better"),
    ]
    assert lines[-1] == "note: one run on a side: what is noise cannot be told"


def test_groups_of_runs_are_compared_with_their_ranges(
    save: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    a = [save("a1", run(0.10), run(0.14)), save("a2", run(0.12))]
    assert main([*a, "--against", save("b", run(0.11), run(0.16))]) == 0
    output = capsys.readouterr().out
    assert "a, 3 runs" in output
    assert "12 (10–14)" in output
    assert "within noise" in output
    assert "note" not in output


@pytest.mark.parametrize("content", ["", "{}", "[1", "\x00"])
def test_a_file_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    assert main([str(path), str(path)]) == EXIT_USAGE
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("files", [["/nonexistent", "/nonexistent"], ["/nonexistent"]])
def test_files_that_are_not_there_are_refused(
    capsys: pytest.CaptureFixture[str], files: list[str]
) -> None:
    assert main(files) == EXIT_USAGE
    assert capsys.readouterr().err.startswith("loadtest compare: ")


def test_runs_that_were_asked_for_different_things_are_told_apart(
    save: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    one = run(0.1)
    other = msgspec.structs.replace(
        one, scenario="churn", setting={"codecs": "vp8"}, networks={"candidates": ["loss=5%"]}
    )
    assert main([save("a", one), save("b", other)]) == 0
    output = capsys.readouterr().out
    assert "note: the runs have different scenarios" in output
    assert "note: the runs differ in what was asked for: networks" in output
    assert "note: the runs differ in what was asked for: setting" in output
