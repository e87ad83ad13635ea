"""SIGTERM: running interviews may end, nobody new is taken, and all is sealed in order."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import finished, join, leave, on_the_disk, picture_moves, prepare, recorded
from tests.e2e.server_process import POLL_S, ServerProcess, running_server
from tests.signaling.serving import PUBLISH_OFFER, token_in

SDP = {"Content-Type": "application/sdp"}
LONG = ("--workers", "0", "--drain-timeout", "100")


async def status_of(http: ClientSession, method: str, path: str, **more: Any) -> int:
    async with http.request(method, path, **more) as answer:
        return answer.status


async def draining(http: ClientSession) -> None:
    """Returns once the server has taken the signal."""
    while await status_of(http, "GET", "/readyz") != 503:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(POLL_S)


@asynccontextmanager
async def published(server: ServerProcess) -> AsyncIterator[ClientSession]:
    """A WHIP session, which runs for a while though nothing follows its offer."""
    invited = await server.invite("Backend engineer")
    async with ClientSession(server.base_url) as http:
        url = f"/whip/{token_in(invited['candidate_url'])}"
        assert await status_of(http, "POST", url, data=PUBLISH_OFFER, headers=SDP) == 201
        yield http


@pytest.mark.timeout(180)
async def test_running_interviews_go_on_and_the_server_ends_with_the_last_of_them(
    chromium: ChromiumLauncher, tmp_path: Path
) -> None:
    async with running_server(tmp_path, *LONG) as server, ClientSession(server.base_url) as http:
        first, second = [await server.invite(title) for title in ("One", "Two")]
        inside, refused, observer = [await (await chromium.launch()).new_page() for _ in range(3)]
        await join(inside, first["candidate_url"])
        await prepare(refused, second["candidate_url"])
        server.send(signal.SIGTERM)
        await draining(http)
        assert await status_of(http, "GET", "/healthz") == 200
        async with http.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "draining\n")

        # Nobody new; by WHIP neither.
        await refused.locator("#join").click()
        await refused.get_by_text("The server is restarting").wait_for()
        url = f"/whip/{token_in(second['candidate_url'])}"
        async with http.post(url, data=PUBLISH_OFFER, headers=SDP) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
            assert (await answer.json())["error"]["id"] == "server-restarting"

        # Those inside: who comes back, and who observes.
        await observer.goto(first["observer_url"])
        await picture_moves(observer)
        await inside.reload()
        await recorded(inside)
        await picture_moves(observer)
        await leave(inside)
        await server.stopped()

        await server.start()
        await recorded(refused)  # by itself
        index = await finished(server, first)
        causes = [gap["cause"] for gap in index["gaps"] if gap["cause"] != "packets-lost"]
        assert causes == ["disconnected"] * 2  # the reload
        await server.kill()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("killed", [False, True])
async def test_after_the_deadline_or_a_kill_the_page_comes_back_into_the_same_recording(
    chromium: ChromiumLauncher, tmp_path: Path, killed: bool
) -> None:
    timeout_s = "100" if killed else "0.5"
    flags = ("--workers", "0", "--drain-timeout", timeout_s)
    async with running_server(tmp_path, *flags) as server, ClientSession(server.base_url) as http:
        invited = await server.invite("Backend engineer")
        inside = await (await chromium.launch()).new_page()
        await join(inside, invited["candidate_url"])
        await on_the_disk(server, invited, duration_s=1)
        server.send(signal.SIGTERM)
        if killed:
            await draining(http)
            await server.kill()
        else:
            await server.stopped()
            await inside.get_by_text("The server is restarting").wait_for()
        await server.start()
        await recorded(inside)
        assert not await inside.locator("#call-wait").is_visible()
        await leave(inside)
        index = await finished(server, invited)
        # A busy machine may lose packets besides.
        missing = [gap for gap in index["gaps"] if gap["cause"] != "packets-lost"]
        assert [gap["cause"] for gap in missing] == ["server-restart"] * 2, index["gaps"]
        assert {gap["track"] for gap in missing} == {"camera", "microphone"}
        await server.command("verify", str(server.recording(invited)))


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(tmp_path: Path, second: signal.Signals) -> None:
    async with running_server(tmp_path, *LONG) as server, published(server) as http:
        server.send(signal.SIGTERM)
        await draining(http)
        server.send(second)
        await server.stopped()
        assert server.log.read_text().endswith("Stopped. All recordings are sealed.\n")
        assert "Draining: 1 interview" in server.log.read_text()


async def test_control_c_does_not_drain(tmp_path: Path) -> None:
    async with running_server(tmp_path, *LONG) as server, published(server):
        server.send(signal.SIGINT)
        await server.stopped()
        assert "Draining" not in server.log.read_text()


async def test_with_nobody_inside_it_stops_at_once(tmp_path: Path) -> None:
    async with running_server(tmp_path, *LONG) as server:
        await server.stop()
        assert "Draining" not in server.log.read_text()
