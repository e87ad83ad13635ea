"""`vivavoce serve` as a process: it says when it is ready, stops cleanly, and survives a kill."""

import json
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.e2e.server_process import ServerError, ServerProcess, running_server


async def test_a_server_is_ready_takes_commands_and_stops_cleanly(server: ServerProcess) -> None:
    printed = await server.command("invite", "--title", "Backend engineer", "--json")
    invited = json.loads(printed)
    assert invited["candidate_url"].startswith(f"{server.base_url}/join#v1.")
    assert invited.keys() == (await server.invite("As on the home page")).keys()
    async with ClientSession() as http, http.get(f"{server.base_url}/healthz") as response:
        assert response.status == 200
    await server.stop()
    assert "Stopped" in server.log.read_text()


async def test_a_killed_server_comes_back_with_its_links(server: ServerProcess) -> None:
    invited = await server.invite("Backend engineer")
    first = server.pid
    await server.kill()
    await server.start()
    assert server.pid != first
    token = invited["observer_url"].partition("#")[2]
    url, headers = f"{server.base_url}/api/me", {"Authorization": f"Bearer {token}"}
    async with ClientSession(headers=headers) as http, http.get(url) as response:
        assert (await response.json())["interview"]["title"] == "Backend engineer"


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands where the folder should be")
    with pytest.raises(ServerError, match="can't be written"):
        async with running_server(tmp_path):
            pytest.fail("it started")
