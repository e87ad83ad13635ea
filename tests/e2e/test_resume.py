"""Whatever interrupts an interview, its pages come back by themselves, into the same recording."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import av
import pytest
from playwright.async_api import Page

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.connections import connected_s, keep_connections
from tests.e2e.pages import (
    PATIENCE_MS,
    finished,
    join,
    leave,
    on_the_disk,
    picture_moves,
    recorded,
)
from tests.e2e.server_process import ServerProcess

#: How far a declared gap may be from what was missing.
GAP_ERROR_S = 0.5
#: What a kill costs besides: the fragment that was being written (tests/e2e/test_kill.py).
LOST_S = 1.25
#: From the moment it is possible until media flows, on a machine that others load.
BACK_S = 8.0


async def _reload(_: ServerProcess, candidate: Page) -> tuple[float, float]:
    await candidate.reload()
    return time.time(), time.time()


async def _restart(server: ServerProcess, _: Page) -> tuple[float, float]:
    await server.stop()
    over_s = time.time()
    await server.start()
    return over_s, time.time()


async def _kill(server: ServerProcess, _: Page) -> tuple[float, float]:
    await server.kill()
    over_s = time.time()
    await server.start()
    return over_s, time.time()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("interrupt", "cause", "lost_s"),
    [
        (_reload, "disconnected", 0.0),
        (_restart, "server-restart", 0.0),
        (_kill, "server-restart", LOST_S),
    ],
    ids=["reload", "restart", "kill"],
)
async def test_both_pages_come_back_and_the_gap_is_declared_as_it_was(
    server: ServerProcess,
    chromium: ChromiumLauncher,
    tmp_path: Path,
    interrupt: Callable[[ServerProcess, Page], Awaitable[tuple[float, float]]],
    cause: str,
    lost_s: float,
) -> None:
    """`interrupt` tells when media had ended at the latest, and when it might go on."""
    invited = await server.invite("Backend engineer")
    candidate, observer = [await (await chromium.launch()).new_page() for _ in range(2)]
    await keep_connections(candidate)
    await join(candidate, invited["candidate_url"])
    await observer.goto(invited["observer_url"])
    await picture_moves(observer)
    await on_the_disk(server, invited, duration_s=2)

    began_s = time.time()
    over_s, possible_s = await interrupt(server, candidate)
    await recorded(candidate)
    await picture_moves(observer)
    seen_s, back_s = time.time(), await connected_s(candidate)
    assert back_s - possible_s < BACK_S
    await leave(candidate)

    index = await finished(server, invited)
    for track in ("camera", "microphone"):
        (gap,) = [g for g in index["gaps"] if (g["track"], g["cause"]) == (track, cause)]
        start_s, end_s = [index["started_s"] + gap[name] for name in ("start_s", "end_s")]
        assert began_s - lost_s - GAP_ERROR_S < start_s < over_s + GAP_ERROR_S, gap
        assert back_s - GAP_ERROR_S < end_s < seen_s + GAP_ERROR_S, gap
    assert {g["cause"] for g in index["gaps"]} <= {cause, "packets-lost"}
    await _is_one(server, invited, index, tmp_path / "out.mp4")


async def _is_one(
    server: ServerProcess, invited: dict[str, Any], index: dict[str, Any], out: Path
) -> None:
    """One interview, one recording, both parts on one timeline: listed, verified, exported."""
    (listed,) = json.loads(await server.command("recordings", "--json"))
    assert listed["interview_id"] == invited["interview_id"]
    await server.command("verify", listed["path"])
    # Those in between need not be in order (docs/recording-format.md).
    starts = [each["start_s"] for each in index["fragments"] if each["keyframe"]]
    assert len(starts) > 1
    assert starts == sorted(starts)
    await server.command("export", invited["interview_id"], "-o", str(out))
    with av.open(str(out)) as container:
        assert container.duration is not None
        assert abs(container.duration / av.time_base - index["duration_s"]) < 0.5


@pytest.mark.timeout(240)
async def test_of_two_tabs_the_newer_goes_on_until_a_person_says_otherwise(
    server: ServerProcess, chromium: ChromiumLauncher
) -> None:
    invited = await server.invite("Backend engineer")
    context = await (await chromium.launch()).new_context()
    older, newer = [await context.new_page() for _ in range(2)]
    await join(older, invited["candidate_url"])
    await join(newer, invited["candidate_url"])
    await _says_replaced(older)
    assert await newer.locator('section[data-stage="call"]').is_visible()

    # It does not come back by itself: not by a reload, nor when the server restarts.
    await older.reload()
    await _says_replaced(older)
    await server.stop()
    await server.start()
    await recorded(newer)
    assert await older.locator("#over-act").is_visible()

    # But at a click, and then the other one stays away.
    await older.locator("#over-act").click()
    await recorded(older)
    await _says_replaced(newer)
    await asyncio.sleep(2)  # nothing happens meanwhile
    assert await older.locator('#recording[data-active="true"]').is_visible()
    await leave(older)
    index = await finished(server, invited)
    events = [each["event"] for each in index["events"]]
    assert (
        events.count("joined") == 4
    )  # the older, the newer, the newer after the restart, the older
    assert "gone" not in events


async def _says_replaced(page: Page) -> None:
    await page.get_by_text("The interview goes on elsewhere").wait_for(timeout=PATIENCE_MS)
    assert await page.locator("#over-act").inner_text() == "Use this tab instead"
