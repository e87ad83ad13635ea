"""`python -m loadtest compare a.json b.json`: what changed between two servers or versions.

A file holds the JSON of one run, or of several, one a line. `compare a1.json a2.json --against
b1.json b2.json` compares groups: then differences within the runs' own spread are called noise.
Exit codes: 0 compared, 2 wrong use.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec

from loadtest.report import Report

EXIT_USAGE = 2
#: Runs on each side from which their spread says something.
MIN_RUNS = 2
Better = Literal["less", "more"]
Verdict = Literal["a", "b", "same", "noise", "unknown"]

#: What is compared, by its path in the JSON, and which way is better; a name alone of something
#: that has parts stands for all of them.
FIGURES: dict[str, Better] = {
    "joined": "more",
    "frame_completeness": "more",
    "audio_completeness": "more",
    "screens_accepted": "more",
    "screen_completeness": "more",
    "recording_completeness": "more",
    "recording_gaps_undeclared": "less",
    "join_ms.p50": "less",
    "first_picture_ms.p95": "less",
    "forward_latency_ms.p50": "less",
    "forward_latency_ms.p95": "less",
    "forward_latency_ms.p99": "less",
    "indicator_latency_ms.p50": "less",
    "indicator_latency_ms.p95": "less",
    "packets_lost": "less",
    "frames_lost": "less",
    "frames_out_of_order": "less",
    "rejoin_ms.p95": "less",
    "freezes": "less",
    "freeze_ms.max": "less",
    "av_offset_ms.p95": "less",
    "recording_av_offset_ms.p95": "less",
    "server_cpu_ms_per_interview_second": "less",
    "server_memory_growth_per_hour": "less",
    "server_event_loop_lag_max_ms": "less",
    "generator_cpu_ms_per_candidate_second": "less",
}


class CompareError(Exception):
    """The files cannot be compared; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Row:
    figure: str
    a: tuple[float, ...]
    b: tuple[float, ...]
    verdict: Verdict  #: which side is better

    @property
    def ratio(self) -> float | None:
        return median(self.b) / median(self.a) if self.a and self.b and median(self.a) else None


def compare(a: Sequence[Report], b: Sequence[Report]) -> list[Row]:
    """A row for each figure that one of the sides has measured."""
    left, right = [list(map(msgspec.to_builtins, side)) for side in (a, b)]
    rows = []
    for pattern, better in FIGURES.items():
        for figure in _parts(left + right, pattern):
            before, after = _values(left, figure), _values(right, figure)
            if before or after:
                rows.append(Row(figure, before, after, judge(before, after, better)))
    return rows


def _parts(reports: list[dict[str, object]], pattern: str) -> list[str]:
    """The figures that a name stands for, in the order in which they are met."""
    named = [each[pattern] for each in reports if pattern in each]
    parts = dict.fromkeys(part for each in named if isinstance(each, dict) for part in each)
    return [f"{pattern}.{part}" for part in parts] or [pattern]


def judge(a: tuple[float, ...], b: tuple[float, ...], better: Better) -> Verdict:
    """By medians; noise where each side has several values and the ranges overlap."""
    if not a or not b:
        return "unknown"
    if median(a) == median(b):
        return "same"
    if min(len(a), len(b)) >= MIN_RUNS and min(a) <= max(b) and min(b) <= max(a):
        return "noise"
    return "b" if (median(b) < median(a)) == (better == "less") else "a"


def _values(reports: list[dict[str, object]], figure: str) -> tuple[float, ...]:
    name, _, part = figure.partition(".")
    found = [each[name] for each in reports]
    if part:
        found = [each.get(part) if isinstance(each, dict) else None for each in found]
    return tuple(float(each) for each in found if isinstance(each, int | float))


# ---- the command --------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest compare", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--against", type=Path, nargs="+", metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        a, b = _sides(given.files, given.against)
        reports = [[run for path in side for run in read_runs(path)] for side in (a, b)]
    except CompareError as error:
        print(f"loadtest compare: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(as_table(*reports))
    return 0


def _sides(files: list[Path], against: list[Path] | None) -> tuple[list[Path], list[Path]]:
    if against is not None:
        return files, against
    if len(files) != 2:
        raise CompareError("give two files, or groups of files with --against between them")
    return files[:1], files[1:]


def read_runs(path: Path) -> list[Report]:
    """Raises CompareError."""
    try:
        runs = msgspec.json.Decoder(Report).decode_lines(path.read_bytes())
    except OSError as error:
        raise CompareError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise CompareError(f"{path} is not the JSON of a run: {error}") from error
    if not runs:
        raise CompareError(f"{path} is empty")
    return runs


def as_table(a: Sequence[Report], b: Sequence[Report]) -> str:
    words = {"a": "a is better", "b": "b is better", "same": "", "noise": "within noise"}
    head = ("", f"a, {_runs(a)}", f"b, {_runs(b)}", "b / a", "")
    lines = [head] + [
        (
            row.figure,
            _range(row.a),
            _range(row.b),
            "–" if row.ratio is None else f"{row.ratio:.2f}",
            words.get(row.verdict, "not measured on both sides"),
        )
        for row in compare(a, b)
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    table = [_aligned(line, widths) for line in lines]
    return "\n".join(table + _warnings(a, b))


def _runs(side: Sequence[Report]) -> str:
    return "1 run" if len(side) == 1 else f"{len(side)} runs"


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    first, *rest, last = (
        text.ljust(width) if column in (0, 4) else text.rjust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join((first, *rest, last)).rstrip()


def _range(values: tuple[float, ...]) -> str:
    if not values:
        return "–"
    middle = f"{median(values):.4g}"
    return (
        middle if min(values) == max(values) else f"{middle} ({min(values):.4g}–{max(values):.4g})"
    )


def _warnings(a: Sequence[Report], b: Sequence[Report]) -> list[str]:
    warnings = []
    for name, side in (("a", a), ("b", b)):
        invalid = sum(not run.valid for run in side)
        if invalid:
            warnings.append(f"{name}: {invalid} of {_runs(side)} not valid")
    if len({run.interviews for run in (*a, *b)}) > 1:
        warnings.append("the runs have different numbers of interviews")
    if len({run.scenario for run in (*a, *b)}) > 1:
        warnings.append("the runs have different scenarios")
    for name in ("networks", "setting"):
        if any(getattr(run, name) != getattr(a[0], name) for run in (*a, *b)):
            warnings.append(f"the runs differ in what was asked for: {name}")
    if min(len(a), len(b)) < MIN_RUNS:
        warnings.append("one run on a side: what is noise cannot be told")
    return ["", *(f"note: {each}" for each in warnings)] if warnings else []
