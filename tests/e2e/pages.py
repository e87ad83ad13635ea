"""The pages as a person uses them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ClientSession
from playwright.async_api import Page

from server.core.indicators import Indicator
from server.signaling.protocol import PROTOCOL_VERSION, Indicators, ServerMessage
from tests.e2e.server_process import POLL_S, ServerProcess

#: Chromium starts, decodes and encodes on a machine that others load.
PATIENCE_MS = 30_000
#: Of a sample, whose full scale is 1: louder than silence.
HEARD = 0.01


async def join(page: Page, candidate_url: str) -> None:
    """`begin`; returns when it is recorded."""
    await begin(page, candidate_url)
    await recorded(page)


async def begin(page: Page, candidate_url: str) -> None:
    """`prepare`, and presses the button to join."""
    await prepare(page, candidate_url)
    await page.locator("#join").click()


async def prepare(page: Page, candidate_url: str) -> None:
    """Reads the notice, consents, and checks the devices: one button is left to press."""
    page.set_default_timeout(PATIENCE_MS)
    await page.goto(candidate_url)
    await page.locator("#consent").check()
    await page.locator("#consent-go").click()
    await page.locator("#join:enabled").wait_for()


async def recorded(page: Page) -> None:
    """Returns once the page shows the recording sign."""
    await page.locator('#recording[data-active="true"]').wait_for(timeout=PATIENCE_MS)


async def leave(page: Page) -> None:
    await page.locator("#leave").click()
    await page.locator('#leave-dialog button[value="leave"]').click()
    await page.locator('section[data-stage="over"]').wait_for()


async def save_receipt(page: Page, to: Path) -> None:
    """Keeps the file that a candidate's page offers once the recording is sealed."""
    async with page.expect_download() as saving:
        await page.locator("#receipt-file").click()
    await (await saving.value).save_as(to)


async def finished(server: ServerProcess, invited: dict[str, Any]) -> dict[str, Any]:
    """The replay index of the interview's recording, once it is closed and signed."""
    await _listed(server, invited, lambda listed: bool(listed["state"] == "finished"))
    url = f"{server.base_url}/api/recordings/{invited['interview_id']}"
    async with (
        ClientSession(headers=_bearer(invited)) as http,
        http.get(url, raise_for_status=True) as answer,
    ):
        index: dict[str, Any] = await answer.json()
        return index


async def pictures_s(
    server: ServerProcess, invited: dict[str, Any], index: dict[str, Any]
) -> list[float]:
    """When each of the camera's pictures begins, in seconds since the recording's start."""
    url = f"{server.base_url}/api/recordings/{invited['interview_id']}/pictures"
    found: list[float] = []
    async with ClientSession(headers=_bearer(invited)) as http:
        for fragment in index["fragments"]:
            async with http.get(f"{url}/{fragment['seq']}", raise_for_status=True) as answer:
                found += await answer.json()
    return sorted(found)


async def on_the_disk(server: ServerProcess, invited: dict[str, Any], duration_s: float) -> None:
    """Returns once so much of the interview is recorded durably."""
    await _listed(server, invited, lambda listed: bool(listed["duration_s"] >= duration_s))


async def more_on_the_disk(server: ServerProcess, invited: dict[str, Any], seconds: float) -> None:
    """Returns once so much more of the interview is recorded durably than now."""
    begun: list[float] = []

    def grown(listed: dict[str, Any]) -> bool:
        begun.append(listed["duration_s"])
        return begun[-1] >= begun[0] + seconds

    await _listed(server, invited, grown)


async def recorded_lines(
    server: ServerProcess, invited: dict[str, Any], lines: int, seconds: float
) -> None:
    """Returns once the newest so many seconds on the disk have pictures of so many lines."""

    def goes_on(index: dict[str, Any]) -> bool:
        heights = [init["height"] for init in index["inits"]]
        newest = takewhile(
            lambda each: heights[each["init"]] == lines, reversed(index["fragments"])
        )
        return bool(sum(each["duration_s"] for each in newest) >= seconds)

    await on_the_disk(server, invited, seconds)
    await _told(server, invited, f"/{invited['interview_id']}", goes_on)


