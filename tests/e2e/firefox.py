"""Real Firefox by WebDriver BiDi, which it speaks itself: no driver, no build of its own."""

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

from tests.e2e.pages import PATIENCE_MS

PROGRAM = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
_PREFERENCES = {
    # Devices of its own, which need no permission.
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    # Nothing calls home, or asks.
    "app.update.auto": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "",
    "toolkit.telemetry.server": "",
}


class FirefoxPage:
    """One tab."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._context = ""

    async def open(self) -> None:
        await self._command("session.new", capabilities={})
        created = await self._command("browsingContext.create", type="tab")
        self._context = created["context"]

    async def goto(self, url: str) -> None:
        await self._command(
            "browsingContext.navigate", context=self._context, url=url, wait="complete"
        )

    async def evaluate(self, expression: str) -> Any:
        """What the expression, or the promise that it is, becomes as JSON."""
        answer = await self._command(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then((it) => JSON.stringify(it ?? null))",
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"]["value"])

    async def until(self, expression: str) -> None:
        """Returns once the expression is true, which is looked at every 20 ms."""
        poll = f"""new Promise((found) => {{
          const look = () => ({expression}) ? found() : setTimeout(look, 20);
          look();
        }})"""
        async with asyncio.timeout(PATIENCE_MS / 1000):
            await self.evaluate(poll)

    async def click(self, selector: str) -> None:
        """Returns once it is there, enabled, and has been clicked."""
        found = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"{found} && !{found}.disabled && {found}.offsetParent")
        await self.evaluate(f"{found}.click()")

    async def _command(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json()
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]


@asynccontextmanager
async def firefox(profile: Path) -> AsyncIterator[FirefoxPage]:
    """A browser process of its own, with an empty profile in the folder."""
    assert PROGRAM is not None
    profile.mkdir()  # noqa: ASYNC240 (nothing else runs yet)
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in _PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines))
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "--headless", "--no-remote", "--profile", str(profile)),
        *("--remote-debugging-port", "0", "about:blank"),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        url = await _listens(process)
        async with ClientSession() as http, http.ws_connect(f"{url}/session") as socket:
            page = FirefoxPage(socket)
            await page.open()
            yield page
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.stderr.read()  # all its processes have ended
        await process.wait()


async def _listens(process: Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while line := await process.stderr.readline():
            if said := re.search(r"BiDi listening on (ws://\S+)", line.decode()):
                return said[1]
    raise AssertionError("Firefox ended before it listened")
