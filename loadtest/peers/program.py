"""What the programs of this package have in common."""

import asyncio
import os
import platform
import signal
import sys
from collections.abc import Coroutine

from loadtest.peers import namespace
from loadtest.peers.servers import versions

EXIT_FAULT, EXIT_INTERRUPTED = 1, 130


def enter_network() -> tuple[str, list[str]]:
    """The address that all servers get, and what is to be said of it."""
    try:
        namespace.enter()
    except namespace.NoNamespace as error:
        return namespace.LOOPBACK, [f"Over loopback: {error}."]
    return namespace.ADDRESS, []


async def until_interrupted(measure: Coroutine[None, None, None]) -> bool:
    """Whether it was interrupted. All servers have been stopped then."""
    measuring = asyncio.create_task(measure, name="comparison")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, measuring.cancel)
    await asyncio.wait({measuring})
    if not measuring.cancelled():
        measuring.result()  # raises what it did
    return measuring.cancelled()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine() -> str:
    programs = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {programs}."
