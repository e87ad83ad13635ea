"""`vivavoce serve` as its users run it: a process of its own, on real ports, with a data folder."""

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession

from tests.e2e import room_for_all

#: A start makes keys, opens the store and forks the analysis workers; this machine may be busy.
START_TIMEOUT_S = 30
#: A stop seals and signs every open recording.
STOP_TIMEOUT_S = 20
POLL_S = 0.05
#: In what `vivavoce serve` prints.
_OWNER = re.compile(r"Owner .*#(\S+)\n")
_VIVAVOCE = str(Path(sys.executable).with_name("vivavoce"))
_SERVER = (sys.executable, room_for_all.__file__)


class ServerError(Exception):
    """The server did not start, or did not stop as it should; the text ends with its log."""


class ServerProcess:
    """One server that may be killed and started again on the same ports and data.

    `start` once, then `stop` (SIGTERM) or `kill` (SIGKILL), then perhaps `start` again.
    """

    def __init__(
        self,
        data_dir: Path,
        log: Path,
        flags: tuple[str, ...] = (),
        program: tuple[str, ...] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.log = log
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._flags = flags
        self._program = program or _SERVER
        self._settings = dict(settings or {})
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """Of the media process; its analysis workers are children of it."""
        return self._running().pid

    async def start(self) -> None:
        """Return once the server says that it is ready. Raises ServerError."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*self._program, "serve", "--host", "127.0.0.1", "--port", str(self.port)),
                # Tests stop it in mid-interview and need not wait: those of draining say so.
                *("--data-dir", str(self.data_dir), "--drain-timeout", "0", *self._flags),
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                env=_environment() | self._settings,
            )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._ready(self._process)
        except TimeoutError:
            await self.kill()
            raise self._error(f"was not ready within {START_TIMEOUT_S} s") from None

    def send(self, number: signal.Signals) -> None:
        self._running().send_signal(number)

    async def stop(self) -> None:
        """SIGTERM; raises ServerError unless it then exits with 0 and in time."""
        self.send(signal.SIGTERM)
        await self.stopped()

    async def stopped(self) -> None:
        """Returns once it has exited by itself; raises ServerError as `stop` does."""
        process = self._running()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                status = await process.wait()
        except TimeoutError:
            await self.kill()
            raise self._error(f"did not stop within {STOP_TIMEOUT_S} s") from None
        self._process = None
        if status != 0:
            raise self._error(f"stopped with status {status}")

    async def kill(self) -> None:
        """SIGKILL: no goodbye, no flush."""
        process = self._running()
        process.kill()
        await process.wait()
        self._process = None

    async def close(self) -> None:
        """Stop it if it runs."""
        if self._process is not None:
            await self.stop()

    async def command(self, *arguments: str) -> str:
        """The output of `vivavoce ARGUMENTS` on this server's data. Raises ServerError."""
        process = await asyncio.create_subprocess_exec(
            *(_VIVAVOCE, *arguments),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=_environment()
            | {"VIVAVOCE_DATA_DIR": str(self.data_dir), "VIVAVOCE_PORT": str(self.port)},
        )
        output, errors = await process.communicate()
        if process.returncode != 0:
            said = (output + errors).decode()
            raise ServerError(f"vivavoce {' '.join(arguments)}: {said}")
        return output.decode()

    async def invite(self, title: str) -> dict[str, Any]:
        """A new interview with its links, as its owner gets them on the home page.

        They are those that `vivavoce invite --json` prints, without a process that starts for it.
        """
        headers = {"Authorization": f"Bearer {await self._owner_token()}"}
        url = f"{self.base_url}/api/interviews"
        async with (
            ClientSession(headers=headers, raise_for_status=True) as http,
            http.post(url, json={"title": title}) as answer,
        ):
            invited: dict[str, Any] = await answer.json()
            return invited

    def recording(self, invited: dict[str, Any]) -> Path:
        """The folder of the interview's recording."""
        return self.data_dir / "recordings" / str(invited["interview_id"])

    async def _owner_token(self) -> str:
        """As the server says it, a moment after it is ready."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while (said := _OWNER.search(self.log.read_text())) is None:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
        return said[1]

    def _running(self) -> Process:
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process

    async def _ready(self, process: Process) -> None:
        async with ClientSession() as http:
            while process.returncode is None:
                try:
                    async with http.get(f"{self.base_url}/readyz") as response:
                        if response.status == 200:
                            return
                except ClientError:
                    pass  # Not listening yet.
                await asyncio.sleep(POLL_S)
        self._process = None
        raise self._error(f"ended with status {process.returncode} before it was ready")

    def _error(self, what: str) -> ServerError:
        return ServerError(f"the server {what}; its log:\n{self.log.read_text()[-4000:]}")


@asynccontextmanager
async def running_server(
    folder: Path,
    *flags: str,
    program: tuple[str, ...] | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[ServerProcess]:
    """A ready server with its data in `folder`/data and its output in `folder`/serve.log.

    It refuses nobody, however busy the machine. `program` runs in its place, with the same
    arguments; `settings` are put into its environment.
    """
    server = ServerProcess(folder / "data", folder / "serve.log", flags, program, settings)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


def free_port() -> int:
    """A number free for TCP and UDP alike: the server takes the same one for both."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _environment() -> dict[str, str]:
    """This process's, without settings that a developer may have made for their own server."""
    inherited = {key: value for key, value in os.environ.items() if "VIVAVOCE" not in key}
    return inherited | {"PYTHONUNBUFFERED": "1"}
