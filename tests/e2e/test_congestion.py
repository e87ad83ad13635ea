"""A real browser is told how its packets arrive: it fits a narrow uplink and fills a wide one."""

import asyncio
from pathlib import Path
from statistics import quantiles

import pytest
from playwright.async_api import Page

from loadtest.network import Impairments
from server.core.frames import TrackName
from server.media.publisher import MAX_BITRATE_BPS
from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.connections import keep_connections
from tests.e2e.pages import PATIENCE_MS, join
from tests.e2e.server_process import ServerProcess, running_server
from tests.e2e.uplink import uplink

CAP_BPS = MAX_BITRATE_BPS[TrackName.CAMERA]
_ESTIMATE = """async () => {
  const report = new Map(await window.connections.at(-1).getStats());
  const transport = [...report.values()].find((each) => each.type === 'transport');
  // A path that was left stays nominated.
  return report.get(transport?.selectedCandidatePairId)?.availableOutgoingBitrate ?? 0;
}"""


async def estimate_bps(page: Page) -> float:
    """What the browser thinks it may send."""
    estimated: float = await page.evaluate(_ESTIMATE)
    return estimated


@pytest.mark.timeout(120)
async def test_a_candidate_fits_a_narrow_uplink_without_queue_or_loss(
    chromium: ChromiumLauncher, tmp_path: Path
) -> None:
    narrow = Impairments(delay_s=0.03, rate_bps=500_000)
    async with uplink(narrow) as line:
        flags = ("--workers", "0", "--advertise", f"127.0.0.1:{line.port}")
        async with running_server(tmp_path, *flags) as server:
            await line.connect(server.port)
            invited = await server.invite("Backend engineer")
            candidate = await (await chromium.launch()).new_page()
            await keep_connections(candidate)
            await join(candidate, invited["candidate_url"])
            await asyncio.sleep(8)  # it is still finding out
            before = len(line.passages)
            await asyncio.sleep(10)
            passages = line.passages[before:]
            assert 250_000 < await estimate_bps(candidate) < 600_000
    sound = [each for each in passages if each.is_audio]
    assert len(sound) > 400
    lost = sum(each.queued_s is None for each in sound)
    assert lost <= 0.01 * len(sound), "where a probe of the browser finds no room"
    queues_s = quantiles((each.queued_s or 0.0 for each in passages), n=20)
    assert queues_s[-1] < 0.15
    seconds = passages[-1].sent_s - passages[0].sent_s
    assert sum(each.size for each in passages) * 8 / seconds > 250_000


@pytest.mark.timeout(120)
async def test_a_candidate_with_room_for_more_keeps_to_the_limit(
    server: ServerProcess, chromium: ChromiumLauncher
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    await keep_connections(candidate)
    await join(candidate, invited["candidate_url"])
    answer = await candidate.evaluate("window.connections.at(-1).remoteDescription.sdp")
    assert answer.count(" transport-cc\r\n") == 3, "camera, microphone and screen"
    await candidate.wait_for_function(
        f"async () => (await ({_ESTIMATE})()) === {CAP_BPS}", timeout=PATIENCE_MS
    )
    for _ in range(20):
        assert await estimate_bps(candidate) <= CAP_BPS
        await asyncio.sleep(0.25)
