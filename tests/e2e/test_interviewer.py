"""An interviewer, a candidate and an observer in real browsers, told apart by colour and pitch."""

import asyncio
import wave
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from playwright.async_api import Browser, Page

from tests.e2e.chromium import ChromiumLauncher, FakeDevices
from tests.e2e.media_files import FPS, HEIGHT, RATE_HZ, WIDTH
from tests.e2e.pages import PATIENCE_MS, finished, join, leave, recorded
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_one_device import WITHOUT

#: Who is which: the colour of their camera (RGB), the pitch of their bursts in Hz.
RED, BLUE = (220, 30, 30), (30, 30, 220)
CANDIDATE_HZ, INTERVIEWER_HZ = 440, 1300

_COLOUR = """(id) => {
  const video = document.getElementById(id);
  const canvas = new OffscreenCanvas(64, 36);
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 64, 36);
  return [...context.getImageData(32, 18, 1, 1).data.slice(0, 3)];
}"""
#: Some seconds of each pitch, in dBFS of one FFT bin.
_PITCHES = """async ([id, pitches, seconds, played]) => {
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, {fftSize: 4096, smoothingTimeConstant: 0});
  const media = document.getElementById(id);
  if (played) {
    const source = context.createMediaElementSource(media);
    source.connect(analyser);
  } else {
    context.createMediaStreamSource(media.srcObject).connect(analyser);
  }
  const bins = new Float32Array(analyser.frequencyBinCount);
  const levels = pitches.map(() => []);
  const end = performance.now() + 1000 * seconds;
  while (performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 40));
    analyser.getFloatFrequencyData(bins);
    pitches.forEach((hz, n) => {
      const bin = Math.round(hz / context.sampleRate * analyser.fftSize);
      levels[n].push(Math.max(-200, ...bins.slice(bin - 2, bin + 3)));
    });
  }
  if (!played) await context.close();
  return levels;
}"""


def write_devices(folder: Path, colour: tuple[int, int, int], pitch_hz: int) -> FakeDevices:
    """A camera of one colour with a stripe that moves, a microphone of bursts of one pitch."""
    made = FakeDevices(folder / f"{pitch_hz}.mjpeg", folder / f"{pitch_hz}.wav")
    encoder = VideoCodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
    encoder.time_base = Fraction(1, FPS)
    with made.camera.open("wb") as file:
        for number in range(2 * FPS):
            picture = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
            picture[: HEIGHT // 8, number * 10 : number * 10 + 30] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj420p")
            frame.pts = number
            for packet in encoder.encode(frame):
                file.write(bytes(packet))
    at_s = np.arange(4 * RATE_HZ) / RATE_HZ
    loud = (at_s % 0.5 < 0.2) * (1 + np.sin(2 * np.pi * 7 * at_s)) / 2
    tone = np.sin(2 * np.pi * pitch_hz * at_s) * loud * 20_000
    with wave.open(str(made.microphone), "wb") as file_:
        file_.setnchannels(1)
        file_.setsampwidth(2)
        file_.setframerate(RATE_HZ)
        file_.writeframes(tone.astype(np.int16).tobytes())
    return made


async def shows(page: Page, video: str, colour: tuple[int, int, int]) -> None:
    """Returns once that video shows the colour. Raises TimeoutError."""
    await page.wait_for_function(
        f"([id, colour]) => ({_COLOUR})(id).every((value, n) => Math.abs(value - colour[n]) < 60)",
        arg=[video, list(colour)],
        timeout=PATIENCE_MS,
    )


async def heard(page: Page, media: str, *, played: bool = False) -> Mapping[int, list[float]]:
    """Each pitch's level in dBFS, again and again for three seconds."""
    pitches = [CANDIDATE_HZ, INTERVIEWER_HZ]
    levels = await page.evaluate(_PITCHES, [media, pitches, 3, played])
    return dict(zip(pitches, levels, strict=True))


def only(pitches: Mapping[int, list[float]], wanted_hz: int) -> bool:
    """Whether that pitch, and no other, is there: 30 dB above.

    A voice is there for two fifths of the time. Where sound is mended, on a busy machine, there
    is a moment of all pitches.
    """
    (other,) = set(pitches) - {wanted_hz}
    loudest = max(pitches[wanted_hz])
    beside = sum(level > loudest - 30 for level in pitches[other])
    return loudest > -60 and beside < 0.15 * len(pitches[other])


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeDevices, FakeDevices]:
    folder = tmp_path_factory.mktemp("people")
    return (
        write_devices(folder, RED, CANDIDATE_HZ),
        write_devices(folder, BLUE, INTERVIEWER_HZ),
    )


