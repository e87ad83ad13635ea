"""A report as one HTML page that needs nothing else: read in a minute, verdict first. Pure."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import msgspec

from loadtest.duration import clock
from loadtest.levels import Level
from loadtest.plot import Line, plot, thinned
from loadtest.report import Report
from loadtest.series import Moment

_STYLE = Path(__file__).parent / "assets" / "report.css"
_MIB = 1 << 20
#: Shown as plots and in a table of their own.
_ELSEWHERE = ("series", "levels")


class OutputError(Exception):
    """The page cannot be written there; the text says why."""


def refuse_unwritable(path: Path) -> None:
    """Raises OutputError, before a run of hours ends in it."""
    try:
        if path.exists():
            path.open("r+b").close()
        else:
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def write_page(path: Path, report: Report) -> None:
    """Raises OutputError."""
    try:
        path.write_text(page(report))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def page(report: Report) -> str:
    """The page; every number in it is one of the report's, rounded at most to 4 digits."""
    title = f"Load test: {report.interviews} interviews, {clock(report.duration_s)}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{_STYLE.read_text()}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{_verdict(report)}{_course(report)}{_levels(report.levels)}"
        f"{_tiles(report)}<section>{_plots(report)}</section>{_all_figures(report)}"
        "</main></body></html>\n"
    )


def _verdict(report: Report) -> str:
    broken = [level for level in report.levels if level.kept is False]
    if not report.valid:
        kind, text = "unsure", "Not a valid measurement"
        details = report.invalid_because
    elif broken:
        kind, text = "bad", "Service levels not kept"
        details = [f"{level.name}: {_value(level.measured, level.unit)}" for level in broken]
    elif unknown := [level.name for level in report.levels if level.kept is None]:
        kind, text = "unsure", "Service levels kept, as far as they were measured"
        details = [f"not measured: {', '.join(unknown)}"]
    else:
        kind, text, details = "good", "All service levels kept", []
    details = [*details, *report.errors]
    if report.interrupted:
        details.append("interrupted before its end")
    items = "".join(f"<li>{escape(each)}</li>" for each in details)
    return f'<div class="verdict {kind}"><strong>{text}</strong><ul>{items}</ul></div>'


def _course(report: Report) -> str:
    """What was asked of the server."""
    parts = [f"scenario {report.scenario}"]
    for side, networks in report.networks.items():
        parts.append(f"network of {side}: {'; '.join(networks) or 'as it is'}")
    return f'<p class="course">{escape(" · ".join(parts))}</p>'


def _levels(levels: Sequence[Level]) -> str:
    rows = "".join(
        f'<tr class="{_mark(level)[0]}"><td>{escape(level.name)}</td>'
        f"<td>{_value(level.measured, level.unit)}</td>"
        f"<td>{'≥' if level.at_least else '≤'} {_value(level.limit, level.unit)}</td>"
        f"<td>{_mark(level)[1]}</td></tr>"
        for level in levels
    )
    head = "<tr><th>service level</th><th>measured</th><th>demanded</th><th>kept</th></tr>"
    table = f'<table class="levels"><thead>{head}</thead><tbody>{rows}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _mark(level: Level) -> tuple[str, str]:
    return {True: ("good", "✓ yes"), False: ("bad", "✗ no"), None: ("", "not measured")}[level.kept]


