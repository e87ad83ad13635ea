"""`kill -9` of the server in mid-interview: at most the last second is lost, nothing else."""

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import av
import pytest
from aiohttp import ClientSession

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import finished, join, leave, more_on_the_disk, recorded
from tests.e2e.server_process import ServerProcess

KILLS = 5
#: One fragment; and what was captured by then but still on its way through two processes.
LOST_S = 1.0
ON_ITS_WAY_S = 0.25


@pytest.mark.timeout(300)
async def test_five_kills_lose_at_most_a_second_each(
    server: ServerProcess, chromium: ChromiumLauncher, tmp_path: Path
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    await join(candidate, invited["candidate_url"])
    chance = random.Random(7)
    killed_s = []
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(1.5, 3.0))
        await server.kill()
        killed_s.append(time.time())
        await server.start()
        await server.command("verify", str(server.recording(invited)))
        # The page comes back by itself, into the same recording.
        await recorded(candidate)
    await more_on_the_disk(server, invited, 1.0)
    await leave(candidate)
    await finished(server, invited)
    recording = await _recording(server, invited["interview_id"])
    assert recording["state"] == "finished"
    await server.command("verify", recording["path"])
    await _lost_no_more_than_a_second(server, invited, killed_s)
    await _exports(server, recording, tmp_path / "out.mp4")


async def _lost_no_more_than_a_second(
    server: ServerProcess, invited: dict[str, Any], killed_s: list[float]
) -> None:
    """Each kill is one gap of each track, which begins at most a second before it."""
    url = f"{server.base_url}/api/recordings/{invited['interview_id']}"
    token = invited["recruiter_url"].partition("#")[2]
    async with (
        ClientSession(headers={"Authorization": f"Bearer {token}"}) as http,
        http.get(url, raise_for_status=True) as response,
    ):
        index = await response.json()
    for track in ("camera", "microphone"):
        began_s = [
            index["started_s"] + gap["start_s"]
            for gap in index["gaps"]
            if gap["track"] == track and gap["cause"] == "server-restart"
        ]
        assert len(began_s) == KILLS, index["gaps"]
        lost_s = [killed - began for killed, began in zip(killed_s, began_s, strict=True)]
        assert max(lost_s) < LOST_S + ON_ITS_WAY_S, lost_s
        assert min(lost_s) > -0.1, lost_s


async def _exports(server: ServerProcess, recording: dict[str, Any], out: Path) -> None:
    await server.command("export", recording["interview_id"], "-o", str(out))
    with av.open(str(out)) as container:
        assert container.duration is not None
        assert abs(container.duration / av.time_base - recording["duration_s"]) < 0.5


async def _recording(server: ServerProcess, interview_id: str) -> dict[str, Any]:
    recordings: list[dict[str, Any]] = json.loads(await server.command("recordings", "--json"))
    assert [each["interview_id"] for each in recordings] == [interview_id], "one recording"
    return recordings[0]
