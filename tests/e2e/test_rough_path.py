"""An observer on a bad network: packets are repaired, and the picture goes on."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page

from loadtest.network import Impairments
from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import PATIENCE_MS, join, picture_moves
from tests.e2e.rough_path import rough_path
from tests.e2e.server_process import POLL_S, ServerProcess

_STATS = """async () => {
  const stats = [...(await window.connection.getStats()).values()];
  return Object.fromEntries(stats.filter((each) => each.type === "inbound-rtp")
    .map((each) => [each.kind + (each.mid ?? ""), each]));
}"""


async def inbound(page: Page) -> dict[str, Any]:
    stats: dict[str, Any] = await page.evaluate(_STATS)
    return stats


@pytest.mark.timeout(180)
async def test_what_an_observer_loses_is_repaired_in_a_stream_of_its_own(
    server: ServerProcess, chromium: ChromiumLauncher
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    await join(candidate, invited["candidate_url"])
    observer = await (await chromium.launch()).new_page()
    clean, rough = Impairments(delay_s=0.03), Impairments(delay_s=0.03, loss=0.05)
    async with rough_path(server.port, clean, rough) as path:
        await path.lead(observer)
        await observer.goto(invited["observer_url"])
        await picture_moves(observer)
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while path.down.lost <= 50:  # noqa: ASYNC110 (told by nobody)
                await asyncio.sleep(POLL_S)
        await picture_moves(observer)
        video = (await inbound(observer))["video1"]
    assert video["rtxSsrc"]
    # A repair may be lost, too, and sound is not repaired.
    assert video["retransmittedPacketsReceived"] > path.down.lost / 2
    assert video["framesDecoded"] > 0.9 * video["framesReceived"]


@pytest.mark.timeout(240)
async def test_sound_goes_on_where_the_picture_does_not_fit_and_the_picture_comes_back(
    server: ServerProcess, chromium: ChromiumLauncher
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    await join(candidate, invited["candidate_url"])
    observer = await (await chromium.launch()).new_page()
    clean, slow = Impairments(delay_s=0.03), Impairments(delay_s=0.03, rate_bps=300e3)
    told = observer.locator("#empty-title", has_text="Sound only")
    async with rough_path(server.port, clean, clean) as path:
        await path.lead(observer)
        await observer.goto(invited["observer_url"])
        await picture_moves(observer)
        path.change(clean, slow, "slow")
        await told.wait_for(timeout=PATIENCE_MS)
        await asyncio.sleep(2)  # what filled the queue before is through
        before, heard = (await inbound(observer))["audio0"], 0
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while heard < 4 * 48_000:
                await asyncio.sleep(POLL_S)
                after = (await inbound(observer))["audio0"]
                heard = after["totalSamplesReceived"] - before["totalSamplesReceived"]
        assert after["concealedSamples"] - before["concealedSamples"] < 0.1 * heard
        path.change(clean, clean, "well again")
        await told.wait_for(state="hidden", timeout=PATIENCE_MS)
        await picture_moves(observer)
