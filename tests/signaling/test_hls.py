"""HTTP Live Streaming as players take it: FFmpeg, and hls.js in Chromium in Safari's place."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from server.core.frames import Codec, EncodedFrame
from server.core.interviews import Role
from tests.recorder.encoded import START_S, in_order, interview, interviewer, screen
from tests.signaling.serving import Serving
from tests.signaling.test_replay import record, viewings

HLS_JS = Path(__file__).parents[2] / "node_modules" / "hls.js" / "dist" / "hls.min.js"
_VP8 = interview(Codec.VP8, 1)


def address(serving: Serving, side: str = "candidate", token: str | None = None) -> str:
    token = token or serving.token(Role.RECRUITER)
    return f"{serving.server.base_url}/hls/{token}/{serving.one.interview_id}/{side}/index.m3u8"


async def kept(serving: Serving, frames: list[EncodedFrame]) -> None:
    await record(serving, serving.one.interview_id, frames)


async def probe(url: str, *more: str) -> dict[str, Any]:
    """What ffprobe finds, which reads all of it."""
    process = await asyncio.create_subprocess_exec(
        *("ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_packets"),
        *(*more, url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, complaints = await process.communicate()
    assert (process.returncode, complaints.decode()) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def times(found: dict[str, Any], kind: str) -> list[float]:
    return [float(p["pts_time"]) for p in found["packets"] if p["codec_type"] == kind]


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP9, Codec.AV1])
async def test_ffmpeg_reads_every_picture_and_sound(serving: Serving, codec: Codec) -> None:
    await kept(serving, interview(codec, 5))
    found = await probe(address(serving), "-count_frames")
    streams = {each["codec_type"]: each for each in found["streams"]}
    assert streams["video"]["codec_name"] == codec.lower()
    assert int(streams["video"]["nb_read_frames"]) == 150
    assert len(times(found, "audio")) == 250
    (viewing,) = await viewings(serving)
    assert (viewing["role"], viewing["way"], viewing["start_s"]) == ("recruiter", "hls", 0.0)
    assert viewing["end_s"] == pytest.approx(5.0, abs=0.05)


async def test_ffmpeg_passes_over_what_was_not_recorded(serving: Serving) -> None:
    await kept(serving, interview(seconds=2) + interview(seconds=2, start_s=START_S + 30))
    video = times(await probe(address(serving)), "video")
    assert len(video) == 120
    assert max(video) - min(video) == pytest.approx(32, abs=0.2)


async def test_a_screen_and_an_interviewer_play_by_themselves(serving: Serving) -> None:
    frames = in_order(
        interview(seconds=8),
        screen(Codec.H264, 2, START_S + 2),
        interviewer(Codec.H264, 2, START_S + 4),
    )
    await kept(serving, frames)
    shared = await probe(address(serving, "screen"))
    assert [each["width"] for each in shared["streams"]] == [200]
    assert len(times(shared, "video")) == 60
    spoken = await probe(address(serving, "interviewer"))
    assert len(times(spoken, "video")) == 60
    assert len(times(spoken, "audio")) >= 100


async def test_every_segment_carries_its_proof(serving: Serving) -> None:
    """`tests/recorder/test_live_credentials.py` checks them; here, that a server gives them."""
    await kept(serving, interview(seconds=2))
    url = address(serving).replace("index.m3u8", "")
    for playlist in ("vod.m3u8", "event.m3u8"):
        async with serving.http.get(url + playlist) as answer:
            lines = (await answer.text()).splitlines()
        init = next(line.split('"')[1] for line in lines if line.startswith("#EXT-X-MAP"))
        async with serving.http.get(url + init) as answer:
            assert b"c2pa.session-keys" in await answer.read()
        for name in (line for line in lines if line.endswith(".m4s")):
            async with serving.http.get(url + name) as answer:
                assert b"urn:c2pa:verifiable-segment-info\0fseg\0" in await answer.read()


async def test_an_init_asked_for_by_ranges_is_one(serving: Serving) -> None:
    """Signing it anew would give other bytes each time."""
    await kept(serving, interview(seconds=1))
    url = address(serving).replace("index.m3u8", "")
    async with serving.http.get(url + "vod.m3u8") as answer:
        init = (await answer.text()).split('MAP:URI="')[1].split('"')[0]
    parts = []
    for asked in ("bytes=0-999", "bytes=1000-"):
        async with serving.http.get(url + init, headers={"Range": asked}) as answer:
            parts.append(await answer.read())
    async with serving.http.get(url + init) as answer:
        assert await answer.read() == b"".join(parts)


async def test_parts_are_given_by_ranges(serving: Serving) -> None:
    await kept(serving, interview(seconds=2))
    url = address(serving).replace("index.m3u8", "1-2.m4s")
    async with serving.http.get(url) as answer:
        whole = await answer.read()
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.content_type == "video/mp4"
    size = len(whole)
    for asked, status, told, part in (
        ("bytes=0-9", 206, f"bytes 0-9/{size}", whole[:10]),
        ("bytes=100-", 206, f"bytes 100-{size - 1}/{size}", whole[100:]),
        ("bytes=-7", 206, f"bytes {size - 7}-{size - 1}/{size}", whole[-7:]),
        (f"bytes=5-{size + 5}", 206, f"bytes 5-{size - 1}/{size}", whole[5:]),
        (f"bytes={size}-", 416, f"bytes */{size}", b""),
        ("bytes=x", 200, None, whole),
    ):
        async with serving.http.get(url, headers={"Range": asked}) as answer:
            assert (answer.status, answer.headers.get("Content-Range")) == (status, told), asked
            assert await answer.read() == part


async def test_vp8_is_refused_with_what_to_do_instead(serving: Serving) -> None:
    await kept(serving, _VP8)
    for name in ("index.m3u8", "event.m3u8", "vod.m3u8"):
        url = address(serving).replace("index.m3u8", name)
        status, body = await serving.call("GET", url)
        assert (status, body["error"]["id"]) == (406, "no-hls")
        assert "in the page" in body["error"]["message"]


async def test_what_no_playlist_names_is_not_found(serving: Serving) -> None:
    await kept(serving, interview(seconds=1))
    for name in ("0-1.m4s", "2-1.m4s", "1-101.m4s", "1-99.m4s", "init-7-00000000.mp4", "x.mp4"):
        status, body = await serving.call("GET", address(serving).replace("index.m3u8", name))
        assert (status, body["error"]["id"]) == (404, "not-found"), name
    assert (await serving.call("GET", address(serving, "screen")))[0] == 404
    assert (await serving.call("GET", address(serving, "nobody")))[0] == 404
    assert await viewings(serving) == []


async def test_no_other_link_opens_it(serving: Serving) -> None:
    await kept(serving, interview(seconds=1))
    for token in (
        serving.token(Role.CANDIDATE),
        serving.token(Role.OBSERVER),
        serving.token(Role.RECRUITER, serving.two),
    ):
        assert (await serving.call("GET", address(serving, token=token)))[0] == 403
    assert (await serving.call("GET", address(serving, token="v1.x.y")))[0] == 401


# ---- hls.js -----------------------------------------------------------------------------

_PLAY = """
async ({ address, rate, seeks }) => {
  const video = document.createElement("video");
  document.body.append(video);
  const player = new Hls({ maxBufferLength: 60 });
  const errors = [];
  player.on(Hls.Events.ERROR, (_, { fatal, details }) => errors.push({ fatal, details }));
  player.loadSource(address);
  player.attachMedia(video);
  const within = (ms, promise) => Promise.race([
    promise,
    new Promise((_, fail) => setTimeout(() => fail(new Error(JSON.stringify(errors))), ms)),
  ]);
  await within(30000, new Promise((ok) => (video.onloadeddata = ok)));
  const picture = () => within(4000, new Promise((ok) =>
    video.requestVideoFrameCallback((_, metadata) => ok(metadata.mediaTime))));
  const shown = [];
  for (const time of seeks) {
    for (let tries = 0; ; tries += 1) {
      video.currentTime = time + tries / 1000;  // a page that nobody sees may miss a picture
      try {
        shown.push(await picture());
        break;
      } catch (error) {
        if (tries === 3) throw error;
      }
    }
  }
  video.currentTime = 0;
  video.playbackRate = rate;
  video.muted = true;
  await video.play();
  await new Promise((ok) => {
    video.addEventListener("ended", ok, { once: true });
    setTimeout(ok, 20000);
  });
  const { currentTime, ended, duration } = video;
  return { errors, shown, currentTime, ended, duration,
           pictures: video.getVideoPlaybackQuality().totalVideoFrames };
}
"""


@pytest.fixture
async def page(serving: Serving) -> AsyncIterator[Page]:
    """On the server's own origin, with hls.js."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--headless=new", "--no-sandbox", "--disable-gpu"],
        )
        page = await browser.new_page(bypass_csp=True)
        await page.goto(f"{serving.server.base_url}/healthz")
        await page.add_script_tag(path=str(HLS_JS))
        yield page
        await browser.close()