async def interviewer_joins(browser: Browser, url: str) -> Page:
    page = await browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    await page.goto(url)
    await page.locator("#join:enabled").click()
    await page.locator('#link-state[data-tone="good"]').wait_for()
    return page


@pytest.mark.timeout(240)
async def test_candidate_and_interviewer_see_and_hear_each_other_and_all_is_recorded(
    server: ServerProcess,
    chromium: ChromiumLauncher,
    people: tuple[FakeDevices, FakeDevices],
    tmp_path: Path,
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch(devices=people[0])).new_page()
    await join(candidate, invited["candidate_url"])
    assert await candidate.locator("#picture-interviewer").is_hidden()
    observer = await (await chromium.launch()).new_page()
    await observer.goto(invited["observer_url"])
    await shows(observer, "video", RED)
    assert await observer.locator("#picture-interviewer").is_hidden()

    interviewer = await interviewer_joins(
        await chromium.launch(devices=people[1]), invited["interviewer_url"]
    )
    await shows(candidate, "interviewer", BLUE)
    await shows(interviewer, "video", RED)
    await shows(observer, "interviewer", BLUE)
    await shows(observer, "video", RED)
    to_candidate, to_interviewer, of_interviewer, of_candidate = await asyncio.gather(
        heard(candidate, "interviewer"),
        heard(interviewer, "video"),
        heard(observer, "interviewer"),
        heard(observer, "video"),
    )
    assert only(to_candidate, INTERVIEWER_HZ)
    assert only(to_interviewer, CANDIDATE_HZ)
    assert only(of_interviewer, INTERVIEWER_HZ)
    assert only(of_candidate, CANDIDATE_HZ)
    # A candidate's page shows the interviewer large, and says so in words, too.
    boxes = [await candidate.locator(f"#{each}").bounding_box() for each in ("interviewer", "self")]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["width"] > 2 * boxes[1]["width"]
    assert "interviewer is here" in str(
        await candidate.locator("#interviewer-status").text_content()
    )
    assert "Observer" in str(await interviewer.locator("#watchers").text_content())

    await leave(interviewer)
    await candidate.locator("#picture-interviewer").wait_for(state="hidden")
    await observer.locator("#picture-interviewer").wait_for(state="hidden")
    await recorded(candidate)
    await leave(candidate)
    index = await finished(server, invited)
    assert index["tracks"] == [
        "camera",
        "microphone",
        "interviewer-camera",
        "interviewer-microphone",
    ]
    events = {each["event"]: each["at_s"] for each in index["events"]}
    assert list(events) == ["joined", "interviewer-joined", "interviewer-left", "left"]
    assert index["gaps"] == []
    await _replays(chromium, invited["recruiter_url"], events["interviewer-joined"])
    await _exports(server, invited, tmp_path / "out.mp4")


async def _replays(chromium: ChromiumLauncher, recruiter_url: str, came_s: float) -> None:
    page = await (await chromium.launch()).new_page()
    page.set_default_timeout(PATIENCE_MS)
    await page.goto(recruiter_url.replace("/observe#", "/recordings#"))
    await page.locator("#seek").fill(str(came_s + 1))
    await page.locator("#play").click()
    await shows(page, "replay-interviewer", BLUE)
    await shows(page, "replay-video", RED)
    await _run_together(page)
    await page.locator("#seek").fill(str(came_s + 1))
    of_interviewer, of_candidate = await asyncio.gather(
        heard(page, "replay-interviewer", played=True), heard(page, "replay-video", played=True)
    )
    assert only(of_interviewer, INTERVIEWER_HZ)
    assert only(of_candidate, CANDIDATE_HZ)
    await page.locator("#seek").fill("0")
    await page.locator("#replay-picture-interviewer").wait_for(state="hidden")


