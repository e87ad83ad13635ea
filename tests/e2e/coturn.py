"""A real TURN server, coturn, on free ports of the loopback interface."""

import asyncio
import shutil
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aioice import stun

from tests.e2e.server_process import POLL_S, free_port
from tests.project import ROOT

START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10

#: What a test adds to the documented configuration.
_LOOPBACK = """
listening-ip=127.0.0.1
relay-ip=127.0.0.1
allow-loopback-peers
no-tls
no-dtls
log-file={folder}/turnserver.log
simple-log
pidfile={folder}/turnserver.pid
userdb={folder}/turnserver.db
"""


def _configuration(folder: Path, port: int, secret: str) -> str:
    """As `docs/turn.md` tells operators to write it, on this machine."""
    documented: str = (ROOT / "docs" / "turn.md").read_text().split("```")[1]
    for told, here in (
        ("listening-port=443", f"listening-port={port}"),
        ("auth-secret=SECRET", f"auth-secret={secret}"),
        ("allowed-peer-ip=192.0.2.7", "allowed-peer-ip=127.0.0.1"),
    ):
        assert told in documented
        documented = documented.replace(told, here)
    return documented + _LOOPBACK.format(folder=folder)


class Coturn:
    """One relay; its secret stands in a file that only this user reads."""

    def __init__(self, folder: Path, secret: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._configuration = folder / "turnserver.conf"
        self._configuration.touch(mode=0o600)
        self._configuration.write_text(_configuration(folder, self.port, secret))
        self._process: Process | None = None

    async def start(self) -> None:
        """Return once it answers. Raises RuntimeError if it ends before."""
        program = shutil.which("turnserver")
        assert program is not None, "coturn is missing: make deps"
        with (self._folder / "turnserver.out").open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                program, "-c", str(self._configuration), stdin=DEVNULL, stdout=output, stderr=output
            )
        async with asyncio.timeout(START_TIMEOUT_S):
            await self._answers(self._process)

    async def _answers(self, process: Process) -> None:
        heard = asyncio.Event()

        class Client(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                heard.set()

        request = bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST))
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            Client, remote_addr=("127.0.0.1", self.port)
        )
        try:
            while not heard.is_set():
                if process.returncode is not None:
                    said = (self._folder / "turnserver.out").read_text()
                    raise RuntimeError(f"coturn ended with {process.returncode}:\n{said}")
                transport.sendto(request)
                await asyncio.sleep(POLL_S)
        finally:
            transport.close()

    def freeze(self) -> None:
        """From now on it takes nothing, and no ICMP tells of it: a network that is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    async def stop(self) -> None:
        """Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()


@asynccontextmanager
async def running_coturn(folder: Path, secret: str) -> AsyncIterator[Coturn]:
    coturn = Coturn(folder, secret)
    try:
        await coturn.start()
        yield coturn
    finally:
        await coturn.stop()
