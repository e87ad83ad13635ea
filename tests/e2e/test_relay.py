"""A candidate whose network lets only a relay through; then the relay is gone: ICE restarts."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.connections import keep_connections, restarted, transport
from tests.e2e.coturn import running_coturn
from tests.e2e.pages import finished, join, leave, picture_moves
from tests.e2e.server_process import ServerProcess, running_server

SECRET = "shared by relay and server"


@pytest.mark.timeout(240)
async def test_relayed_interview_survives_the_end_of_the_relay(
    chromium: ChromiumLauncher, tmp_path: Path
) -> None:
    async with running_coturn(tmp_path, SECRET) as coturn:
        url = f"turn:127.0.0.1:{coturn.port}?transport=udp"
        settings = {"VIVAVOCE_TURN_SECRET": SECRET}
        flags = ("--workers", "0", "--turn-url", url)
        async with running_server(tmp_path, *flags, settings=settings) as server:
            invited = await server.invite("Backend engineer")
            candidate = await (await chromium.launch()).new_page()
            await keep_connections(candidate, policy="relay")
            await join(candidate, invited["candidate_url"])
            observer = await (await chromium.launch()).new_page()
            await observer.goto(invited["observer_url"])
            await picture_moves(observer)
            relayed = await transport(candidate)
            assert (relayed["way"], relayed["connections"]) == ("relay", 1)

            coturn.freeze()
            await _let_through(candidate)
            direct = await restarted(candidate, relayed)
            await picture_moves(observer)
            # The same association: keys and counters go on, nothing was negotiated anew.
            assert (direct["connections"], direct["dtls"]) == (1, "connected")
            assert direct["way"] != "relay"
            assert direct["packets"] > relayed["packets"]
            await leave(candidate)
            await _recorded_as_one(server, invited)
            log = server.log.read_text()
        credential = await candidate.evaluate(
            "window.connections[0].getConfiguration().iceServers[0].credential"
        )
        assert credential
        for secret in (SECRET, credential):
            assert secret not in log


async def _let_through(page: Page) -> None:
    """The network lets everything through from now on; the page is told nothing."""
    await page.evaluate(
        "() => { const pc = window.connections[0];"
        "pc.setConfiguration({...pc.getConfiguration(), iceTransportPolicy: 'all'}); }"
    )


async def _recorded_as_one(server: ServerProcess, invited: dict[str, Any]) -> None:
    """What the relay swallowed is a gap, and what is lost besides comes with it."""
    index = await finished(server, invited)
    for track in ("camera", "microphone"):
        gaps = [each for each in index["gaps"] if each["track"] == track]
        assert {each["cause"] for each in gaps} <= {"packets-lost", "disconnected"}
        outage = max(gaps, key=lambda each: each["end_s"] - each["start_s"])
        # A browser that finds another way loses packets at both of its ends.
        around = outage["start_s"] - 2, outage["end_s"] + 5
        assert all(around[0] <= each["start_s"] <= around[1] for each in gaps)
    await server.command("verify", str(server.recording(invited)))
