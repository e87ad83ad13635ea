"""The replay's page in Firefox, on recordings whose pictures say which ones they are."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.core.frames import Codec
from server.core.interviews import Role
from tests.e2e.firefox import PROGRAM, FirefoxPage, firefox
from tests.e2e.pages import PATIENCE_MS
from tests.e2e.test_replay_page import NUMBER_SHOWN, says_numbers
from tests.recorder.encoded import FPS, START_S
from tests.signaling.serving import Serving, open_serving
from tests.signaling.test_replay import record

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Firefox is installed")
_VIDEO = "document.getElementById('replay-video')"


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    async with open_serving(tmp_path) as serving:
        yield serving


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.VP9])
@pytest.mark.timeout(240)
async def test_firefox_seeks_and_steps_to_the_picture_and_plays_over_a_gap(
    serving: Serving, tmp_path: Path, codec: Codec
) -> None:
    frames = says_numbers(codec, 12) + says_numbers(codec, 3, START_S + 32)
    await record(serving, serving.one.interview_id, frames)
    async with firefox(tmp_path / "profile") as page:
        token = serving.token(Role.RECRUITER)
        await page.goto(f"{serving.server.base_url}/recordings?t=4.05#{token}")
        await _shows(page, 121)
        for number in (311, 7, 119, 241):
            await _seek(page, round((number + 0.5) / FPS, 2))
            await _shows(page, number)
        for button, number in (("#frame", 242), ("#frame", 243), ("#frame-back", 242)):
            await page.click(button)
            await _shows(page, number)
        await _seek(page, 11.0)
        await page.click("#play")
        async with asyncio.timeout(PATIENCE_MS / 1000):
            await page.until(f"{_VIDEO}.ended")
        assert await page.evaluate(f"{_VIDEO}.currentTime") == pytest.approx(35, abs=0.1)


async def _shows(page: FirefoxPage, number: int) -> None:
    await page.until(
        f"{_VIDEO} && {_VIDEO}.readyState > 1 && !{_VIDEO}.seeking && {NUMBER_SHOWN} === {number}"
    )


async def _seek(page: FirefoxPage, time_s: float) -> None:
    await page.evaluate(
        f"""(() => {{
          const bar = document.getElementById('seek');
          bar.value = '{time_s}';
          bar.dispatchEvent(new Event('input'));
        }})()"""
    )
