"""The candidate's network goes away for some seconds, then becomes another one."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.connections import keep_connections
from tests.e2e.pages import finished, join, leave, on_the_disk, picture_moves, recorded
from tests.e2e.server_process import ServerProcess, running_server
from tests.e2e.wifi import SERVER_ADDRESS, Wifi, may_make_networks, wifi

pytestmark = [
    pytest.mark.skipif(not may_make_networks(), reason="needs the right to make network devices"),
    pytest.mark.timeout(240),
]
FLAGS = ("--workers", "0", "--host", "0.0.0.0", "--advertise", SERVER_ADDRESS)
GAP_ERROR_S = 0.5
#: Where a network comes back, whatever had waited may have to be given up first.
BACK_S = 20.0
#: Of a new address browsers tell nobody, and need 6 s to find out. The page notices in a second
#: that nothing comes, and doubts its socket for another.
MOVED_S = 6.0


@pytest.mark.may_block("the network is changed by a command that ends at once")
@pytest.mark.parametrize(
    ("away_s", "cause"),
    [(2.0, "packets-lost"), (7.0, "disconnected"), (None, None)],
    ids=["briefly", "long", "moved"],
)
async def test_the_page_comes_back_by_itself(
    chromium: ChromiumLauncher, tmp_path: Path, away_s: float | None, cause: str | None
) -> None:
    with wifi(tmp_path) as network:
        async with running_server(tmp_path, *FLAGS) as server:
            await _interview(server, chromium, network, away_s, cause)


async def _interview(
    server: ServerProcess,
    chromium: ChromiumLauncher,
    network: Wifi,
    away_s: float | None,
    cause: str | None,
) -> None:
    invited = await server.invite("Backend engineer")
    url = invited["candidate_url"].replace("127.0.0.1", SERVER_ADDRESS)
    # A camera is for secure contexts only, of which this address is none.
    secure = f"--unsafely-treat-insecure-origin-as-secure=http://{SERVER_ADDRESS}:{server.port}"
    browser = await chromium.launch(secure, program=network.launcher)
    candidate, observer = await browser.new_page(), await (await chromium.launch()).new_page()
    await keep_connections(candidate)
    await join(candidate, url)
    await observer.goto(invited["observer_url"])
    await picture_moves(observer)
    await on_the_disk(server, invited, duration_s=2)

    began_s = time.time()
    if away_s is not None:
        network.down()
        await asyncio.sleep(away_s)
        network.up()
    else:
        network.move()
    possible_s = time.time()
    await picture_moves(observer)
    await recorded(candidate)
    assert time.time() - possible_s < (BACK_S if away_s is not None else MOVED_S)
    # The same connection found another path.
    assert await candidate.evaluate("window.connections.length") == 1
    await asyncio.sleep(2)  # so that the end of the gap is in the recording
    await leave(candidate)

    index = await finished(server, invited)
    events = [each["event"] for each in index["events"]]
    if cause is None:  # whoever is back soon was not missed
        cause = "disconnected" if "disconnected" in events else "packets-lost"
    back = ["disconnected", "joined"] if cause == "disconnected" else []
    assert events == ["joined", *back, "left"]
    # Of the sound, much is repaired; a busy machine may lose packets besides.
    gaps = [g for g in index["gaps"] if (g["track"], g["cause"]) == ("camera", cause)]
    start_s = index["started_s"] + min(gap["start_s"] for gap in gaps)
    end_s = index["started_s"] + max(gap["end_s"] for gap in gaps)
    assert abs(start_s - began_s) < GAP_ERROR_S, gaps
    if away_s is not None:  # else a browser takes its time to notice
        assert abs(end_s - possible_s) < GAP_ERROR_S, gaps
