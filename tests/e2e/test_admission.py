"""One too many: who is inside notices nothing, who is refused is told, and comes in by itself."""

import asyncio
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession
from playwright.async_api import Page

from server.data_dir import metrics_token
from tests.e2e import room_for_one
from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import PATIENCE_MS, begin, finished, join, leave, picture_moves, recorded
from tests.e2e.server_process import running_server
from tests.signaling.serving import PUBLISH_OFFER, token_in


@pytest.mark.timeout(180)
async def test_the_next_candidate_waits_and_comes_in_when_there_is_room(
    chromium: ChromiumLauncher, tmp_path: Path
) -> None:
    program = (sys.executable, room_for_one.__file__)
    async with running_server(tmp_path, "--workers", "0", program=program) as server:
        first, second = [await server.invite(title) for title in ("One", "Two")]
        inside, refused, observer = [await (await chromium.launch()).new_page() for _ in range(3)]
        await join(inside, first["candidate_url"])
        await begin(refused, second["candidate_url"])
        await refused.get_by_text("The server is busy").wait_for()
        await _counts_down(refused)
        await refused.locator("#language").click()
        await refused.get_by_text("服务器正忙于其他面试").wait_for()

        async with ClientSession(server.base_url) as http:
            url = f"/whip/{token_in(second['candidate_url'])}"
            sdp = {"Content-Type": "application/sdp"}
            async with http.post(url, data=PUBLISH_OFFER, headers=sdp) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
                assert (await answer.json())["error"]["id"] == "server-busy"
            async with http.get("/readyz") as answer:
                assert answer.status == 200
                assert await answer.text() == "busy\n"
            token = await asyncio.to_thread(metrics_token, server.data_dir)
            bearer = {"Authorization": f"Bearer {token}"}
            async with http.get("/metrics", headers=bearer) as answer:
                metrics = await answer.text()
            assert 'vivavoce_headroom{resource="loop"} 0.0\n' in metrics
            assert 'vivavoce_refused_total{reason="loop",role="candidate"}' in metrics

        # Those inside: who comes back and who observes is not asked.
        await observer.goto(first["observer_url"])
        await picture_moves(observer)
        await inside.reload()
        await recorded(inside)
        await picture_moves(observer)
        await leave(inside)
        await recorded(refused)
        assert not await refused.locator("#call-wait").is_visible()
        await leave(refused)
        index = await finished(server, second)
        assert index["gaps"] == []


async def _counts_down(page: Page) -> None:
    """Two different numbers of seconds, one after the other."""
    left = page.locator("#call-wait-left")
    shown = await left.inner_text()
    await page.wait_for_function(
        "(shown) => document.getElementById('call-wait-left').innerText !== shown",
        arg=shown,
        timeout=PATIENCE_MS,
    )
    assert int("".join(filter(str.isdigit, shown))) in (1, 2, 3, 4)
