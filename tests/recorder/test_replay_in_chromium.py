"""A real browser's Media Source Extensions play what the reader gives, to the end; and exports."""

import base64
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.async_api import Page, async_playwright

from server.core.frames import Codec, EncodedFrame
from server.recorder.export.content_credentials import Credentials, made_of
from server.recorder.export.export import export
from server.recorder.replay.index import Side
from server.recorder.replay.reader import RecordingReader
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, VIDEO_CODECS, camera, interview, microphone

pytestmark = pytest.mark.may_block("the test itself reads the recording")

_PLAY = """
async ({ pieces, rate }) => {
  const video = document.createElement("video");
  document.body.append(video);
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await new Promise((done) => source.addEventListener("sourceopen", done, { once: true }));
  let buffer = null;
  for (const { mime, data } of pieces) {
    if (!MediaSource.isTypeSupported(mime)) return { error: `${mime} is not supported` };
    if (buffer === null) buffer = source.addSourceBuffer(mime);
    else if (mime !== buffer.mime) buffer.changeType(mime);
    buffer.mime = mime;
    const done = new Promise((ok) => buffer.addEventListener("updateend", ok, { once: true }));
    buffer.appendBuffer(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)));
    await done;
    if (video.error) return { error: video.error.message };
  }
  const ranges = [];
  for (let i = 0; i < buffer.buffered.length; i++)
    ranges.push([buffer.buffered.start(i), buffer.buffered.end(i)]);
  source.endOfStream();
  video.playbackRate = rate;
  await video.play();
  await new Promise((done) => {
    video.addEventListener("ended", done, { once: true });
    video.addEventListener("error", done, { once: true });
    setTimeout(done, 20000);
  });
  return {
    error: video.error?.message ?? null,
    ranges,
    at_s: video.currentTime,
    ended: video.ended,
    pictures: video.getVideoPlaybackQuality().totalVideoFrames,
    sound: video.webkitAudioDecodedByteCount,
  };
}
"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--headless=new", "--no-sandbox", "--disable-gpu"],
        )
        yield await browser.new_page()
        await browser.close()


def _pieces(reader: RecordingReader) -> list[dict[str, str]]:
    """All that a player appends, in order: an init wherever it changes, and the fragments."""
    index, pieces, current = reader.describe(), [], -1
    for fragment in index.fragments:
        mime = index.inits[fragment.init].mime
        if fragment.init != current:
            current = fragment.init
            pieces.append((mime, reader.init(Side.CANDIDATE, current)))
        pieces.append((mime, reader.fragment(fragment.seq)))
    return [{"mime": mime, "data": base64.b64encode(data).decode()} for mime, data in pieces]


async def _play(page: Page, desk: Desk, frames: list[EncodedFrame]) -> dict[str, Any]:
    desk.write(sorted(frames, key=lambda frame: frame.arrived_s))
    played: dict[str, Any] = await page.evaluate(
        _PLAY, {"pieces": _pieces(desk.reader()), "rate": 4}
    )
    return played


def _plays_through(played: dict[str, Any], seconds: float) -> None:
    assert played["error"] is None
    assert played["ended"], played
    assert played["at_s"] == pytest.approx(seconds, abs=0.1)
    ((start_s, end_s),) = played["ranges"]
    assert (start_s, end_s) == pytest.approx((0, seconds), abs=0.1)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
async def test_an_interview_plays_to_its_end(page: Page, desk: Desk, codec: Codec) -> None:
    played = await _play(page, desk, interview(codec, 4))
    _plays_through(played, 4)
    assert played["pictures"] > 30
    assert played["sound"] > 0


@pytest.mark.parametrize("codec", VIDEO_CODECS)
async def test_a_troubled_interview_plays_through_without_a_hole(
    page: Page, desk: Desk, codec: Codec
) -> None:
    """Sound before pictures, a camera that pauses, sparse sound, and a short gap of both."""
    frames = [frame for index, frame in enumerate(microphone(4)) if index < 60 or index % 20 == 0]
    frames += camera(codec, 1, START_S + 1.5) + camera(codec, 1, START_S + 3)
    frames += interview(codec, 2, START_S + 7)
    played = await _play(page, desk, frames)
    _plays_through(played, 9)
    assert played["pictures"] > 30


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264])
@pytest.mark.parametrize("late_s", [-0.05, 0.01, 0.02, 0.3])
async def test_sound_that_comes_earlier_or_later_than_pictures_costs_none_of_them(
    page: Page, desk: Desk, codec: Codec, late_s: float
) -> None:
    late = [replace(each, arrived_s=each.arrived_s + late_s) for each in microphone(8)]
    pictures = camera(codec, 8, keyframe_s=4.0)
    played = await _play(page, desk, pictures + late)
    _plays_through(played, 8)
    assert played["pictures"] >= 230


async def test_sound_alone_plays(page: Page, desk: Desk) -> None:
    played = await _play(page, desk, microphone(2))
    _plays_through(played, 2)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
async def test_pictures_alone_play_and_a_rotation_too(page: Page, desk: Desk, codec: Codec) -> None:
    upright = camera(codec, 2, START_S + 2, width=120, height=160)
    played = await _play(page, desk, camera(codec, 2) + upright)
    _plays_through(played, 4)


@pytest.mark.parametrize(
    ("old", "new"),
    [(Codec.VP8, Codec.H264), (Codec.H264, Codec.AV1), (Codec.AV1, Codec.VP9)],
)
async def test_a_change_of_codec_plays_on_after_change_type(
    page: Page, desk: Desk, old: Codec, new: Codec
) -> None:
    played = await _play(page, desk, interview(old, 2) + interview(new, 2, START_S + 2))
    _plays_through(played, 4)


_PLAY_FILE = """
async (data) => {
  const video = document.createElement("video");
  document.body.append(video);
  const happens = (name) => new Promise((done) => {
    video.addEventListener(name, done, { once: true });
    video.addEventListener("error", done, { once: true });
    setTimeout(done, 20000);
  });
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  await happens("loadeddata");
  const seen_s = [];
  const seen = (to_s) => new Promise((done) => {  // a picture of before may come first
    const shown = (_, { mediaTime }) => {
      if (Math.abs(mediaTime - to_s) < 0.2) done(mediaTime);
      else video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
    setTimeout(() => done(null), 20000);
  });
  for (const to_s of [2.51, 0.51, 3.51]) {
    const picture = seen(to_s);
    video.currentTime = to_s;
    seen_s.push(await picture);
  }
  video.currentTime = 0;
  await happens("seeked");
  video.playbackRate = 4;
  await video.play();
  await happens("ended");
  return {
    error: video.error?.message ?? null,
    seen_s,
    duration_s: video.duration,
    ended: video.ended,
    sound: video.webkitAudioDecodedByteCount,
  };
}
"""


@pytest.mark.parametrize("codec", VIDEO_CODECS)
async def test_an_exported_file_plays_and_seeks_to_its_pictures(
    page: Page, desk: Desk, codec: Codec, tmp_path: Path
) -> None:
    """Copied, or encoded with pictures out of order; signed."""
    desk.write(interview(codec, 4))
    reader, path = desk.reader(), tmp_path / "out.mp4"
    made, signer = made_of(reader, (0, 4_000_000)), desk.keys.claim_signer(START_S)
    credentials = Credentials(made, signer, START_S)
    export(reader, path, lambda share: None, credentials=credentials)
    played = await page.evaluate(_PLAY_FILE, base64.b64encode(path.read_bytes()).decode())
    assert (played["error"], played["ended"]) == (None, True)
    assert played["duration_s"] == pytest.approx(4, abs=0.05)
    assert played["seen_s"] == pytest.approx([2.5, 0.5, 3.5], abs=0.001)
    assert played["sound"] > 0
