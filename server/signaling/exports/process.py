"""The process that writes an export: it decodes, which the server's own never does."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from server.environment import environment
from server.recorder.export.job import Bound, Failed, Fault, Job, Said, Share, Signed, Written, said
from server.whole import whole_or_undone

#: One that has told nothing for so long hangs in a decoder.
SILENT_S = 120.0


async def run(
    job: Job,
    fd: int,
    on_share: Callable[[float], None],
    sign: Callable[[Bound], Awaitable[bytes]],
) -> Written | Failed:
    """Have the export written to the file ``fd``; ``on_share`` gets how much of it is done.

    ``sign`` is called at most once. OSError where the process can't be started; what ``sign``
    raises.
    """
    process = await whole_or_undone(_start(fd, bool(job.store)), _kill)
    try:
        _tell(process, job)
        signed = False
        async for word in _words(process):
            match word:
                case Share(done):
                    on_share(done)
                case Bound() if not signed:  # one signature, of one file
                    _tell(process, Signed(await sign(word)))
                    signed = True
                case Written() | Failed():
                    return word
                case _:
                    break
        return Failed(Fault.FAILED, "the process ended or hung")
    finally:
        await _kill(process)


async def _start(fd: int, with_store: bool) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "server.recorder.export.worker", str(fd)),
        pass_fds=(fd,),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env=environment(with_store=with_store),
        # A Ctrl-C in the server's terminal is for the server, which ends its processes.
        start_new_session=True,
    )


def _tell(process: Process, word: Job | Signed) -> None:
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(word) + b"\n")


async def _words(process: Process) -> AsyncIterator[Said]:
    """Until it ends, or has been silent for too long."""
    assert process.stdout is not None
    while True:
        try:
            async with asyncio.timeout(SILENT_S):
                line = await process.stdout.readline()
        except TimeoutError:
            return
        if not line:
            return
        yield said.decode(line)


async def _kill(process: Process) -> None:
    """If it has not ended."""
    if process.returncode is None:
        process.kill()
    await process.wait()
