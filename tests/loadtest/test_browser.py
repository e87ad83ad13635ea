"""A whole run against the product itself, with a real browser in the crowd."""

import asyncio
import importlib.util
from pathlib import Path

import pytest

from loadtest.browser import BrowserError, Probe, refuse_missing
from loadtest.packets import packetise
from loadtest.plan import Plan
from loadtest.report import BrowserReport
from loadtest.run import run
from tests.e2e.server_process import running_server
from tests.loadtest.conftest import short_clip


@pytest.mark.xdist_group("browsers")
async def test_a_browser_in_the_crowd_tells_what_its_people_see_and_hear(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        clips = (packetise(short_clip("h264", 2)), packetise(short_clip("vp8", 2)))
        plan = Plan(server.base_url, clips, 2, 4.0, server.data_dir, browser=True)
        report = await run(plan, asyncio.Event())
    assert (report.joined, report.errors) == (2, [])
    seen = report.browser
    assert seen is not None
    assert seen.join_ms is not None
    assert seen.first_picture_ms is not None
    assert seen.first_picture_again_ms is not None
    assert 0 < seen.join_ms < 20_000
    assert seen.first_frame_ms is not None
    assert 0 < seen.first_frame_ms < 20_000
    assert 0 < seen.first_picture_ms < 20_000
    assert 0 < seen.first_picture_again_ms < 20_000
    assert seen.frames_per_s is not None
    assert 5 < seen.frames_per_s < 35
    assert seen.sound_dbfs is not None
    assert -60 < seen.sound_dbfs <= 0
    # The recordings of the two others were found by the invitation's own links.
    assert (report.recordings_checked, report.recording_frames_missing) == (2, 0)
    assert report.recording_completeness == 1.0
    assert report.recording_av_offset_ms.p50 == pytest.approx(0, abs=10)


def test_without_playwright_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_missing()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BrowserError, match=r"requirements/dev\.txt"):
        refuse_missing()


async def test_a_browser_that_did_not_join_measures_nothing() -> None:
    probe = Probe.__new__(Probe)  # without pages, which must then not be asked
    probe.report = BrowserReport(error="the browser: gone")
    await probe.begin()
    await probe.end()
    assert probe.report == BrowserReport(error="the browser: gone")
