"""Real Chromium whose camera and microphone are files."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, BrowserType, async_playwright

#: Nothing of these calls home, asks for permission or needs a screen.
_QUIET_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--autoplay-policy=no-user-gesture-required",
)
_MEDIA_FLAGS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
)
#: Names under which systems install it; with none of them Playwright's own is used.
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class FakeDevices:
    """What the browser's camera sees and its microphone hears, in a loop."""

    camera: Path  #: .mjpeg or .y4m
    microphone: Path  #: .wav, 48 kHz

    def flags(self) -> tuple[str, str]:
        return (
            f"--use-file-for-fake-video-capture={self.camera}",
            f"--use-file-for-fake-audio-capture={self.microphone}",
        )


def chromium_path() -> str | None:
    """Of the system's; None where only Playwright's own is there."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class ChromiumLauncher:
    """Starts as many browsers as a test wants; all are closed with the launcher."""

    def __init__(self, chromium: BrowserType, devices: FakeDevices, stack: AsyncExitStack) -> None:
        self._chromium = chromium
        self._devices = devices
        self._stack = stack

    async def launch(
        self, *flags: str, devices: FakeDevices | None = None, program: Path | None = None
    ) -> Browser:
        """A browser process of its own; `flags` are added to the usual ones.

        `program`: what starts it, with the same arguments.
        """
        browser = await self._chromium.launch(
            executable_path=program or chromium_path(),
            args=[*_QUIET_FLAGS, *_MEDIA_FLAGS, *(devices or self._devices).flags(), *flags],
            ignore_default_args=["--mute-audio"],
        )
        self._stack.push_async_callback(browser.close)
        return browser


@asynccontextmanager
async def chromium_launcher(devices: FakeDevices) -> AsyncIterator[ChromiumLauncher]:
    async with async_playwright() as playwright, AsyncExitStack() as stack:
        yield ChromiumLauncher(playwright.chromium, devices, stack)
