"""`kill -9` of the server in mid-interview: at most the last second is lost, nothing else."""

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import av
import pytest

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import join, leave, recorded
from tests.e2e.server_process import ServerProcess

KILLS = 5
#: What may be lost by a kill: one fragment, plus what was on its way to the disk.
LOST_S = 1.0 + 0.5


@pytest.mark.timeout(300)
async def test_five_kills_lose_at_most_a_second_each(
    server: ServerProcess, chromium: ChromiumLauncher, tmp_path: Path
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    await join(candidate, invited["candidate_url"])
    chance = random.Random(7)
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(2.0, 5.0))
        await server.kill()
        killed_s = time.time()
        await server.start()
        recording = await _recording(server, invited["interview_id"])
        await server.command("verify", recording["path"])
        kept_until_s = recording["started_s"] + recording["duration_s"]
        assert killed_s - kept_until_s < LOST_S
        # The page comes back by itself, into the same recording.
        await recorded(candidate)
    await asyncio.sleep(2)
    await leave(candidate)
    recording = await _recording(server, invited["interview_id"])
    assert recording["state"] == "finished"
    await server.command("verify", recording["path"])
    out = tmp_path / "out.mp4"
    await server.command("export", invited["interview_id"], "-o", str(out))
    with av.open(str(out)) as container:
        assert container.duration is not None
        assert abs(container.duration / av.time_base - recording["duration_s"]) < 0.5


async def _recording(server: ServerProcess, interview_id: str) -> dict[str, Any]:
    recordings: list[dict[str, Any]] = json.loads(await server.command("recordings", "--json"))
    assert [each["interview_id"] for each in recordings] == [interview_id], "one recording"
    return recordings[0]
