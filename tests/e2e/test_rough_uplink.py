"""A candidate on a bad network: what is lost comes again, and the recording is whole."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page

from loadtest.network import Impairments
from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import PATIENCE_MS, finished, join, leave, on_the_disk
from tests.e2e.rough_path import rough_path
from tests.e2e.server_process import POLL_S, ServerProcess

_STATS = """async () => {
  const stats = await window.connection.getStats();
  return Object.fromEntries([...stats.values()].filter((each) => each.type === "outbound-rtp")
    .map((each) => [each.mid, { ...each, codec: stats.get(each.codecId)?.mimeType }]));
}"""


async def outbound(page: Page) -> dict[str, Any]:
    """By section: sound, camera, screen."""
    stats: dict[str, Any] = await page.evaluate(_STATS)
    return stats


@pytest.mark.timeout(180)
async def test_what_a_candidate_loses_comes_again_and_the_recording_is_whole(
    server: ServerProcess, chromium: ChromiumLauncher
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    rough, clean = Impairments(delay_s=0.03, loss=0.1), Impairments(delay_s=0.03)
    async with rough_path(server.port, rough, clean) as path:
        await path.lead(candidate)
        await join(candidate, invited["candidate_url"])
        await on_the_disk(server, invited, duration_s=10)
        sent = await _asked_for_sound(candidate)
        await leave(candidate)
    sound, camera = sent["0"], sent["1"]
    assert camera["rtxSsrc"]
    assert camera["retransmittedPacketsSent"] > 0.05 * camera["packetsSent"]
    # Sound comes twice: only what was lost both times is asked for, about one in a hundred.
    assert sound["nackCount"] < 0.05 * sound["packetsSent"]

    index = await finished(server, invited)
    assert index["duration_s"] > 10
    # What was on its way when the page was left: nobody waited for its repair.
    end_s = index["duration_s"] - 0.5
    assert [gap for gap in index["gaps"] if gap["start_s"] < end_s] == []


async def _asked_for_sound(page: Page) -> dict[str, Any]:
    """What was sent, once sound was lost twice, asked for and sent again."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while True:
            sent = await outbound(page)
            if sent["0"]["nackCount"] and sent["0"]["retransmittedPacketsSent"]:
                return sent
            await asyncio.sleep(POLL_S)
