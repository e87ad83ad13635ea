"""Candidates who have only a microphone, or only a camera."""

from pathlib import Path

import av
import pytest

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import finished, join, leave, on_the_disk, picture_moves, sounds
from tests.e2e.server_process import ServerProcess

#: A browser that finds no device of a kind says so as soon as one is asked for.
WITHOUT = """
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  if (wanted.%s) throw new DOMException("Requested device not found", "NotFoundError");
  return open(wanted);
};
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("missing", "recorded"), [("video", "microphone"), ("audio", "camera")])
async def test_one_device_is_enough_to_be_met_and_recorded(
    server: ServerProcess, chromium: ChromiumLauncher, tmp_path: Path, missing: str, recorded: str
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    await candidate.add_init_script(WITHOUT % missing)
    await join(candidate, invited["candidate_url"])
    toggles = {"video": "#toggle-camera", "audio": "#toggle-microphone"}
    assert await candidate.locator(toggles.pop(missing)).is_hidden()
    assert await candidate.locator(*toggles.values()).is_visible()

    observer = await (await chromium.launch()).new_page()
    await observer.goto(invited["observer_url"])
    if recorded == "camera":
        await picture_moves(observer)
    else:
        await sounds(observer)
    await on_the_disk(server, invited, duration_s=3)
    await leave(candidate)
    await finished(server, invited)

    out = tmp_path / "out.mp4"
    await server.command("export", invited["interview_id"], "-o", str(out))
    await server.command("verify", str(server.recording(invited)))
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == [
            {"microphone": "audio", "camera": "video"}[recorded]
        ]
    replay = await (await chromium.launch()).new_page()
    await replay.goto(invited["recruiter_url"].replace("/observe#", "/recordings#"))
    await replay.locator("#play").click()
    await replay.wait_for_function("() => document.getElementById('replay-video').currentTime > 1")
