"""A worker process seen from the server: starting it, its pipe, its end, its replacement."""

import asyncio
import logging
import math
import mmap
import os
import socket
import sys
from collections.abc import Callable
from typing import cast

from server.core.frames import TrackName
from server.environment import environment
from server.live_analysis import wire

logger = logging.getLogger(__name__)

#: Bytes waiting for a worker that does not read: then video is dropped, later sound as well.
VIDEO_ROOM = 1 << 20
SOUND_ROOM = 2 << 20
#: Messages are collected this long, so that a frame is not a system call of its own.
FLUSH_S = 0.03
#: A worker that has said nothing for so long hangs in a decoder.
SILENT_S = 5.0
#: The first report comes after the models are loaded.
START_S = 30.0
#: A worker that ended sooner failed by itself: its replacement waits, ever longer.
SHORT_LIFE_S = 5.0
LONGEST_WAIT_S = 10.0
EXIT_S = 2.0


class _Link(asyncio.Protocol):
    """The server's end of one process's socket pair."""

    def __init__(self, on_message: Callable[[wire.FromWorker], None]) -> None:
        self._on_message = on_message
        self._deframer = wire.Deframer()
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self.transport: asyncio.Transport | None = None
        # As if it had spoken in the future: the models take their time.
        self.heard_s = asyncio.get_running_loop().time() + START_S - SILENT_S
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        self.heard_s = asyncio.get_running_loop().time()
        for body in self._deframer.feed(data):
            self._on_message(wire.from_worker.decode(body))

    def send(self, message: wire.ToWorker) -> bool:
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        if self._batch_bytes + transport.get_write_buffer_size() > _room(message):
            return False
        data = wire.encode(message)
        if len(data) > wire.MAX_MESSAGE:
            return False
        if not self._batch:
            asyncio.get_running_loop().call_later(FLUSH_S, self._flush)
        self._batch.append(data)
        self._batch_bytes += len(data)
        return True

    def _flush(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.writelines(self._batch)
        self._batch, self._batch_bytes = [], 0


def _room(message: wire.ToWorker) -> float:
    """How much may wait before this message; what opens and closes feeds always goes."""
    if not isinstance(message, wire.Frame):
        return math.inf
    return VIDEO_ROOM if message.track is TrackName.CAMERA else SOUND_ROOM


class WorkerProcess:
    """One place in the pool: ``run`` keeps a process in it and replaces the ones that end.

    ``on_message`` gets what the processes say, ``on_start`` is called when a new one is there,
    which has been told nothing, ``on_end`` with the feed over which one ended (0: none).
    ``send`` is the feeds' pipe.
    """

    def __init__(
        self,
        on_message: Callable[[wire.FromWorker], None],
        on_start: Callable[[], None],
        on_end: Callable[[int], None],
    ) -> None:
        self._on_message = on_message
        self._on_start = on_start
        self._on_end = on_end
        self._link: _Link | None = None
        self.pid: int | None = None
        self.restarts = 0

    def send(self, message: wire.ToWorker) -> bool:
        return self._link is not None and self._link.send(message)

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        wait_s = 0.0
        while True:
            started_s = loop.time()
            try:
                await self._live()
            except OSError:
                logger.exception("an analysis worker could not be started")
            self.restarts += 1
            short = loop.time() - started_s < SHORT_LIFE_S
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s + 0.25) if short else 0.0
            await asyncio.sleep(wait_s)

    async def _live(self) -> None:
        """One process from its start to its end."""
        ours, theirs = socket.socketpair()
        link = _Link(self._on_message)
        with ours, _Desk() as desk:
            with theirs:
                process = await _start(theirs.fileno(), desk.descriptor)
            await self._serve(process, link, ours)
            self._on_end(desk.feed)

    async def _serve(
        self, process: asyncio.subprocess.Process, link: _Link, ours: socket.socket
    ) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.create_unix_connection(lambda: link, sock=ours)
            self._link, self.pid = link, process.pid
            self._on_start()
            if not await _until_lost(link):
                logger.error("analysis worker %d hangs", process.pid)
                process.kill()
        finally:
            self._link = self.pid = None
            await _end(process, link)
        logger.warning("analysis worker %d ended (%s)", process.pid, process.returncode)


class _Desk:
    """Eight bytes shared with a process, where it writes which feed it is working on."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("analysis-desk")
        os.truncate(self.descriptor, wire.DESK_BYTES)
        self._memory = mmap.mmap(self.descriptor, wire.DESK_BYTES)

    @property
    def feed(self) -> int:
        return int.from_bytes(self._memory[:], "big")

    def __enter__(self) -> "_Desk":
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.close()
        os.close(self.descriptor)


async def _start(pipe: int, desk: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "server.live_analysis.worker", str(pipe), str(desk)),
        pass_fds=(pipe, desk),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        env=environment(),
    )


async def _until_lost(link: _Link) -> bool:
    """Return when the process closed its end, or with False when it hangs."""
    loop = asyncio.get_running_loop()
    while (left_s := link.heard_s + SILENT_S - loop.time()) > 0:
        try:
            # No longer than this, because its first word brings the deadline nearer.
            async with asyncio.timeout(min(left_s, SILENT_S)):
                return await link.lost.wait()
        except TimeoutError:
            continue
    return False


async def _end(process: asyncio.subprocess.Process, link: _Link) -> None:
    """Let a process end that sees its pipe closed; kill it when it does not."""
    if link.transport is not None:
        link.transport.abort()
    try:
        async with asyncio.timeout(EXIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