def _tiles(report: Report) -> str:
    cpu = (report.server_cpu_ms_per_interview_second or {}).get("total")
    tiles = [
        ("server CPU", cpu, "ms per interview-second"),
        ("forward latency p50", report.forward_latency_ms.p50, "ms"),
        ("first picture p95", report.first_picture_ms.p95, "ms"),
        ("frames lost", report.frames_lost, f"of {report.frames_sent}"),
        ("freezes", report.freezes, "longer than 200 ms"),
        ("longest freeze", report.freeze_ms.max, "ms"),
        ("picture after sound", report.av_offset_ms.p50, "ms, live"),
        ("missing in recordings", report.recording_frames_missing, "frames"),
        ("generator CPU", report.generator_cpu_ms_per_candidate_second, "ms per candidate-second"),
    ]
    if report.screens_offered:
        offered = report.screens_offered
        tiles.append(("screens accepted", report.screens_accepted, f"of {offered} offered"))
    if report.screens_accepted:
        share = _percent(report.screen_completeness)
        tiles.append(("screen frames complete", share, f"% of {report.screen_frames_sent}"))
    if report.browser is not None:
        seen = report.browser
        tiles += [
            ("browser: join", seen.join_ms, "ms"),
            ("browser: first frame", seen.first_frame_ms, "ms"),
            ("browser: first picture", seen.first_picture_ms, "ms"),
            ("browser: first picture again", seen.first_picture_again_ms, "ms"),
            ("browser: frames", seen.frames_per_s, "shown per second"),
            ("browser: freezes", seen.freezes, "longer than 200 ms"),
            ("browser: sound", seen.sound_dbfs, "dBFS, loudest"),
        ]
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{_number(value)}<small>{unit}</small></dd></div>"
        for name, value, unit in tiles
    )
    return f'<dl class="tiles">{cells}</dl>'


def _plots(report: Report) -> str:
    limits = {level.name: level.limit for level in report.levels}
    lines = _Lines(report.series)
    names = sorted({name for each in report.series for name in each.server_cpu_percent})[::-1]
    cpu = [lines.of(name, _in(name, lambda moment: moment.server_cpu_percent)) for name in names]
    cpu.append(lines.of("load tester", lambda moment: moment.generator_cpu_percent))
    memory = [
        lines.of(name, _in(name, lambda moment: moment.server_memory_bytes, 1 / _MIB))
        for name in names
    ]
    latency = [
        lines.of("p99", lambda moment: moment.forward_latency_ms.p99),
        lines.of("p95", lambda moment: moment.forward_latency_ms.p95),
        lines.of("p50", lambda moment: moment.forward_latency_ms.p50),
    ]
    indicators = lines.of("p95", lambda moment: moment.indicator_latency_ms.p95)
    freezes = lines.of("freezes", lambda moment: moment.freezes, sum, bars=True)
    complete = lines.of("complete", lambda moment: _percent(moment.frame_completeness), min)
    sent = lines.of("sent", lambda moment: moment.sent_kbps, min)
    up = lines.of("up", lambda moment: moment.interviews, min)
    return (
        plot("Forward latency", "ms", latency, limit=limits["forward latency p99"])
        + plot("Indicator latency, p95", "ms", [indicators], limit=limits["indicator latency p95"])
        + plot("CPU", "% of one core", cpu)
        + plot("Server memory", "MiB", memory)
        + plot("Freezes", "by the second in which they ended", [freezes], whole=True)
        + plot("Frames complete", "%", [complete], low=99)
        + plot("Bitrate sent by a candidate", "kbit/s", [sent])
        + plot("Interviews up", "", [up], whole=True)
    )


class _Lines:
    def __init__(self, series: Sequence[Moment]) -> None:
        self._series = series

    def of(
        self,
        name: str,
        read: Callable[[Moment], float | None],
        fold: Callable[[list[float]], float] = max,
        bars: bool = False,
    ) -> Line:
        return Line(name, thinned([(each.at_s, read(each)) for each in self._series], fold), bars)


def _in(
    name: str, read: Callable[[Moment], Mapping[str, float]], factor: float = 1.0
) -> Callable[[Moment], float | None]:
    def value(moment: Moment) -> float | None:
        found = read(moment).get(name)
        return None if found is None else found * factor

    return value


def _all_figures(report: Report) -> str:
    """Every figure of the JSON, under the name that it has there."""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in flat_figures(report).items()
    )
    table = f'<div class="wide"><table>{rows}</table></div>'
    return f"<details><summary>All figures</summary>{table}</details>"


def flat_figures(report: Report) -> dict[str, object]:
    """The report's figures without its series, with names like "join_ms.p95"."""
    figures: dict[str, object] = {}
    for name, value in msgspec.to_builtins(report).items():
        if name in _ELSEWHERE:
            continue
        if isinstance(value, dict):
            figures |= {f"{name}.{part}": each for part, each in value.items()}
        else:
            figures[name] = "; ".join(value) if isinstance(value, list) else value
    return figures


def _value(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{_number(value)} {unit}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100
