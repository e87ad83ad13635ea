"""A real browser in the crowd: Chromium as one candidate and one observer, on our own pages."""

import asyncio
import importlib.util
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from loadtest.invites import Invite
from loadtest.report import BrowserReport

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

PATIENCE_MS = 20_000
#: Names under which systems install it; with none of them Playwright's own is used.
_NAMES = ("chromium", "chromium-browser", "google-chrome")
#: Its own fake camera and microphone: a moving picture and a beep every second.
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream=fps=30",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
)
_PROBE = Path(__file__).parent / "assets" / "probe.js"
_VIDEO = "document.getElementById('video')"


class _State(msgspec.Struct):
    """Of the server's messages what tells when the interview began."""

    started_s: float | None = None


_decode_state = msgspec.json.Decoder(_State).decode


class BrowserError(Exception):
    """No browser can be had; the text says what to install."""


def refuse_missing() -> None:
    """Raises BrowserError where Playwright is not installed."""
    if importlib.util.find_spec("playwright") is None:
        raise BrowserError("--browser needs Playwright: pip install -r requirements/dev.txt")


class Probe:
    """`join`, `begin` when measuring begins, `end` when it ends; `report` is never an exception."""

    def __init__(self, candidate: "Page", observer: "Page", url: str, invite: Invite) -> None:
        self.report = BrowserReport()
        self._candidate, self._observer = candidate, observer
        self._url, self._invite = url, invite
        self._started_s = asyncio.get_running_loop().create_future()
        candidate.on("websocket", lambda socket: socket.on("framereceived", self._heard))

    async def join(self) -> None:
        from playwright.async_api import Error

        try:
            self.report = await self._join_candidate()
            await self._observer.goto(f"{self._url}/observe#{self._invite.observer}")
            first_ms = await self._first_picture_ms()
            await self._observer.reload()
            again_ms = await self._first_picture_ms()
            self.report = msgspec.structs.replace(
                self.report, first_picture_ms=first_ms, first_picture_again_ms=again_ms
            )
        except (Error, TimeoutError) as error:
            self._fail(error)

    async def _first_picture_ms(self) -> float:
        await self._observer.wait_for_function("vivavoceProbe.frames > 0")
        shown_ms: float = await self._observer.evaluate("vivavoceProbe.firstPictureMs")
        return round(shown_ms, 1)

    async def _join_candidate(self) -> BrowserReport:
        page = self._candidate
        await page.goto(f"{self._url}/join#{self._invite.candidate}")
        await page.locator("#consent").check()
        await page.locator("#consent-go").click()
        join = page.locator("#join:enabled")
        await join.wait_for()
        clicked_s = time.time()
        await join.click()
        await page.locator('#recording[data-active="true"]').wait_for()
        signed_s = time.time()
        async with asyncio.timeout(PATIENCE_MS / 1000):
            started_s = await self._started_s
        join_ms, first_ms = (1000 * (each - clicked_s) for each in (signed_s, started_s))
        return BrowserReport(None, round(join_ms, 1), round(first_ms, 1))

    def _heard(self, text: str | bytes) -> None:
        """The server says when the first frame was captured; by then it is recorded."""
        with suppress(msgspec.DecodeError):
            said = _decode_state(text)
            if said.started_s is not None and not self._started_s.done():
                self._started_s.set_result(said.started_s)

    async def begin(self) -> None:
        await self._evaluate("begin")

    async def end(self) -> None:
        seen = await self._evaluate("end")
        if seen is not None:
            known = msgspec.to_builtins(self.report)
            self.report = msgspec.convert(known | _rounded(seen), BrowserReport)

    async def _evaluate(self, method: str) -> dict[str, float | None] | None:
        from playwright.async_api import Error

        if self.report.error is not None:
            return None
        try:
            found: dict[str, float | None] | None = await self._observer.evaluate(
                f"vivavoceProbe.{method}({_VIDEO})"
            )
        except Error as error:
            self._fail(error)
            return None
        return found

    def _fail(self, error: Exception) -> None:
        reason = (str(error) or "no media came").splitlines()[0]
        self.report = BrowserReport(error=f"the browser: {reason}")


def _rounded(seen: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 1) for name, value in seen.items()}


@asynccontextmanager
async def open_probe(url: str, invite: Invite) -> AsyncIterator[Probe]:
    """The browser with both its pages, not yet joined. Raises BrowserError if it cannot start."""
    from playwright.async_api import Error, async_playwright

    async with async_playwright() as playwright, AsyncExitStack() as stack:
        try:
            browser = await playwright.chromium.launch(
                executable_path=next(filter(None, map(shutil.which, _NAMES)), None),
                args=list(_FLAGS),
                ignore_default_args=["--mute-audio"],
                handle_sigint=False,
                handle_sigterm=False,
            )
        except Error as error:
            raise BrowserError(f"Chromium does not start: {error}") from error
        stack.push_async_callback(browser.close)
        candidate, observer = await _page(browser), await _page(browser)
        await observer.add_init_script(path=_PROBE)
        yield Probe(candidate, observer, url, invite)


async def _page(browser: "Browser") -> "Page":
    """A window of its own person; our probe may do what the page's policy forbids others."""
    context = await browser.new_context(ignore_https_errors=True, bypass_csp=True)
    context.set_default_timeout(PATIENCE_MS)
    return await context.new_page()
