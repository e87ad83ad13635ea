"""The process that writes an export: it decodes, which the server's own never does."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable

import msgspec

from server.recorder.export_job import Failed, Fault, Job, Said, Share, Written, said

#: One that has told nothing for so long hangs in a decoder.
SILENT_S = 120.0
#: What it gets of the server's environment: what finds Python, and a bucket.
ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
FOR_STORES = ("HOME", "AWS_", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_")


async def run(job: Job, fd: int, on_share: Callable[[float], None]) -> Written | Failed:
    """Have the export written to the file ``fd``; ``on_share`` gets how much of it is done.

    OSError where the process can't be started.
    """
    starting = asyncio.ensure_future(_start(fd, bool(job.store)))
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # It can't be left half started: nobody would ever wait for it.
        await _kill(await starting)
        raise
    try:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        last: Said | None = None
        async for last in _words(process):
            if isinstance(last, Share):
                on_share(last.done)
        if isinstance(last, Written | Failed):
            return last
        return Failed(Fault.FAILED, "the process ended or hung")
    finally:
        await _kill(process)


async def _start(fd: int, with_store: bool) -> Process:
    wanted = (*ENVIRONMENT, *FOR_STORES) if with_store else ENVIRONMENT
    environment = {name: os.environ[name] for name in os.environ if name.startswith(wanted)}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "server.recorder.export_worker", str(fd)),
        pass_fds=(fd,),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env=environment,
        # A Ctrl-C in the server's terminal is for the server, which ends its processes.
        start_new_session=True,
    )


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
