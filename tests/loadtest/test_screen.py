"""The shared screen: its pictures, and its way through a server that takes it or does not."""

import asyncio
import itertools
import os
from functools import partial
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from loadtest import screen
from loadtest.html import page
from loadtest.media import SCREEN, Clip, VideoCodec, encode_pictures, load_screen
from loadtest.packets import PacketisedClip, packetise
from loadtest.peer import Candidate, Crowd
from loadtest.plan import Plan
from loadtest.report import Report
from loadtest.run import run
from loadtest.scene import HEIGHT, WIDTH
from loadtest.summary import as_text
from server.core.frames import TrackName
from server.media.server import MediaServer
from tests.loadtest.conftest import Answerer, short_clip
from tests.loadtest.mini_server import OWNER_TOKEN, MiniServer
from tests.loadtest.passing_server import PassingMedia

CODECS: tuple[VideoCodec, ...] = ("h264", "vp8")


def luma(picture: av.VideoFrame) -> NDArray[np.int16]:
    return picture.to_ndarray()[:HEIGHT].astype(np.int16)


def decoded(clip: Clip) -> list[NDArray[np.int16]]:
    decoder = av.CodecContext.create(clip.codec, "r")
    return [
        picture.to_ndarray(format="gray").astype(np.int16)
        for frame in clip.video
        for picture in decoder.decode(av.Packet(frame))
    ]


def test_most_pictures_are_the_one_before_or_differ_in_a_character() -> None:
    changes = [
        int((np.abs(after - before) > 40).sum())
        for before, after in itertools.pairwise(map(luma, screen.Screen().pictures()))
    ]
    assert len(changes) == screen.LOOP_FRAMES - 1
    small = sum(change < 600 for change in changes)  # a character and the caret: 24 x 28 pixels
    assert small > 0.9 * len(changes)
    assert changes.count(0) > len(changes) / 10
    assert sum(change > 5000 for change in changes) > 20, "and it scrolls"


@pytest.mark.parametrize("codec", CODECS)
def test_the_screen_is_legible_and_cheap(tmp_path: Path, codec: VideoCodec) -> None:
    clip = load_screen(codec, tmp_path)
    assert (clip.fps, clip.duration_s, clip.audio) == (15, 40, [])
    assert clip.keyframes == list(range(0, screen.LOOP_FRAMES, SCREEN.keyframe_interval))
    assert 150_000 < sum(map(len, clip.video)) * 8 / clip.duration_s < 350_000
    drawn = luma(next(screen.Screen().pictures()))
    shown = decoded(clip)[0]
    assert shown.shape == (HEIGHT, WIDTH)
    # Print stays print: where it was ink it is dark, where it was paper it is light.
    assert (shown[drawn < 60] < 128).mean() > 0.9
    assert (shown[drawn > 220] > 160).mean() > 0.99


def test_a_second_use_reads_the_cache(tmp_path: Path) -> None:
    first = load_screen("h264", tmp_path)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    assert load_screen("h264", tmp_path) == first
    assert file.stat().st_mtime_ns == written


# ---- through a server -------------------------------------------------------------------


def with_screen(codec: VideoCodec) -> PacketisedClip:
    """A camera of a second and a screen of four, with a keyframe in the middle of the typing."""
    pictures = itertools.islice(screen.Screen().pictures(), 4 * screen.FPS)
    frames, keyframes = encode_pictures(codec, pictures, SCREEN)
    return packetise(short_clip(codec), Clip(codec, frames, keyframes, [], SCREEN.fps))


async def report_of(mini: MiniServer, clip: PacketisedClip, duration_s: float) -> Report:
    plan = Plan(mini.url, (clip,), 2, duration_s, Path("/nonexistent"), OWNER_TOKEN, os.getpid())
    return await run(plan, asyncio.Event())


async def test_a_server_that_refuses_it_is_said_to_and_nothing_else_changes(
    mini: MiniServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As servers are that know of one picture each.
    one_each = partial(mini.media.publish, tracks=(TrackName.CAMERA, TrackName.MICROPHONE))
    monkeypatch.setattr(mini.media, "publish", one_each)
    report = await report_of(mini, with_screen("vp8"), 2.0)
    assert (report.joined, report.errors, report.frame_completeness) == (2, [], 1.0)
    assert (report.screens_offered, report.screens_accepted) == (2, 0)
    assert (report.screen_frames_sent, report.screen_completeness) == (0, None)
    assert report.screens_recorded is None
    assert "screens  0 of 2 accepted by the server" in as_text(report)
    assert "screens accepted</dt><dd>0<small>of 2 offered" in page(report)


async def test_our_server_takes_it(mini: MiniServer) -> None:
    report = await report_of(mini, with_screen("vp8"), 2.0)
    assert (report.screens_offered, report.screens_accepted) == (2, 2)
    assert (report.screen_completeness, report.frame_completeness) == (1.0, 1.0)


@pytest.mark.parametrize("codec", CODECS)
async def test_of_a_server_that_takes_it_every_frame_is_counted(
    mini: MiniServer, codec: VideoCodec
) -> None:
    mini.media = cast(MediaServer, PassingMedia(mini.media))
    report = await report_of(mini, with_screen(codec), 3.0)
    assert (report.joined, report.errors, report.frames_misrouted) == (2, [], 0)
    assert (report.screens_offered, report.screens_accepted) == (2, 2)
    assert report.screen_frames_sent == pytest.approx(2 * 3 * screen.FPS, abs=10)
    assert (report.screen_completeness, report.frame_completeness) == (1.0, 1.0)
    assert report.frames_sent == pytest.approx(2 * 3 * 30, abs=16), "the camera's alone"
    assert report.av_offset_ms.p95 == pytest.approx(0, abs=5), "the screen has no lips"
    counted = f"{report.screen_frames_received} of {report.screen_frames_sent} frames complete"
    assert f"2 of 2 accepted by the server, {counted}" in as_text(report)
    assert f"screen frames complete</dt><dd>100<small>% of {report.screen_frames_sent}" in page(
        report
    )


@pytest.mark.parametrize("codec", CODECS)
async def test_an_independent_peer_decodes_camera_and_screen(
    crowd: Crowd, answerer: Answerer, codec: VideoCodec
) -> None:
    candidate = Candidate(crowd, answerer.url, with_screen(codec))
    await candidate.join()
    assert set(candidate.tracks()) == {"camera", "microphone", "screen"}
    _, camera, shared = answerer.tracks
    async with asyncio.timeout(20):
        pictures = [await shared.recv() for _ in range(30)]
        portrait = await camera.recv()
    await candidate.leave()
    assert all(isinstance(each, av.VideoFrame) for each in [*pictures, portrait])
    times = [each.pts or 0 for each in pictures]
    assert {after - before for before, after in itertools.pairwise(times)} == {90_000 // 15}
    last = cast(av.VideoFrame, pictures[-1]).to_ndarray(format="gray")
    assert last.mean() > 200, "a page, not the portrait"
    assert cast(av.VideoFrame, portrait).to_ndarray(format="gray").mean() < 200
