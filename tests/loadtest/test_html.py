import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from loadtest.histogram import Histogram
from loadtest.html import OutputError, flat_figures, page, refuse_unwritable
from loadtest.report import Report
from loadtest.results import InterviewResult
from loadtest.series import MAX_MOMENTS, Series, Totals
from loadtest.server_cost import ProcessTime
from tests.loadtest.test_report import report, result


def totals(second: int) -> Totals:
    made = Totals(generator_cpu_s=second * 0.1)
    made.add(
        result(
            up_s=float(second),
            octets_sent=125_000 * second,
            frames_expected=30 * second,
            frames_received=30 * second - (second > 2),
            freezes_s=Histogram([0.3] * (second > 2)),
            forward_latency_s=Histogram([0.002 * second] * second),
        )
    )
    return made


def full_report() -> Report:
    series = Series(totals(0), {1: ProcessTime("media", 0, 1 << 20)}, 0.0)
    for second in range(1, 6):
        series.add(totals(second), {1: ProcessTime("media", second * 0.25, 64 << 20)}, second)
    return report(result(freezes_s=Histogram([0.3])), series=series.moments)


def cells(text: str, row: str) -> list[str]:
    found = re.search(rf"<tr[^>]*><td>{re.escape(row)}</td>(.*?)</tr>", text)
    assert found is not None
    return [unescape(each) for each in re.findall(r"<td>(.*?)</td>", found[1])]


def test_every_figure_of_the_json_is_in_the_page_as_it_is_there() -> None:
    made = full_report()
    text = page(made)
    figures = flat_figures(made)
    assert {"joined", "frame_completeness", "forward_latency_ms.p99"} <= set(figures)
    for name, value in figures.items():
        assert cells(text, name) == [str(value)]


def test_the_levels_say_what_was_measured_and_whether_it_was_enough() -> None:
    text = page(report(result(), result(frames_received=300)))
    assert cells(text, "frames complete") == ["99.5 %", "≥ 99.9 %", "✗ no"]
    assert cells(text, "interviews joined") == ["100 %", "≥ 100 %", "✓ yes"]
    assert cells(text, "forward latency p99")[1:] == ["≤ 50 ms", "✓ yes"]


@pytest.mark.parametrize(
    ("made", "verdict", "why"),
    [
        (report(result(frames_received=300)), "All service levels kept", ""),
        (report(result()), "Service levels not kept", "frames complete: 99 %"),
        (
            report(result(frames_received=300, indicator_latency_s=Histogram())),
            "Service levels kept, as far as they were measured",
            "not measured: indicator latency p95",
        ),
        (
            report(result(), InterviewResult(error="HTTP 503: <full>")),
            "Not a valid measurement",
            "HTTP 503: &lt;full&gt;",
        ),
    ],
)
def test_the_verdict_comes_first_with_its_reasons(made: Report, verdict: str, why: str) -> None:
    body = page(made).partition("<main>")[2]
    assert verdict in body[:200]
    assert why in body.partition("<table")[0]


def test_what_was_asked_of_the_server_is_said_at_the_top() -> None:
    networks = {"candidates": ["loss=5%", "perfect"], "observers": []}
    text = page(report(result(), scenario="soak:5m", networks=networks))
    said = "scenario soak:5m · network of candidates: loss=5%; perfect · network of observers: as"
    assert said in text.partition("<table")[0]


def test_a_plot_shows_the_seconds_of_the_series() -> None:
    text = page(full_report())
    titles = re.findall(r"<figcaption><b>(.*?)</b>", text)
    assert titles == [
        *("Forward latency", "CPU", "Server memory", "Freezes", "Frames complete"),
        "Bitrate sent by a candidate",
        "Interviews up",
    ]
    cpu = text.partition("<b>CPU</b>")[2].partition("</figure>")[0]
    # 25 % in each of five seconds, by a scale from 0 to 30 (marks of 10).
    assert re.findall(r'class="c0" d="M200.00 ([\d.]+)L', cpu) == ["16.67"]


def test_the_page_of_a_soak_of_days_stays_small() -> None:
    series = Series(totals(0), {}, 0.0)
    for second in range(1, 2 * MAX_MOMENTS):
        busy = totals(5)
        busy.forward_latency_s = Histogram([second / 1e5])
        analysis = ProcessTime("analysis", second * 0.1, second)
        series.add(busy, {1: ProcessTime("media", 0, 1 << 20), 2: analysis}, 60.0 * second)
    text = page(report(result(), series=series.moments))
    assert len(text) < 1_000_000
    assert "66:39:00" in text


class _Outside(HTMLParser):
    """What the page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = {"src", "href", "srcset", "action"}
        self.found += [tag for name, _ in attributes if name in names]
        if tag in ("script", "link", "iframe"):
            self.found.append(tag)


def test_the_page_needs_nothing_but_itself() -> None:
    text = page(full_report())
    outside = _Outside()
    outside.feed(text)
    assert outside.found == []
    assert "url(" not in text
    assert "@import" not in text


def test_a_run_without_a_single_second_still_has_a_page() -> None:
    assert "Not a valid measurement" in page(report(InterviewResult(error="x")))


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "x.html", Path("/dev/null/x.html")):
        with pytest.raises(OutputError, match=f"cannot write {path}"):
            refuse_unwritable(path)
    refuse_unwritable(tmp_path / "new.html")
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
    (tmp_path / "old.html").write_text("kept until the run is over")
    refuse_unwritable(tmp_path / "old.html")
    assert (tmp_path / "old.html").read_text() == "kept until the run is over"
