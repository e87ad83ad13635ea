"""The process that reads recordings for replay, seen from the server: what passes the event loop
is bytes. Started when somebody asks, ended when nobody does; one that is killed is replaced.
"""

import asyncio
import logging
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import cast

from server.environment import environment
from server.recorder.keys.root_key import KeyProblem
from server.recorder.replay import wire
from server.recorder.replay.wire import (
    Answer,
    Asked,
    Failed,
    Forget,
    NotSigned,
    Place,
    Read,
    Sign,
    Signature,
    Signer,
    ToReader,
    WhoSigns,
)

log = logging.getLogger(__name__)

#: Nothing was asked for so long: what it keeps in memory, keys too, goes with it.
IDLE_S = 60.0
EXIT_S = 2.0
#: Processes that may end over one question.
TRIES = 2

Signs = Callable[[WhoSigns | Sign], Awaitable[Signer | Signature]]


class ProcessEnded(Exception):
    """Before it answered."""


@dataclass(frozen=True, slots=True)
class Found:
    body: bytearray
    seen_s: tuple[tuple[float, float], ...]


class _Link(asyncio.BufferedProtocol):
    """The server's end of one process's socket pair; what comes is read to where it stays.

    ``on_lost`` is called when the process closed its end.
    """

    def __init__(
        self,
        on_signing: Callable[["_Link", WhoSigns | Sign], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._on_signing = on_signing
        self._on_lost = on_lost
        self._incoming = wire.Incoming()
        self._asked: dict[int, asyncio.Future[Found | Failed]] = {}
        self._numbers = 0
        self._transport: asyncio.Transport | None = None
        self._rests_since_s = asyncio.get_running_loop().time()
        self.lost = asyncio.Event()

    @property
    def idle_in_s(self) -> float:
        if self._asked:
            return IDLE_S
        return self._rests_since_s + IDLE_S - asyncio.get_running_loop().time()

    async def ask(self, place: Place, asked: Asked) -> Found | Failed:
        """ProcessEnded."""
        if self.lost.is_set():
            raise ProcessEnded
        loop = asyncio.get_running_loop()
        self._numbers += 1
        number = self._numbers
        answer: asyncio.Future[Found | Failed] = loop.create_future()
        self._asked[number] = answer
        self.say(Read(number, place, asked))
        try:
            return await answer
        finally:
            del self._asked[number]
            self._rests_since_s = loop.time()

    def say(self, message: ToReader) -> None:
        if self._transport is not None and not self.lost.is_set():
            self._transport.write(b"".join(wire.encode(message)))

    def close(self) -> None:
        """The process ends, too."""
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio's side -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self._on_lost()
        for each in self._asked.values():
            if not each.done():
                each.set_exception(ProcessEnded())

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._incoming.buffer

    def buffer_updated(self, nbytes: int) -> None:
        whole = self._incoming.took(nbytes)
        if whole is not None:
            head, body = whole
            self._take(wire.from_reader.decode(head), body)

    def _take(self, message: wire.FromReader, body: bytearray) -> None:
        match message:
            case Answer(number, seen_s):
                self._answered(number, Found(body, seen_s))
            case Failed(number):
                self._answered(number, message)
            case _:
                self._on_signing(self, message)

    def _answered(self, number: int, answer: Found | Failed) -> None:
        asked = self._asked.get(number)
        if asked is not None and not asked.done():  # else who asked is gone
            asked.set_result(answer)


class ReplayProcess:
    """Made by `open_replay_process`, which owns the tasks."""

    def __init__(self, signs: Signs, with_store: bool, tasks: asyncio.TaskGroup) -> None:
        self._signs = signs
        self._with_store = with_store
        self._tasks = tasks
        self._linked: asyncio.Future[_Link] | None = None
        self._closing = False

    async def ask(self, place: Place, asked: Asked) -> Found | Failed:
        """ProcessEnded where one after the other did; OSError where none can be started."""
        for _ in range(TRIES):
            if self._closing:
                break
            if self._linked is None:
                self._linked = asyncio.get_running_loop().create_future()
                self._tasks.create_task(self._live(self._linked), name="replay process")
            link = await asyncio.shield(self._linked)
            with suppress(ProcessEnded):
                return await link.ask(place, asked)
        raise ProcessEnded

    def forget(self, folder: str) -> None:
        """Of the recording in that folder nothing stays in its memory."""
        if self._linked is not None and self._linked.done():
            self._linked.result().say(Forget(folder))

    def close(self) -> None:
        self._closing = True
        if self._linked is not None and self._linked.done():
            self._linked.result().close()

    async def _live(self, linked: asyncio.Future[_Link]) -> None:
        """One process from its start to its end; nobody is let in who finds it ended."""

        def leave() -> None:
            if self._linked is linked:
                self._linked = None

        link = _Link(self._asked_to_sign, leave)
        try:
            process = await _started(link, self._with_store)
        except OSError as error:
            leave()
            linked.set_exception(error)
            return
        try:
            linked.set_result(link)
            left_s = IDLE_S
            while left_s > 0 and not self._closing and not link.lost.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(link.lost.wait(), left_s)
                left_s = link.idle_in_s
        finally:
            leave()
            link.close()
            await _ended(process)

    def _asked_to_sign(self, link: _Link, message: WhoSigns | Sign) -> None:
        self._tasks.create_task(self._sign(link, message), name="replay signature")

    async def _sign(self, link: _Link, message: WhoSigns | Sign) -> None:
        try:
            link.say(await self._signs(message))
        except (KeyProblem, OSError) as error:
            _, reason = wire.fault_of(error)
            link.say(NotSigned(message.number, reason))
        except Exception as error:  # the task's root: a signature must not end the server
            log.exception("a stream is not signed")
            link.say(NotSigned(message.number, repr(error)))


async def _started(link: _Link, with_store: bool) -> Process:
    """OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "server.recorder.replay.worker", str(os.getpid()), str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=DEVNULL,
                env=environment(with_store=with_store),
                # A Ctrl-C in the server's terminal is for the server, which ends its processes.
                start_new_session=True,
            )
        except BaseException:
            link.close()
            raise


async def _ended(process: Process) -> None:
    """It sees its pipe closed; killed when it does not."""
    try:
        async with asyncio.timeout(EXIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    if process.returncode:
        log.warning("a replay process ended (%s)", process.returncode)


@asynccontextmanager
async def open_replay_process(signs: Signs, with_store: bool) -> AsyncIterator[ReplayProcess]:
    """``signs`` answers what a process asks, or raises why not."""
    async with asyncio.TaskGroup() as tasks:
        process = ReplayProcess(signs, with_store, tasks)
        try:
            yield process
        finally:
            process.close()
