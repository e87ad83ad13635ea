"""A benchmark that is killed takes its servers with it."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 60.0

#: Each prints the process id of what it has started, and waits.
BENCHMARK = """
import asyncio, sys
from pathlib import Path
from loadtest.peers.servers import started

async def main():
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    async with started(command, Path(sys.argv[1]) / "log") as process:
        print(process.pid, flush=True)
        await process.wait()

asyncio.run(main())
"""
CRASHES = """
import asyncio, sys
from pathlib import Path
import aiohttp
from loadtest.crashes import Server

async def main():
    folder = Path(sys.argv[1])
    async with aiohttp.ClientSession() as http:
        server = Server(http, folder / "data", folder / "log")
        await server.start()
        print(server._process.pid, flush=True)
        await server.ended()

asyncio.run(main())
"""


@pytest.mark.parametrize("script", [BENCHMARK, CRASHES], ids=["benchmark", "crashes"])
def test_what_was_started_ends_with_who_is_killed(script: str, tmp_path: Path) -> None:
    ours = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE)
    with ours:
        assert ours.stdout is not None
        started = int(ours.stdout.readline())
        descriptor = os.pidfd_open(started)
        try:
            ours.kill()
            assert has_ended(descriptor), started
        finally:
            if not has_ended(descriptor, 0):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)


def has_ended(descriptor: int, timeout_s: float = TIMEOUT_S) -> bool:
    """Of a pidfd (pidfd_open(2)): it can be read once its process has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(1000 * timeout_s))
