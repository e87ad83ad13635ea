"""The process that reads recordings for replay, seen from the server: a thread takes what it
answers, in the system's calls, where it holds up nobody. Started when somebody asks, ended when
nobody does; one that is killed is replaced.
"""

import asyncio
import fcntl
import logging
import os
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from msgspec import MsgspecError

from server.environment import environment
from server.priority import take_no_core
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
#: About one answer; the most that the kernel lets everybody have.
PIPE_BYTES = 1 << 20
#: Processes that may end over one question.
TRIES = 2
#: Questions that may wait for one: twenty who replay have six connections each. A disk or a store
#: that hangs keeps all of them waiting, and those too whose asker is gone.
MAX_WAITING = 256

Signs = Callable[[WhoSigns | Sign], Awaitable[Signer | Signature]]


class ProcessEnded(Exception):
    """Before it answered."""


class ProcessBusy(Exception):
    """Nothing more is asked before something is answered."""


@dataclass(frozen=True, slots=True)
class Found:
    body: bytearray
    seen_s: tuple[tuple[float, float], ...]


class _Link:
    """The server's ends of one process's pipes.

    ``on_lost`` is called when the process closed its end.
    """

    def __init__(
        self,
        process: Process,
        answers: int,
        on_signing: Callable[["_Link", WhoSigns | Sign], None],
        on_lost: Callable[[], None],
    ) -> None:
        assert process.stdin is not None
        self._questions = process.stdin
        self._answers = answers
        self._on_signing = on_signing
        self._on_lost = on_lost
        self._asked: dict[int, asyncio.Future[Found | Failed]] = {}
        self._numbers = 0
        self._loop = asyncio.get_running_loop()
        self._rests_since_s = self._loop.time()
        self.lost = asyncio.Event()
        self._listening = threading.Thread(target=self._listen, name="replay answers")
        self._listening.start()

    @property
    def idle_in_s(self) -> float:
        if self._asked:
            return IDLE_S
        return self._rests_since_s + IDLE_S - self._loop.time()

    async def ask(self, place: Place, asked: Asked) -> Found | Failed:
        """ProcessEnded; ProcessBusy."""
        if self.lost.is_set():
            raise ProcessEnded
        if len(self._asked) >= MAX_WAITING:
            raise ProcessBusy
        self._numbers += 1
        number = self._numbers
        answer: asyncio.Future[Found | Failed] = self._loop.create_future()
        self._asked[number] = answer
        self.say(Read(number, place, asked))
        try:
            return await answer
        finally:
            del self._asked[number]
            self._rests_since_s = self._loop.time()

    def say(self, message: ToReader) -> None:
        if not self._questions.is_closing():
            self._questions.write(b"".join(wire.encode(message)))

    def close(self) -> None:
        """The process ends by that, unless it hangs."""
        self._questions.close()
        self._lose()

    async def closed(self) -> None:
        """Returns once the process has ended, and nothing more comes of it."""
        await asyncio.to_thread(self._listening.join)

    def _listen(self) -> None:
        """In a thread of its own: half a megabyte takes 0.4 ms to come out of a pipe."""
        take_no_core()
        try:
            with open(self._answers, "rb") as answers:
                while (whole := wire.read(answers)) is not None:
                    head, body = whole
                    message = wire.from_reader.decode(head)
                    self._loop.call_soon_threadsafe(self._take, message, body)
        except (OSError, MsgspecError, MemoryError):
            log.exception("a replay process answers what can't be")
        self._loop.call_soon_threadsafe(self._lose)  # or who asked would wait for ever

    def _lose(self) -> None:
        self.lost.set()
        self._on_lost()
        for each in self._asked.values():
            if not each.done():
                each.set_exception(ProcessEnded())

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
        """ProcessEnded where one after the other did; OSError where none can be started;
        ProcessBusy."""
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

        try:
            process, answers = await _started(self._with_store)
        except OSError as error:
            leave()
            linked.set_exception(error)
            return
        link = _Link(process, answers, self._asked_to_sign, leave)
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
            await link.closed()

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


async def _started(with_store: bool) -> tuple[Process, int]:
    """And the descriptor where its answers come. OSError."""
    ours, theirs = os.pipe()
    try:
        with suppress(OSError):  # as large as it may be: the fewer times its reader is woken
            fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "server.recorder.replay.worker", str(os.getpid()), str(theirs)),
            pass_fds=(theirs,),
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=DEVNULL,
            env=environment(with_store=with_store),
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, ours


async def _ended(process: Process) -> None:
    """It sees its pipe closed; killed when it does not, or nobody waits for it to."""
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(EXIT_S):
                await process.wait()
    finally:
        if process.returncode is None:  # else the thread that listens to it would never end
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