async def _listed(
    server: ServerProcess, invited: dict[str, Any], fits: Callable[[dict[str, Any]], bool]
) -> None:
    """Returns once the interview's only recording is listed so. Raises TimeoutError."""
    await _told(server, invited, "", lambda listed: [fits(each) for each in listed] == [True])


async def _told(
    server: ServerProcess, invited: dict[str, Any], of: str, fits: Callable[[Any], bool]
) -> None:
    """Returns once the API tells so of recordings. Raises TimeoutError."""
    url = f"{server.base_url}/api/recordings{of}"
    async with asyncio.timeout(PATIENCE_MS / 1000), ClientSession(headers=_bearer(invited)) as http:
        while True:
            async with http.get(url, raise_for_status=True) as answer:
                if fits(await answer.json()):
                    return
            await asyncio.sleep(POLL_S)


def _bearer(invited: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {invited['recruiter_url'].partition('#')[2]}"}


async def picture_moves(page: Page) -> None:
    """Returns once the observed picture has advanced by ten frames. Raises TimeoutError.

    A connection that is made meanwhile begins to count anew.
    """
    async with asyncio.timeout(PATIENCE_MS / 1000):
        await page.evaluate(
            """async () => {
              const video = document.getElementById('video');
              const count = () => video.getVideoPlaybackQuality().totalVideoFrames;
              for (let last = count(), moved = 0; moved <= 10;) {
                await new Promise((resolve) => setTimeout(resolve, 50));
                const now = count();
                moved += now < last ? now : now - last;
                last = now;
              }
            }"""
        )


async def replay(page: Page, recruiter_url: str) -> None:
    """Opens the recording of the link's interview; returns once it has played for 1.5 s."""
    page.set_default_timeout(PATIENCE_MS)
    base, _, token = recruiter_url.partition("/observe#")
    await page.goto(f"{base}/recordings#{token}")
    await page.locator("#play").click()
    await page.wait_for_function("() => document.getElementById('replay-video').currentTime > 1.5")


async def frames_replayed(page: Page) -> int:
    """How many pictures the replay has presented so far."""
    quality = "document.getElementById('replay-video').getVideoPlaybackQuality()"
    return int(await page.evaluate(f"{quality}.totalVideoFrames"))


async def sounds(page: Page) -> None:
    """Returns once something is heard from the page's video. Raises TimeoutError."""
    await page.wait_for_function(
        "() => document.getElementById('video').srcObject !== null", timeout=PATIENCE_MS
    )
    async with asyncio.timeout(PATIENCE_MS / 1000):
        await page.evaluate(
            """async (level) => {
              const stream = document.getElementById('video').srcObject;
              const context = new AudioContext();
              const analyser = context.createAnalyser();
              context.createMediaStreamSource(stream).connect(analyser);
              const samples = new Float32Array(analyser.fftSize);
              do {
                await new Promise((resolve) => setTimeout(resolve, 50));
                analyser.getFloatTimeDomainData(samples);
              } while (!samples.some((sample) => Math.abs(sample) > level));
              await context.close();
            }""",
            HEARD,
        )


@asynccontextmanager
async def indicator_stream(
    base_url: str, observer_url: str
) -> AsyncIterator[AsyncIterator[Indicator]]:
    """The live indicators as an observer's page receives them."""
    decoder = msgspec.json.Decoder(ServerMessage)
    hello: dict[str, Any] = {
        "type": "hello",
        "version": PROTOCOL_VERSION,
        "token": observer_url.partition("#")[2],
    }
    async with ClientSession() as http, http.ws_connect(f"{base_url}/ws") as socket:
        await socket.send_json(hello)

        async def values() -> AsyncIterator[Indicator]:
            async for message in socket:
                decoded = decoder.decode(message.data)
                if isinstance(decoded, Indicators):
                    for value in decoded.values:
                        yield value

        yield values()
