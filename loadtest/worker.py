"""A part of a run in a process of its own, and the end of the pipe in the process that asks.

Messages are pickles, between processes of one program; each with its length in four bytes.
The child ends when its input does, whatever became of its parent.
"""

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvloop

from loadtest.invites import Invite
from loadtest.part import Part, PartResult
from loadtest.peer import open_crowd
from loadtest.plan import Plan
from loadtest.series import Totals

TOTALS_INTERVAL_S = 1.0
#: For all to leave, each DELETE with a timeout of its own.
LEAVE_TIMEOUT_S = 20.0


class WorkerError(Exception):
    """A process of the generator ended before its time; the text says how."""


@dataclass(frozen=True, slots=True)
class _Job:
    plan: Plan
    invites: Mapping[int, Invite | None]


@dataclass(frozen=True, slots=True)
class _Opened:
    anybody_in: bool


class _Begin:
    pass


class _Played:
    pass


class _End:
    pass


def _packed(message: object) -> bytes:
    data = pickle.dumps(message)
    return len(data).to_bytes(4, "big") + data


async def _receive(reader: asyncio.StreamReader) -> Any:
    """Raises IncompleteReadError at the end of the pipe."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    return pickle.loads(await reader.readexactly(size))


# ---- the process that asks --------------------------------------------------------------


class RemotePart:
    """As `Part`, by a process of its own. Everything may raise WorkerError."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._totals = Totals()
        self._anybody_in = False
        self._opened, self._played = asyncio.Event(), asyncio.Event()
        self._result: PartResult | None = None
        self._over = asyncio.Event()
        self._receiving = asyncio.create_task(self._receive_all(), name="worker's messages")

    async def open(self) -> None:
        await self._wait(self._opened)

    def anybody_in(self) -> bool:
        return self._anybody_in

    def begin(self) -> None:
        self._send(_Begin())

    async def play(self) -> None:
        await self._wait(self._played)

    def totals(self) -> Totals:
        """As of a second ago at most."""
        return self._totals

    async def end(self) -> PartResult:
        self._send(_End())
        await self._wait(self._over)
        assert self._result is not None
        return self._result

    async def leave(self) -> None:
        """The end of its input tells the child to leave; idempotent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._receiving

    def send_job(self, plan: Plan, invites: Mapping[int, Invite | None]) -> None:
        self._send(_Job(plan, invites))

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(_packed(message))

    async def _wait(self, event: asyncio.Event) -> None:
        waiting = asyncio.create_task(event.wait(), name="worker")
        try:
            await asyncio.wait({waiting, self._receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not event.is_set():
            code = await self._process.wait()
            raise WorkerError(f"a process of the generator ended with code {code}")

    async def _receive_all(self) -> None:
        assert self._process.stdout is not None
        with suppress(asyncio.IncompleteReadError):
            while True:
                match await _receive(self._process.stdout):
                    case _Opened(anybody_in):
                        self._anybody_in = anybody_in
                        self._opened.set()
                    case _Played():
                        self._played.set()
                    case Totals() as totals:
                        self._totals = totals
                    case PartResult() as result:
                        self._result = result
                        self._over.set()


@asynccontextmanager
async def open_remote(
    plan: Plan, invites: Mapping[int, Invite | None]
) -> AsyncIterator[RemotePart]:
    # A session of its own: Ctrl-C is for the parent, which asks for the results then.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.worker"), stdin=PIPE, stdout=PIPE, start_new_session=True
    )
    part = RemotePart(process)
    try:
        part.send_job(plan, invites)
        yield part
    finally:
        await part.leave()


# ---- the process that works -------------------------------------------------------------


class _Worker:
    """Does what the messages on its input say, one after the other."""

    def __init__(self, part: Part, commands: asyncio.StreamReader, output: int) -> None:
        self._part, self._commands, self._output = part, commands, output

    async def run(self) -> None:
        try:
            command = asyncio.create_task(_receive(self._commands), name="commands")
            if await self._unless(command, self._part.open(), "opening"):
                self._say(_Opened(self._part.anybody_in()))
            if isinstance(await command, _Begin):
                self._part.begin()
                command = asyncio.create_task(_receive(self._commands), name="commands")
                telling = asyncio.create_task(self._tell(), name="telling")
                if await self._unless(command, self._part.play(), "playing"):
                    self._say(_Played())
                await asyncio.wait({command})
                telling.cancel()
            if isinstance(await command, _End):
                self._say(await self._part.end())
                await _receive(self._commands)  # raises at the end of input
        finally:
            await self._part.leave()

    async def _unless(self, command: "asyncio.Task[Any]", work: Any, name: str) -> bool:
        """Whether the work was done before the next command came, which cancels it."""
        working = asyncio.create_task(work, name=name)
        await asyncio.wait({command, working}, return_when=asyncio.FIRST_COMPLETED)
        done = working.done()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        return done

    async def _tell(self) -> None:
        while True:
            self._say(self._part.totals())
            await asyncio.sleep(TOTALS_INTERVAL_S)

    def _say(self, message: object) -> None:
        """Blocks while the pipe is full: the parent reads at all times."""
        data = memoryview(_packed(message))
        while data:
            data = data[os.write(self._output, data) :]


async def _main() -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    with suppress(asyncio.IncompleteReadError):
        job = await _receive(commands)
        assert isinstance(job, _Job)
        async with open_crowd() as crowd:
            part = Part(crowd, job.plan, job.invites)
            await _Worker(part, commands, sys.stdout.fileno()).run()


if __name__ == "__main__":
    # Pickles name the classes of the module, not of the script that runs.
    from loadtest import worker

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(worker._main())
