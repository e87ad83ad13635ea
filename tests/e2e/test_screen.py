"""A shared screen in real browsers: seen large beside the camera, recorded, replayed, exported."""

from pathlib import Path
from typing import Any

import av
import pytest
from playwright.async_api import Page

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import PATIENCE_MS, finished, join, leave, more_on_the_disk, picture_moves
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_one_device import WITHOUT


async def pictures_of(page: Page, video: str, count: int) -> None:
    """Returns once that video has presented so many pictures more. Raises TimeoutError."""
    shown = "([id, least]) => document.getElementById(id).getVideoPlaybackQuality()"
    before = await page.evaluate(f"{shown}.totalVideoFrames", [video, 0])
    await page.wait_for_function(
        f"{shown}.totalVideoFrames >= least", arg=[video, before + count], timeout=PATIENCE_MS
    )


async def width_on_page(page: Page, video: str) -> float:
    box = await page.locator(f"#{video}").bounding_box()
    return box["width"] if box is not None else 0.0


@pytest.mark.timeout(240)
async def test_a_screen_is_shared_and_no_longer_shared_in_mid_interview(
    server: ServerProcess, chromium: ChromiumLauncher, tmp_path: Path
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    observer = await (await chromium.launch()).new_page()
    await join(candidate, invited["candidate_url"])
    await observer.goto(invited["observer_url"])
    await picture_moves(observer)
    assert await observer.locator("#screen").is_hidden()

    for _ in range(2):  # sharing begins and ends as often as wanted, on the same connection
        await candidate.locator("#share").click()
        await candidate.locator("#screen-shared").wait_for()
        await observer.locator("#screen").wait_for()
        await pictures_of(observer, "screen", 5)
        await picture_moves(observer)
        assert await width_on_page(observer, "screen") > 2 * await width_on_page(observer, "video")
        await observer.locator("#picture-camera .swap").press("Enter")
        assert await width_on_page(observer, "video") > 2 * await width_on_page(observer, "screen")
        await candidate.locator("#share").click()
        await observer.locator("#screen").wait_for(state="hidden")
        await picture_moves(observer)
    await leave(candidate)

    index = await finished(server, invited)
    assert index["tracks"] == ["camera", "microphone", "screen"]
    events = [each["event"] for each in index["events"]]
    assert events == ["joined", *["screen-shown", "screen-hidden"] * 2, "left"]
    assert index["gaps"] == []
    await _replays(chromium, invited["recruiter_url"], index["events"][1]["at_s"])
    await _exports(server, invited, tmp_path / "out.mp4")


@pytest.mark.timeout(180)
async def test_a_candidate_without_a_camera_shares_a_screen(
    server: ServerProcess, chromium: ChromiumLauncher
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    await candidate.add_init_script(WITHOUT % "video")
    observer = await (await chromium.launch()).new_page()
    await join(candidate, invited["candidate_url"])
    await observer.goto(invited["observer_url"])
    # The recording's first fragments are to be without a screen, which the replay then hides.
    await candidate.locator("#elapsed", has_text="0:03").wait_for(timeout=PATIENCE_MS)
    await candidate.locator("#share").click()
    await observer.locator("#screen").wait_for(timeout=PATIENCE_MS)
    await pictures_of(observer, "screen", 5)
    # The mark that it is shown, where the replay begins, is made up to a second late.
    await more_on_the_disk(server, invited, 4.0)
    await leave(candidate)
    index = await finished(server, invited)
    assert index["tracks"] == ["microphone", "screen"]
    await _replays(chromium, invited["recruiter_url"], index["events"][1]["at_s"])


async def _replays(chromium: ChromiumLauncher, recruiter_url: str, shown_s: float) -> None:
    page = await (await chromium.launch()).new_page()
    page.set_default_timeout(PATIENCE_MS)
    base, _, token = recruiter_url.partition("/observe#")
    await page.goto(f"{base}/recordings#{token}")
    await page.locator("#seek").fill(str(shown_s))
    await page.locator("#replay-screen").wait_for()
    await page.locator("#play").click()
    await pictures_of(page, "replay-screen", 3)
    apart_s = await page.evaluate(
        "Math.abs(document.getElementById('replay-screen').currentTime"
        " - document.getElementById('replay-video').currentTime)"
    )
    assert apart_s < 0.5
    await page.locator("#seek").fill("0")
    await page.locator("#replay-screen").wait_for(state="hidden")


async def _exports(server: ServerProcess, invited: dict[str, Any], out: Path) -> None:
    await server.command("export", invited["interview_id"], "-o", str(out))
    await server.command("verify", str(server.recording(invited)))
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio", "video"]
        assert sum(1 for _ in container.decode(container.streams.video[1])) > 10