async def _run_together(page: Page) -> None:
    """Returns once both have been at one place for a second of their playing."""
    await page.evaluate(
        """async () => {
          const [one, other] = ['replay-interviewer', 'replay-video'].map((id) =>
            document.getElementById(id));
          let since = one.currentTime;
          while (one.currentTime < since + 1) {
            await new Promise((resolve) => setTimeout(resolve, 40));
            const apart_s = Math.abs(one.currentTime - other.currentTime);
            if (apart_s >= 0.12) since = one.currentTime;
            if (one.ended) throw new Error(`${apart_s} s apart at the end`);
          }
        }"""
    )


async def _exports(server: ServerProcess, invited: dict[str, Any], out: Path) -> None:
    await server.command("export", invited["interview_id"], "-o", str(out))
    await server.command("verify", str(server.recording(invited)))
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio", "video"]
        for stream, colour in zip(container.streams.video, (RED, BLUE), strict=True):
            container.seek(0)
            *_, last = container.decode(stream)
            centre = last.to_ndarray(format="rgb24")[last.height // 2, last.width // 2]
            assert np.abs(centre.astype(int) - colour).max() < 60
    with av.open(str(out)) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    power = np.abs(np.fft.rfft(np.concatenate(frames)))
    hz = np.fft.rfftfreq(sum(map(len, frames)), 1 / 48_000)

    def of(pitch_hz: int) -> Any:
        return power[np.abs(hz - pitch_hz) < 20].max()

    between = np.median(power[(hz > 2000) & (hz < 3000)])
    assert of(CANDIDATE_HZ) > 30 * between
    assert of(INTERVIEWER_HZ) > 30 * between


@pytest.mark.timeout(180)
async def test_an_interviewer_without_a_camera_is_heard_and_a_newer_one_takes_over(
    server: ServerProcess, chromium: ChromiumLauncher, people: tuple[FakeDevices, FakeDevices]
) -> None:
    invited = await server.invite("Backend engineer")
    browser = await chromium.launch(devices=people[1])
    first = await browser.new_page()
    await first.add_init_script(WITHOUT % "video")
    first.set_default_timeout(PATIENCE_MS)
    await first.goto(invited["interviewer_url"])
    await first.locator("#join:enabled").click()
    await first.locator("#empty-title", has_text="Waiting").wait_for()
    candidate = await (await chromium.launch(devices=people[0])).new_page()
    await join(candidate, invited["candidate_url"])
    await candidate.locator("#picture-interviewer .unseen").wait_for()
    # Not only does it arrive: the element plays it, though no picture ever comes.
    await candidate.wait_for_function(
        "() => document.getElementById('interviewer').currentTime > 1", timeout=PATIENCE_MS
    )
    assert only(await heard(candidate, "interviewer"), INTERVIEWER_HZ)

    second = await interviewer_joins(browser, invited["interviewer_url"])
    await first.locator("#over-title", has_text="Another interviewer").wait_for()
    await shows(candidate, "interviewer", BLUE)
    assert only(await heard(candidate, "interviewer"), INTERVIEWER_HZ)
    for page, elsewhere in ((second, candidate), (candidate, second)):
        picture = "#picture-interviewer" if elsewhere is candidate else "#picture-camera"
        note = elsewhere.locator(f"{picture} .camera-off")
        assert not await note.is_visible()
        await page.locator("#toggle-camera").click()
        await note.wait_for()
        await page.locator("#toggle-camera").click()
        await note.wait_for(state="hidden")
    await candidate.locator("#toggle-microphone").click()
    await second.reload()  # and comes back without a click
    await second.locator('#link-state[data-tone="good"]').wait_for()
    await shows(candidate, "interviewer", BLUE)
    await shows(second, "video", RED)
    await leave(candidate)
    index = await finished(server, invited)
    events = [each["event"] for each in index["events"]]
    assert events[:2] == ["interviewer-joined", "joined"]
    assert "microphone-off" in events
    # The interviewer was taken over from twice: what that cost is theirs, none the candidate's.
    assert {each["track"].partition("-")[0] for each in index["gaps"]} <= {"interviewer"}
