"""ICE restarts that the pages make when their network has changed."""

import pytest
from playwright.async_api import Page

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.connections import keep_connections, restarted, transport
from tests.e2e.pages import finished, join, leave, picture_moves
from tests.e2e.server_process import ServerProcess


@pytest.mark.timeout(240)
async def test_a_change_of_network_costs_neither_side_a_packet(
    server: ServerProcess, chromium: ChromiumLauncher
) -> None:
    invited = await server.invite("Backend engineer")
    candidate, observer = [await _page(chromium) for _ in range(2)]
    await join(candidate, invited["candidate_url"])
    await observer.goto(invited["observer_url"])
    await picture_moves(observer)
    for page, change in (
        (candidate, _network_comes_back),
        (observer, _network_comes_back),
        (candidate, _socket_is_lost),
    ):
        before = await transport(page)
        assert before["cipher"] == "AEAD_AES_256_GCM"
        await change(page)
        after = await restarted(page, before)
        # The same association: keys and counters go on, nothing was negotiated anew.
        assert (after["connections"], after["dtls"]) == (1, "connected")
        assert after["packets"] > before["packets"]
        await picture_moves(observer)
    assert await candidate.evaluate("window.sockets.length") >= 2
    await leave(candidate)
    index = await finished(server, invited)
    assert index["gaps"] == []
    assert [event["event"] for event in index["events"]] == ["joined", "left"]


async def _page(chromium: ChromiumLauncher) -> Page:
    page = await (await chromium.launch()).new_page()
    await keep_connections(page)
    return page


async def _network_comes_back(page: Page) -> None:
    """As the browser tells pages; what flows over UDP knows nothing of it."""
    await page.context.set_offline(True)
    await page.context.set_offline(False)


async def _socket_is_lost(page: Page) -> None:
    """The page comes back on another socket, with the connection that it has."""
    await page.evaluate("window.sockets.at(-1).close()")
