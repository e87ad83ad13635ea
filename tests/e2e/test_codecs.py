"""Each video codec from a real browser's encoder to its replay and export."""

import asyncio
from pathlib import Path
from typing import Any

import av
import pytest

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import (
    PATIENCE_MS,
    finished,
    frames_replayed,
    indicator_stream,
    join,
    leave,
    picture_moves,
    replay,
)
from tests.e2e.server_process import ServerProcess, running_server

#: At the face: three seconds of them, where the machine has the time.
LOOKS = 12


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("codec", "mime", "exported"),
    [
        ("vp9", "vp09.00.", "vp9"),
        ("av1", "av01.0.", "av1"),
        ("vp8", "vp8", "h264"),
    ],
)
async def test_codec_is_observed_measured_recorded_replayed_and_exported(
    tmp_path: Path, chromium: ChromiumLauncher, codec: str, mime: str, exported: str
) -> None:
    async with running_server(tmp_path, "--video-codecs", codec) as server:
        invited = await server.invite("Backend engineer")
        candidate = await (await chromium.launch()).new_page()
        observer = await (await chromium.launch()).new_page()
        await join(candidate, invited["candidate_url"])
        await observer.goto(invited["observer_url"])
        await picture_moves(observer)
        await _face_is_found(server, invited["observer_url"])
        await picture_moves(observer)
        await leave(candidate)
        index = await finished(server, invited)
        # A browser on a busy machine may change the picture's size: another init of the same codec.
        assert {
            init["mime"].split('"')[1].split(",")[0][: len(mime)] for init in index["inits"]
        } == {mime}
        page = await (await chromium.launch()).new_page()
        await replay(page, invited["recruiter_url"])
        # In 1.5 s, of what a busy machine had the time to encode.
        assert await frames_replayed(page) > 10
        # What changes its size is encoded anew.
        kept = exported if len(index["inits"]) == 1 else "h264"
        shown = await _verifies_and_exports(server, invited, tmp_path / "out.mp4", kept)
        assert shown > 5 * index["duration_s"], "every picture that came decodes"


async def _face_is_found(server: ServerProcess, observer_url: str) -> None:
    present: list[float] = []
    async with (
        asyncio.timeout(PATIENCE_MS / 1000),
        indicator_stream(server.base_url, observer_url) as stream,
    ):
        async for indicator in stream:
            if indicator.name == "face.present" and indicator.value is not None:
                present.append(indicator.value)
            if len(present) == LOOKS:
                break
    assert sum(present) / LOOKS > 0.8


async def _verifies_and_exports(
    server: ServerProcess, invited: dict[str, Any], out: Path, exported: str
) -> int:
    """How many pictures the exported file holds."""
    await server.command("verify", str(server.recording(invited)))
    await server.command("export", invited["interview_id"], "-o", str(out))
    with av.open(str(out)) as container:
        (pictures,) = container.streams.video
        assert pictures.codec_context.codec.canonical_name == exported
        return sum(1 for _ in container.decode(pictures))
