"""The replay's page in a real browser, on recordings whose pictures say which ones they are."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import av
import pytest
from msgspec.structs import replace
from playwright.async_api import Browser, Page, Route, async_playwright

from server.core.frames import Codec, EncodedFrame
from server.core.interviews import Role
from tests.e2e.pages import PATIENCE_MS
from tests.recorder.conftest import POLICY
from tests.recorder.encoded import (
    FPS,
    NUMBER_BITS,
    START_S,
    camera,
    in_order,
    interviewer,
    microphone,
    numbered,
    screen,
)
from tests.signaling.serving import Serving, open_serving
from tests.signaling.test_replay import record, viewings

#: A player, and how far behind the interview it may be.
MOST_BEHIND_S = 10.0
#: A browser that has dropped pictures shows none until the next keyframe, up to four seconds.
MOST_FROZEN_S = 1.5
#: The number that the shown picture says.
NUMBER_SHOWN = f"""(() => {{
  const video = document.getElementById("replay-video");
  const canvas = new OffscreenCanvas(320, 180);
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 320, 180);
  let number = 0;
  for (let bit = 0; bit < {NUMBER_BITS}; bit += 1) {{
    const [level] = context.getImageData(bit * 20 + 10, 40, 1, 1).data;
    number = number * 2 + (level > 128 ? 1 : 0);
  }}
  return number;
}})()"""

#: What of the page moved by itself, and by how much (Layout Instability); less is not seen.
MOVED = """window.moved = [];
new PerformanceObserver((list) => {
  for (const { value, sources } of list.getEntries()) {
    if (value > 0.001) moved.push([value, ...sources.map(({ node }) => node?.textContent)]);
  }
}).observe({ type: "layout-shift", buffered: true });"""
TWO_FRAMES = """new Promise((drawn) =>
  requestAnimationFrame(() => requestAnimationFrame(drawn)))"""


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    async with open_serving(tmp_path) as serving:
        yield serving


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--headless=new", "--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Browser) -> Page:
    page = await browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    return page


def says_numbers(codec: Codec, seconds: float, start_s: float = START_S) -> list[EncodedFrame]:
    pictures = camera(codec, seconds, start_s, width=320, height=180, keyframe_s=4.0, draw=numbered)
    return in_order(pictures, microphone(seconds, start_s))


def sound_late(frames: list[EncodedFrame], late_s: float) -> list[EncodedFrame]:
    """The same, of which sound arrives so much later than pictures of its time."""
    late = [
        replace(each, arrived_s=each.arrived_s + late_s * each.track.is_sound) for each in frames
    ]
    return sorted(late, key=lambda frame: frame.arrived_s)


async def open_replay(page: Page, serving: Serving, query: str = "") -> None:
    token = serving.token(Role.RECRUITER)
    await page.goto(f"{serving.server.base_url}/recordings{query}#{token}")


async def shows(page: Page, number: int) -> None:
    """Returns once the picture with this number is shown, and no seek is under way."""
    await page.wait_for_function(
        f"""(number) => {{
          const {{ readyState, seeking }} = document.getElementById('replay-video');
          return readyState > 1 && !seeking && {NUMBER_SHOWN} === number;
        }}""",
        arg=number,
    )


async def seek(page: Page, time_s: float) -> None:
    await page.evaluate(
        """(time) => {
          const bar = document.getElementById('seek');
          bar.value = String(time);
          bar.dispatchEvent(new Event('input'));
        }""",
        time_s,
    )


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8, Codec.VP9])
@pytest.mark.timeout(180)
async def test_seeks_and_steps_are_exact_to_the_picture(
    serving: Serving, page: Page, codec: Codec
) -> None:
    await record(serving, serving.one.interview_id, says_numbers(codec, 12))
    await open_replay(page, serving)
    await shows(page, 0)
    for number in (100, 311, 7, 119, 120, 241):
        await seek(page, round((number + 0.5) / FPS, 2))
        await shows(page, number)
    for key, numbers in ((".", (242, 243, 244)), (",", (243, 242, 241, 240, 239, 238))):
        for number in numbers:
            await page.keyboard.press(key)
            await shows(page, number)
    await page.locator("#frame").click()
    await shows(page, 239)
    await page.keyboard.press("Home")
    await shows(page, 0)
    await page.keyboard.press("l")
    await shows(page, 300)
    await page.keyboard.press("ArrowLeft")
    await shows(page, 150)
    await page.keyboard.press("End")
    await shows(page, 359)
    (first, *more) = await viewings(serving)
    assert (first["way"], first["start_s"]) == ("replay", 0.0)
    # How much was read ahead is the machine's: a row for each place sought at most, of which there
    # are ten, and none for each of the 16 fragments.
    assert len(more) <= 10


@pytest.mark.timeout(120)
async def test_speed_sound_and_help_follow_their_keys_and_buttons(
    serving: Serving, page: Page
) -> None:
    await record(serving, serving.one.interview_id, says_numbers(Codec.H264, 12))
    await open_replay(page, serving)
    await shows(page, 0)
    video = "document.getElementById('replay-video')"
    for speed in ("0.5", "2"):
        await page.locator("#speed").select_option(speed)
        assert await page.evaluate(f"{video}.playbackRate") == float(speed)
    await page.locator("#replay-title").click()
    await page.keyboard.press("m")
    assert await page.evaluate(f"{video}.muted")
    assert await page.locator("#mute").get_attribute("aria-pressed") == "true"
    await page.keyboard.press("ArrowDown")
    assert await page.evaluate(f"[{video}.muted, {video}.volume]") == [False, 0.9]
    await page.keyboard.press("?")
    assert await page.locator("#keys-dialog dt").count() == 10
    await page.keyboard.press("k")  # belongs to the dialog
    assert await page.evaluate(f"{video}.paused")
    await page.keyboard.press("Escape")
    await page.keyboard.press("k")
    await page.wait_for_function(f"() => {video}.ended", timeout=PATIENCE_MS)
    ended_s = await page.evaluate(f"{video}.currentTime")
    assert ended_s == pytest.approx(12, abs=0.1)


@pytest.mark.timeout(120)
async def test_a_replay_begins_at_the_moment_of_its_link_or_where_it_was_left(
    serving: Serving, page: Page
) -> None:
    await record(serving, serving.one.interview_id, says_numbers(Codec.H264, 12))
    await open_replay(page, serving, "?t=4.05")
    await shows(page, 121)
    assert min(each["start_s"] for each in await viewings(serving)) == 4, "nothing before is read"
    await seek(page, 6.05)
    await shows(page, 181)
    await open_replay(page, serving)  # only the query changes: the same document otherwise
    await page.reload()
    await shows(page, 181)


@pytest.mark.timeout(120)
async def test_gaps_and_events_are_told_and_a_press_leads_there(
    serving: Serving, page: Page
) -> None:
    frames = says_numbers(Codec.H264, 6) + says_numbers(Codec.H264, 6, START_S + 20)
    await record(serving, serving.one.interview_id, frames)
    await open_replay(page, serving)
    gap = page.locator("#marks-list button")
    await gap.wait_for()
    assert "14.0 s" in (await gap.text_content() or "")
    await gap.click()
    await shows(page, 0)
    at_s = await page.evaluate("document.getElementById('replay-video').currentTime")
    assert at_s == pytest.approx(20, abs=0.1)
    await page.locator("#gap-note").wait_for()
    box = await page.locator("#seek").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "14.0 s" in (await page.locator("#seek-tip").text_content() or "")


# ---- as a file --------------------------------------------------------------------------


@pytest.mark.timeout(180)
async def test_a_part_marked_on_the_timeline_is_saved_though_the_page_was_closed_meanwhile(
    serving: Serving, page: Page, tmp_path: Path
) -> None:
    await record(serving, serving.one.interview_id, says_numbers(Codec.H264, 12))
    await open_replay(page, serving)
    await shows(page, 0)
    await seek(page, 4.05)
    await page.keyboard.press("i")
    await seek(page, 7.05)
    await page.keyboard.press("o")
    assert await page.locator("#clip-start").input_value() == "0:04.1"
    await page.locator("#clip-start").fill("0:05")
    await page.locator("#clip-end-here").focus()
    clip = await page.evaluate("document.getElementById('clip-span').style.cssText")
    assert clip.startswith("left: 41.6"), "5 s of 12 s"
    await page.locator("#export-everywhere").check()
    await page.locator("#export").click()
    await page.locator("#exports li").wait_for()
    await page.reload()
    await page.locator('#exports li[data-state="ready"]').wait_for()
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Save").click()
    saved = tmp_path / (await download.value).suggested_filename
    await (await download.value).save_as(saved)
    assert saved.name == "One.mp4"
    with av.open(str(saved)) as container:
        assert container.duration == pytest.approx(2.05e6, abs=1e5)
    await page.get_by_role("button", name="Remove").click()
    await page.locator("#exports li").wait_for(state="detached")
    assert {each["way"] for each in await viewings(serving)} == {"replay", "export"}


async def test_what_is_beside_begins_where_the_replay_does(serving: Serving, page: Page) -> None:
    interview = serving.one.interview_id
    await record(serving, interview, in_order(says_numbers(Codec.H264, 12), screen(Codec.H264, 12)))
    await open_replay(page, serving, f"?interview={interview}&t=9.05")
    await page.locator("#replay-picture-screen").wait_for()
    await page.wait_for_function("() => document.getElementById('replay-screen').readyState > 1")
    await shows(page, 271)
    assert min(each["start_s"] for each in await viewings(serving)) > 7


async def test_nothing_moves_once_a_replay_is_shown(serving: Serving, page: Page) -> None:
    """What is asked for last of it answers last, and takes room."""
    interview = serving.one.interview_id
    await record(serving, interview, says_numbers(Codec.H264, 3))
    token = serving.token(Role.RECRUITER)
    asking = serving.call("POST", f"/api/recordings/{interview}/exports", token, json={})
    assert (await asking)[0] == 201
    asked, all_asked, shown = set[str](), asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        asked.add(route.request.url.rpartition("/")[2])
        if asked == {"exports", "viewings"}:
            all_asked.set()
        await shown.wait()
        await route.continue_()

    for part in ("exports", "viewings"):
        await page.route(f"**/api/recordings/*/{part}", late)
    await page.add_init_script(MOVED)
    await open_replay(page, serving)
    await all_asked.wait()
    await page.evaluate(TWO_FRAMES)
    shown.set()
    await page.locator("#exports li").wait_for()
    await page.locator("#viewings li").first.wait_for()
    await shows(page, 0)
    await page.evaluate(TWO_FRAMES)
    assert await page.evaluate("moved") == []


async def test_another_file_may_be_asked_for_while_one_is_made(
    serving: Serving, page: Page
) -> None:
    async def unfinished(route: Route) -> None:
        answer = await route.fetch()
        told = await answer.json()
        if route.request.method == "GET":
            told = [each | {"state": "running"} for each in told]
        await route.fulfill(response=answer, json=told)

    await record(serving, serving.one.interview_id, says_numbers(Codec.H264, 3))
    await page.route("**/api/recordings/*/exports", unfinished)
    await open_replay(page, serving)
    await page.locator("#export").click()
    await page.locator("#exports li").wait_for()
    await page.locator("#export").click()
    await page.locator("#exports li").nth(1).wait_for()


async def test_a_file_that_could_not_be_made_is_made_anew_by_one_press(
    serving: Serving, page: Page
) -> None:
    faults: dict[str, str | None] = {}

    async def failed_first(route: Route) -> None:
        answer = await route.fetch()
        told = await answer.json()
        if route.request.method == "GET" and told:
            fault = faults.setdefault(told[0]["id"], None if faults else "cut-off")
            told[0] |= {"state": "failed", "fault": fault} if fault else {}
        await route.fulfill(response=answer, json=told)

    await record(serving, serving.one.interview_id, says_numbers(Codec.H264, 6))
    await page.route("**/api/recordings/*/exports", failed_first)
    await open_replay(page, serving)
    await shows(page, 0)
    await seek(page, 2.05)
    await page.keyboard.press("i")
    await page.locator("#export-everywhere").check()
    await page.locator("#export").click()
    failed = page.locator('#exports li[data-state="failed"]')
    part = await failed.locator(".export-part").text_content()
    await page.locator("#export-whole").check()
    await page.locator("#export-everywhere").uncheck()
    await failed.get_by_role("button", name="Try again").click()
    await page.locator('#exports li[data-state="ready"]').wait_for()
    assert await page.locator("#exports .export-part").all_text_contents() == [part]


async def test_a_file_under_way_says_that_the_server_does_not_answer(
    serving: Serving, page: Page
) -> None:
    async def running(route: Route) -> None:
        answer = await route.fetch()
        told = [each | {"state": "running", "done": 0.5} for each in await answer.json()]
        await route.fulfill(response=answer, json=told)

    interview, token = serving.one.interview_id, serving.token(Role.RECRUITER)
    await record(serving, interview, says_numbers(Codec.H264, 3))
    await serving.call("POST", f"/api/recordings/{interview}/exports", token, json={})
    of_exports = "**/api/recordings/*/exports"
    await page.route(of_exports, running)
    await open_replay(page, serving)
    row = page.locator("#exports li")
    await row.get_by_text("50 % done").wait_for()
    await page.route(of_exports, lambda route: route.abort())
    await row.get_by_text("The server does not answer").wait_for()
    assert await row.locator("progress").get_attribute("value") is None
    await page.unroute(of_exports)
    await page.locator('#exports li[data-state="ready"]').wait_for()


# ---- while the interview runs -----------------------------------------------------------


@asynccontextmanager
async def running(
    serving: Serving, frames: list[EncodedFrame], clock: Callable[[], float] = time.time
) -> AsyncIterator[float]:
    """Records ``frames`` as they would come, from now on; gives the time of the first."""
    recording = serving.server.recorder.record(
        serving.one.interview_id, "One", POLICY, lambda _: None
    )
    began_s = clock()

    async def feed() -> None:
        for frame in frames:
            at_s, arrived_s = (
                each - START_S + began_s for each in (frame.capture_s, frame.arrived_s)
            )
            await asyncio.sleep(arrived_s - clock())
            recording.on_frame(replace(frame, capture_s=at_s, arrived_s=arrived_s))

    async with asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed(), name="feed")
        try:
            yield began_s
        finally:
            feeding.cancel()
    await recording.close()


async def behind_s(page: Page, began_s: float) -> float:
    """How long ago the shown picture was taken."""
    return time.time() - began_s - int(await page.evaluate(NUMBER_SHOWN)) / FPS


async def frozen_s(page: Page) -> float:
    """How much older the shown picture is than what is heard."""
    shown = f"document.getElementById('replay-video').currentTime - {NUMBER_SHOWN} / {FPS}"
    return float(await page.evaluate(shown))


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8])
@pytest.mark.timeout(180)
async def test_a_running_interview_is_replayed_live_and_to_its_end(
    serving: Serving, page: Page, codec: Codec
) -> None:
    frames = sound_late(says_numbers(codec, 60), 0.05)
    await open_replay(page, serving)
    await page.locator("#no-recordings").wait_for()
    async with running(serving, frames) as began_s:
        await page.locator('#live[data-live="live"]').wait_for()
        await page.locator("#play").click()
        await _plays(page)
        await page.keyboard.press("k")  # what stays at its place falls behind
        await page.keyboard.press("Home")
        await page.wait_for_function(
            "() => document.getElementById('live').dataset.live === 'behind'",
            timeout=PATIENCE_MS,
        )
        await page.locator("#go-live").click()
        await _plays(page)
        lags, frozen = [], []
        for _ in range(20):
            await asyncio.sleep(0.5)
            lags.append(await behind_s(page, began_s))
            frozen.append(await frozen_s(page))
        assert max(lags) < MOST_BEHIND_S, lags
        assert max(frozen) < MOST_FROZEN_S, "pictures go on with the sound"
    ended_s = time.monotonic()
    await page.locator('#live[data-live="ended"]').wait_for()
    await page.wait_for_function("() => document.getElementById('replay-video').ended")
    assert time.monotonic() - ended_s < MOST_BEHIND_S


async def _plays(page: Page) -> None:
    """Returns once some more pictures have been shown."""
    await page.evaluate(
        """new Promise((shown) => {
          const video = document.getElementById('replay-video');
          let left = 5;
          const next = () => video.requestVideoFrameCallback(() => --left ? next() : shown());
          next();
        })"""
    )


@pytest.mark.timeout(120)
async def test_who_listens_live_hears_on_without_a_picture_and_waits_for_the_newest_part(
    serving: Serving, page: Page
) -> None:
    pictures = [each for each in says_numbers(Codec.H264, 4) if not each.track.is_sound]
    async with running(serving, in_order(pictures, microphone(20))) as began_s:
        await open_replay(page, serving)
        await page.locator('#live[data-live="live"]').wait_for()
        await page.locator("#play").click()
        video = "document.getElementById('replay-video')"
        lags = []
        while time.time() < began_s + 19:
            await asyncio.sleep(0.5)
            lags.append(time.time() - began_s - await page.evaluate(f"{video}.currentTime"))
        assert max(lags[-20:]) < MOST_BEHIND_S, lags
        await page.locator('#replay-note-title[data-i18n="replay.newest"]').wait_for()
        assert await page.locator("#play").get_attribute("aria-label") == "Pause"
    await page.wait_for_function(f"() => {video}.ended")
    await page.locator("#replay-note").wait_for(state="hidden")
    (row,) = await viewings(serving)
    assert row["way"] == "replay"
    assert row["start_s"] < 4
    assert row["end_s"] == pytest.approx(20, abs=0.1), "all that was seen live is on the record"


@pytest.mark.timeout(120)
async def test_a_replay_without_a_picture_for_long_plays_to_its_end(
    serving: Serving, page: Page
) -> None:
    pictures = [each for each in says_numbers(Codec.H264, 3) if not each.track.is_sound]
    await record(serving, serving.one.interview_id, in_order(pictures, microphone(50)))
    await open_replay(page, serving)
    await shows(page, 0)
    await page.evaluate("document.getElementById('replay-video').playbackRate = 8")
    await page.locator("#play").click()
    await page.wait_for_function("() => document.getElementById('replay-video').ended")
    await seek(page, 30.5)
    await shows(page, 0)
    await page.locator("#replay-picture-camera .unrecorded").wait_for()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (820, 1180), (1440, 900)])
async def test_it_plays_on_phones_tablets_and_desktops(
    serving: Serving, page: Page, width: int, height: int
) -> None:
    frames = in_order(says_numbers(Codec.H264, 4), screen(Codec.H264, 4), interviewer(seconds=4))
    await record(serving, serving.one.interview_id, frames)
    await page.set_viewport_size({"width": width, "height": height})
    await open_replay(page, serving)
    await page.locator("#play").click()
    await page.locator("#replay-picture-interviewer").wait_for()
    await page.wait_for_function("() => document.getElementById('replay-video').ended")
    await seek(page, 2)
    await page.locator("#replay-picture-screen").wait_for()
    await page.evaluate("scrollTo(0, 0)")  # the click may have scrolled what was not yet laid out
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in ("replay-screen", "replay-video", "seek", "play", "speed", "full-screen"):
        box = await page.locator(f"#{name}").bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= width - box["width"], name
        assert 0 <= box["y"] <= height - box["height"], f"{name} is on the first screen"
        assert min(box["width"], box["height"]) >= 40, f"{name} can be touched"
    unnamed = await page.evaluate(
        """[...document.querySelectorAll('main button, main input, main select, main video')]
             .filter((each) => each.checkVisibility() && !each.innerText?.trim()
               && !each.getAttribute('aria-label') && !each.labels?.length)
             .map((each) => each.id)"""
    )
    assert unnamed == [], "all has a name for who does not see it"


@pytest.mark.timeout(120)
async def test_what_another_track_changes_is_taken_up(serving: Serving, page: Page) -> None:
    """Sound alone first, so that what was known of the recording does not hold any more."""
    pictures = [each for each in says_numbers(Codec.H264, 40) if each.codec is Codec.H264]
    frames = in_order(
        microphone(40),
        [
            replace(each, capture_s=each.capture_s + 6, arrived_s=each.arrived_s + 6)
            for each in pictures
        ],
    )
    async with running(serving, frames):
        await open_replay(page, serving)
        await page.locator('#live[data-live="live"]').wait_for()
        await page.locator("#play").click()
        await _plays(page)
        assert await page.evaluate("document.getElementById('replay-video').videoWidth") == 320


# ---- what may go wrong ------------------------------------------------------------------


@pytest.mark.timeout(120)
async def test_a_network_that_goes_away_is_told_and_comes_back(
    serving: Serving, page: Page
) -> None:
    await record(serving, serving.one.interview_id, says_numbers(Codec.H264, 60))
    await open_replay(page, serving)
    await shows(page, 0)
    await page.context.set_offline(True)
    await seek(page, 50.05)
    await page.locator('#replay-note-title[data-i18n="replay.failed"]').wait_for()
    await page.context.set_offline(False)
    await shows(page, 1501)
    await page.locator("#replay-note").wait_for(state="hidden")


async def test_a_recording_that_is_not_what_was_written_is_not_taken_for_none(
    serving: Serving, page: Page
) -> None:
    await record(serving, serving.one.interview_id, says_numbers(Codec.H264, 12))
    folder = serving.data_dir / "recordings" / serving.one.interview_id
    (folder / "manifest.json").write_bytes(b"{}")
    await open_replay(page, serving)
    await page.locator('#over-title[data-i18n="refused.damaged.title"]').wait_for()


@pytest.mark.timeout(120)
async def test_a_withdrawn_link_says_so(serving: Serving, page: Page) -> None:
    await record(serving, serving.one.interview_id, says_numbers(Codec.H264, 60))
    await open_replay(page, serving)
    await shows(page, 0)
    link = await serving.link(Role.RECRUITER)
    one = f"/api/interviews/{serving.one.interview_id}/links/{link.id}"
    assert (await serving.call("DELETE", one, serving.owner))[0] == 204
    await seek(page, 50.05)
    await page.locator('#replay-note-text[data-i18n="refused.revoked.text"]').wait_for()


@pytest.mark.timeout(120)
async def test_without_media_source_extensions_the_browser_plays_hls(
    serving: Serving, page: Page
) -> None:
    frames = in_order(says_numbers(Codec.H264, 12), screen(Codec.H264, 4, START_S + 2))
    await record(serving, serving.one.interview_id, frames)
    await page.add_init_script("delete window.MediaSource; delete window.ManagedMediaSource;")
    await open_replay(page, serving)
    if not await page.evaluate(
        "document.createElement('video').canPlayType('application/vnd.apple.mpegurl')"
    ):
        pytest.skip("this Chromium has no player of HLS")
    await shows(page, 0)
    await seek(page, 7.55)
    await shows(page, 226)
    assert {each["way"] for each in await viewings(serving)} == {"hls"}