async def played(page: Page, serving: Serving, *seeks: float) -> dict[str, Any]:
    wanted = {"address": address(serving), "rate": 4, "seeks": list(seeks)}
    result: dict[str, Any] = await page.evaluate(_PLAY, wanted)
    assert [each for each in result["errors"] if each["fatal"]] == []
    return result


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP9, Codec.AV1])
async def test_hls_js_plays_to_the_end_and_seeks(
    serving: Serving, page: Page, codec: Codec
) -> None:
    await kept(serving, interview(codec, 10))
    result = await played(page, serving, 7.51, 2.26, 4.01)
    assert result["shown"] == pytest.approx([7.5, 2.25, 4.0], abs=1 / 30)
    assert result["ended"], result
    assert result["duration"] == pytest.approx(10, abs=0.1)


async def test_hls_js_goes_on_after_another_coding(serving: Serving, page: Page) -> None:
    await kept(serving, interview(Codec.H264, 4) + interview(Codec.VP9, 4, START_S + 4))
    result = await played(page, serving, 6.51, 1.51)
    assert result["shown"] == pytest.approx([6.5, 1.5], abs=1 / 30)
    assert result["ended"], result


_GOES_ON = """
async ({ address, seeks }) => {
  const video = document.createElement("video");
  video.muted = true;
  document.body.append(video);
  const player = new Hls({ maxBufferLength: 60 });
  player.loadSource(address);
  player.attachMedia(video);
  await new Promise((ok) => (video.onloadeddata = ok));
  await video.play();
  const reached = [];
  for (const time of seeks) {
    video.currentTime = time;
    await new Promise((ok) => {
      const goesOn = () => !video.seeking && video.currentTime > time + 0.3;
      const look = () => (goesOn() ? ok() : setTimeout(look, 20));
      look();
    });
    reached.push(video.currentTime);
  }
  return reached;
}
"""


async def test_hls_js_goes_on_where_it_seeks_beyond_a_gap(serving: Serving, page: Page) -> None:
    """A last picture that lasted through the gap made hls.js put all that follows too late."""
    await kept(serving, interview(Codec.H264, 10) + interview(Codec.H264, 10, START_S + 24))
    seeks = {30: 30, 2: 2, 24: 24, 3: 3, 25.5: 25.5, 20: 24}  # where, and where it goes on
    wanted = {"address": address(serving), "seeks": list(seeks)}
    reached = await page.evaluate(_GOES_ON, wanted)
    assert all(0 < each - at < 4 for each, at in zip(reached, seeks.values(), strict=True)), reached
