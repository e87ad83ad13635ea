"""The main job in real browsers: join, be watched, be measured, be recorded, be replayed."""

import asyncio
import json
import math
import time
from collections import defaultdict
from pathlib import Path

import av
import pytest

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import (
    PATIENCE_MS,
    finished,
    indicator_stream,
    join,
    leave,
    picture_moves,
    replay,
    sounds,
)
from tests.e2e.server_process import ServerProcess, running_server

WATCHED_S = 9.0


@pytest.mark.timeout(240)
async def test_an_interview_from_link_to_replay(chromium: ChromiumLauncher, tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        await _from_link_to_replay(server, chromium, tmp_path)


async def _from_link_to_replay(
    server: ServerProcess, chromium: ChromiumLauncher, tmp_path: Path
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    observer = await (await chromium.launch()).new_page()
    asked_s = time.monotonic()
    await join(candidate, invited["candidate_url"])
    joined_s = time.monotonic()

    # Seen and heard by an observer who comes late.
    await observer.goto(invited["observer_url"])
    await picture_moves(observer)
    await sounds(observer)

    await _indicators_follow_the_media(server, invited["observer_url"])
    await picture_moves(observer)
    leaving_s = time.monotonic()
    await leave(candidate)
    lasted_s = leaving_s - joined_s, time.monotonic() - asked_s
    await finished(server, invited)

    await _replays_in_the_page(chromium, invited["recruiter_url"])
    await _exports(server, invited["interview_id"], tmp_path / "out.mp4", lasted_s)


async def _indicators_follow_the_media(server: ServerProcess, observer_url: str) -> None:
    values: dict[str, list[float]] = defaultdict(list)
    loudness_s: dict[float, float] = {}
    speaking_s: dict[float, float] = {}
    delays, began_s = [], math.inf
    async with indicator_stream(server.base_url, observer_url) as stream:
        async for indicator in stream:
            # By the media's own time: on a busy machine the analysis begins later.
            began_s = min(began_s, indicator.end_s)  # windows differ in length
            if indicator.end_s > began_s + WATCHED_S:
                break
            delays.append(time.time() - indicator.end_s)
            if indicator.value is None:
                continue
            values[indicator.name].append(indicator.value)
            if indicator.name == "voice.loudness":
                loudness_s[round(indicator.end_s, 1)] = indicator.value
            if indicator.name == "voice.speaking":
                speaking_s[round(indicator.end_s, 1)] = indicator.value
    present = values["face.present"]
    assert len(present) > 10
    assert sum(present) / len(present) > 0.8, "the face is found"
    # Most do on an idle machine; where none does, something waits that need not.
    assert sorted(delays)[len(delays) // 10] < 0.5, "indicators come within half a second"
    # Speech activity follows the speech: louder where it says that somebody speaks.
    spoken = [
        loudness_s[at] for at, value in speaking_s.items() if value > 0.5 and at in loudness_s
    ]
    silent = [
        loudness_s[at] for at, value in speaking_s.items() if value < 0.5 and at in loudness_s
    ]
    assert len(spoken) > 3
    assert len(silent) > 3
    assert sum(spoken) / len(spoken) > sum(silent) / len(silent) + 6
    assert values["network.bitrate"][-1] > 50_000


async def _replays_in_the_page(chromium: ChromiumLauncher, recruiter_url: str) -> None:
    page = await (await chromium.launch()).new_page()
    await replay(page, recruiter_url)
    # Sought into the middle, the picture goes on from there: however few were recorded a second.
    await page.evaluate(_GOES_ON, 8.5)
    await page.locator("#seek").fill("8")
    async with asyncio.timeout(PATIENCE_MS / 1000):
        await page.evaluate("goesOn")


#: Once a picture beyond this time is shown.
_GOES_ON = """(time) => {
  const video = document.getElementById('replay-video');
  window.goesOn = new Promise((done) => {
    const look = (_, { mediaTime }) => {
      if (mediaTime > time) done();
      else video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
  });
}"""


async def _exports(
    server: ServerProcess, interview_id: str, out: Path, lasted_s: tuple[float, float]
) -> None:
    """`lasted_s`: at least, and at most."""
    await server.command("export", interview_id, "-o", str(out))
    recordings = json.loads(await server.command("recordings", "--json"))
    recording = next(each for each in recordings if each["interview_id"] == interview_id)
    assert recording["state"] == "finished"
    least_s, most_s = lasted_s
    assert least_s - 1.0 < recording["duration_s"] < most_s + 0.5
    await server.command("verify", recording["path"])
    with av.open(str(out)) as container:
        assert container.duration is not None
        assert abs(container.duration / av.time_base - recording["duration_s"]) < 0.5
        assert {stream.type for stream in container.streams} == {"audio", "video"}
        for stream in container.streams:
            assert stream.duration is not None
            assert stream.time_base is not None
            seconds = float(stream.duration * stream.time_base)
            assert abs(seconds - recording["duration_s"]) < 0.5
    probe = await asyncio.create_subprocess_exec(
        *(
            "ffprobe",
            "-v",
            "error",
            "-show_entries",
            "stream=codec_name",
            "-of",
            "csv=p=0",
            str(out),
        ),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await probe.communicate()
    assert set(output.decode().split()) == {"h264", "aac"}
