"""A simulcast by WHIP through the whole server: a recording whose size changes in its middle."""

from pathlib import Path
from typing import Any

import av
import pytest
from playwright.async_api import Page

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.layered_page import THREE, answered, offer_to_send, send_only
from tests.e2e.pages import PATIENCE_MS, finished, recorded_lines
from tests.e2e.server_process import ServerProcess, running_server

_POST = """async ([url, sdp]) => {
  const answered = await fetch(url, {
    method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: sdp,
  });
  window.resource = answered.headers.get('Location');
  return answered.text();
}"""

#: Every size that the replay shows, in turn.
_KEEP_LINES = """() => {
  window.lines = [];
  window.replayed = document.getElementById('replay-video');
  replayed.addEventListener('resize', () => lines.push(replayed.videoHeight));
}"""
#: Of each size: longer than a fragment.
SPAN_S = 1.0


async def observed_lines(page: Page, lines: int) -> None:
    """Returns once the observer's page shows a picture of so many lines."""
    await page.wait_for_function(
        "(lines) => document.getElementById('video').videoHeight === lines",
        arg=lines,
        timeout=PATIENCE_MS,
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize("codec", ["h264", "vp9"])
async def test_recording_goes_from_layer_to_layer_and_is_replayed_and_exported_whole(
    tmp_path: Path, chromium: ChromiumLauncher, codec: str
) -> None:
    async with running_server(tmp_path, "--video-codecs", codec) as server:
        invited = await server.invite("Backend engineer")
        candidate = await (await chromium.launch()).new_page()
        observer = await (await chromium.launch()).new_page()
        await candidate.goto(server.base_url)
        await observer.goto(invited["observer_url"])
        offer = await offer_to_send(candidate, THREE, codec.upper())
        token = invited["candidate_url"].partition("#")[2]
        await answered(candidate, await candidate.evaluate(_POST, [f"/whip/{token}", offer]))
        # What is seen tells little of what is recorded: each size is to be found in the replay.
        await recorded_lines(server, invited, 720, SPAN_S)
        await observed_lines(observer, 720)
        await send_only(candidate, "m", "l")
        await recorded_lines(server, invited, 360, SPAN_S)
        await observed_lines(observer, 360)
        await send_only(candidate, "h", "m", "l")
        await recorded_lines(server, invited, 720, SPAN_S)
        await observed_lines(observer, 720)
        await candidate.evaluate("() => fetch(resource, {method: 'DELETE'})")

        index = await finished(server, invited)
        causes = {gap["cause"] for gap in index["gaps"] if gap["track"] == "camera"}
        assert causes == {"layer-stopped"}
        assert {720, 360} <= {init["height"] for init in index["inits"]}
        await _replays_to_the_end(chromium, invited["recruiter_url"])
        shown = await _verifies_and_exports(server, invited, tmp_path / "out.mp4")
        assert shown > 5 * index["duration_s"]


async def _replays_to_the_end(chromium: ChromiumLauncher, recruiter_url: str) -> None:
    page = await (await chromium.launch()).new_page()
    page.set_default_timeout(PATIENCE_MS)
    base, _, token = recruiter_url.partition("/observe#")
    await page.goto(f"{base}/recordings#{token}")
    await page.evaluate(_KEEP_LINES)
    await page.locator("#play").click()
    await page.wait_for_function("() => replayed.ended", timeout=2 * PATIENCE_MS)
    assert (await page.evaluate("lines"))[-3:] == [720, 360, 720]


async def _verifies_and_exports(server: ServerProcess, invited: dict[str, Any], out: Path) -> int:
    """How many pictures the exported file holds."""
    await server.command("verify", str(server.recording(invited)))
    await server.command("export", invited["interview_id"], "-o", str(out))
    with av.open(str(out)) as container:
        return sum(1 for _ in container.decode(container.streams.video[0]))
