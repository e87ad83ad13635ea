"""The candidate's network goes away for some seconds, then becomes another one."""

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.connections import keep_connections
from tests.e2e.pages import (
    finished,
    join,
    leave,
    more_on_the_disk,
    on_the_disk,
    picture_moves,
    pictures_s,
    recorded,
)
from tests.e2e.server_process import ServerProcess, running_server
from tests.e2e.wifi import Wifi, may_make_networks, wifi

pytestmark = [
    pytest.mark.skipif(not may_make_networks(), reason="needs the right to make network devices"),
    pytest.mark.timeout(240),
]
GAP_ERROR_S = 0.5
#: Cameras here take 30 pictures a second; on a busy machine a browser leaves some out.
HOLE_S = 0.5
#: More than what was on its way to the disk when the network went: it came after that.
AFTERWARDS_S = 3.0
#: Where the way is there again: pictures go on from a keyframe, which has to be asked for.
BACK_S = 3.0
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
        flags = ("--workers", "0", "--host", "0.0.0.0", "--advertise", network.server_address)
        async with running_server(tmp_path, *flags) as server:
            await _interview(server, chromium, network, away_s, cause)


async def _interview(
    server: ServerProcess,
    chromium: ChromiumLauncher,
    network: Wifi,
    away_s: float | None,
    cause: str | None,
) -> None:
    invited = await server.invite("Backend engineer")
    url = invited["candidate_url"].replace("127.0.0.1", network.server_address)
    # A camera is for secure contexts only, of which this address is none.
    origin = f"http://{network.server_address}:{server.port}"
    secure = f"--unsafely-treat-insecure-origin-as-secure={origin}"
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
    await more_on_the_disk(server, invited, AFTERWARDS_S)
    await picture_moves(observer)
    await recorded(candidate)
    # The same connection found another path.
    assert await candidate.evaluate("window.connections.length") == 1
    await more_on_the_disk(server, invited, 2.0)  # the end of the gap, and what is told of it
    await leave(candidate)

    index = await finished(server, invited)
    events = [each["event"] for each in index["events"]]
    if cause is None:  # whoever is back soon was not missed
        cause = "disconnected" if "disconnected" in events else "packets-lost"
    back = ["disconnected", "joined"] if cause == "disconnected" else []
    assert events == ["joined", *back, "left"]
    # Of what was taken meanwhile a browser keeps some seconds, and sends them afterwards.
    shown_s = [index["started_s"] + each for each in await pictures_s(server, invited, index)]
    assert shown_s[0] < began_s < possible_s < shown_s[-1]
    holes_s = [each for each in pairwise(shown_s) if each[1] - each[0] > HOLE_S]
    missing_s = sorted(
        (index["started_s"] + gap["start_s"], index["started_s"] + gap["end_s"])
        for gap in index["gaps"]
        if (gap["track"], gap["cause"]) == ("camera", cause)
    )
    told = f"{index['gaps']}, {holes_s}, {began_s} to {possible_s}"
    assert all(one[1] <= next[0] for one, next in pairwise(missing_s)), told
    for start_s, end_s in holes_s:
        assert any(each[0] < end_s and start_s < each[1] for each in missing_s), told
        assert start_s > began_s - GAP_ERROR_S, told
        assert end_s - possible_s < (BACK_S if away_s is not None else MOVED_S), told
    if cause == "disconnected":
        assert sum(end_s - start_s for start_s, end_s in holes_s) > (away_s or 0) / 2, told
