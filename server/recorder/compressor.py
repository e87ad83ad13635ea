"""The background job of a server: one recording after the other is compressed, when nobody waits.

The work is done by a process (`server.recorder.compression.worker`) and one that it starts, never
more, of the lowest priority. While an interview runs, or an export that somebody waits for, they
are stopped where they stand (SIGSTOP), within `WATCH_S`; what they have in memory stays there.
Whatever ends them, the next ones go on behind the last segment that is whole.
"""

import asyncio
import contextlib
import enum
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from server.recorder.catalog.derived import Left, NotAdopted, check_ready, due, ready
from server.recorder.compression.job import Told
from server.recorder.format.sealing import SegmentError
from server.recorder.recorder import Recorder

log = logging.getLogger(__name__)

#: How often the disk is looked at for what is due, and for what waits to take its place.
POLL_S = 5.0
#: How often a running process is held against what others do.
WATCH_S = 0.25
#: After its end an interview may go on: by mistake one leaves.
QUIET_S = 600.0
#: What failed is tried again: a store or a key service may be there again.
RETRY_S = 3600.0
#: A player that was given the source has to get all of it.
READ_QUIET_S = 1800.0

_told = msgspec.json.Decoder(Told)


class Policy(enum.StrEnum):
    """What is done to recordings once they are finished."""

    OFF = "off"
    KEEP_SOURCE = "keep-source"
    REPLACE_SOURCE = "replace-source"


class Readers(Protocol):
    """Who reads recordings: the compressor's view of the replay."""

    def last_read_s(self, interview_id: str) -> float:
        """When, by the server's clock; 0 if nobody has."""

    def forget(self, interview_id: str) -> None:
        """Open it anew for the next one."""


@dataclass(slots=True)
class CompressMetrics:
    """Since the process started, but for what runs now."""

    compressed: int = 0
    source_bytes: int = 0  #: of these, before
    bytes: int = 0  #: and now
    left: Counter[Left] = field(default_factory=Counter)  #: stayed as they are
    failures: int = 0
    running: bool = False
    paused: bool = False
    done: float = 0.0  #: of the one that runs, 0 to 1


class Compressor:
    """``store``: where recordings go (`open_store`), or empty; ``busy``: whether it has to wait
    for others. Use :func:`open_compressor`."""

    def __init__(
        self,
        recorder: Recorder,
        root_key: str,
        store: str,
        policy: Policy,
        busy: Callable[[], bool],
        readers: Readers,
        clock: Callable[[], float],
        metrics: CompressMetrics,
    ) -> None:
        self._recorder = recorder
        self._root_key = root_key
        self._store = store
        self._policy = policy
        self._busy = busy
        self._readers = readers
        self._clock = clock
        self._failed: dict[str, float] = {}  # when
        self.metrics = metrics

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._round()
            except Exception:  # the task's root: recordings stay as they are
                log.exception("compressing recordings failed")
            await asyncio.sleep(POLL_S)

    async def _round(self) -> None:
        for interview_id in await asyncio.to_thread(ready, self._recorder.data_dir):
            await self._adopt(interview_id)
        if self._policy is Policy.OFF or self._busy():
            return
        before_s = self._clock() - QUIET_S
        waiting = await asyncio.to_thread(
            due, self._recorder.data_dir, self._recorder.public_key, before_s
        )
        lately_s = self._clock() - RETRY_S
        wanted = next((each for each in waiting if self._failed.get(each, 0) < lately_s), None)
        if wanted is not None:
            await self._compress(wanted)

    async def _adopt(self, interview_id: str) -> None:
        if self._is_read(interview_id):
            return
        data_dir, key = self._recorder.data_dir, self._recorder.public_key
        try:
            await asyncio.to_thread(check_ready, data_dir, interview_id, key)
        except (NotAdopted, SegmentError, OSError) as error:
            if interview_id not in self._failed:
                log.error("what was made of recording %s is not used: %s", interview_id, error)
            self._failed[interview_id] = self._clock()
            return
        if self._is_read(interview_id):
            return  # since then: it takes its time to check a long recording
        self._readers.forget(interview_id)
        await self._recorder.adopt(interview_id)

    def _is_read(self, interview_id: str) -> bool:
        """Whether somebody may be playing its source."""
        read_s = self._readers.last_read_s(interview_id)
        return bool(read_s) and self._clock() - read_s < READ_QUIET_S

    async def _compress(self, interview_id: str) -> None:
        now = self.metrics
        process = await self._start(interview_id)
        now.running, now.paused, now.done = True, False, 0.0
        watch = asyncio.create_task(self._watch(process), name="compress watch")
        try:
            await self._listen(process, interview_id)
        finally:
            watch.cancel()
            _signal(process, signal.SIGKILL)
            await process.wait()
            now.running = now.paused = False

    async def _listen(self, process: Process, interview_id: str) -> None:
        assert process.stdout is not None
        told = Told(0.0, failed=True, reason="its process ended")
        async for line in process.stdout:
            told = _told.decode(line)
            self.metrics.done = told.done
        now = self.metrics
        if await process.wait() or told.failed:
            self._failed[interview_id] = self._clock()
            now.failures += 1
            log.error("recording %s is not compressed: %s", interview_id, told.reason)
        elif told.left:
            now.left[told.left] += 1
            log.warning("recording %s stays as it is: %s", interview_id, told.reason)
        else:
            now.compressed += 1
            now.source_bytes += told.source_bytes
            now.bytes += told.bytes
            sizes = told.source_bytes, told.bytes
            log.info("recording %s is compressed: %d bytes are now %d", interview_id, *sizes)

    async def _watch(self, process: Process) -> None:
        """Stop it while others are busy."""
        while True:
            busy = self._busy()
            if busy != self.metrics.paused:
                _signal(process, signal.SIGSTOP if busy else signal.SIGCONT)
                self.metrics.paused = busy
            await asyncio.sleep(WATCH_S)

    async def _start(self, interview_id: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "server.recorder.compression.worker", str(os.getpid())),
            *(str(self._recorder.data_dir), self._root_key, interview_id, self._policy),
            self._store,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
            # A Ctrl-C in the server's terminal is for the server, which ends its processes.
            start_new_session=True,
        )


def _signal(process: Process, number: signal.Signals) -> None:
    """It and the process that it started, which ends with it: they are a group of their own."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


@asynccontextmanager
async def open_compressor(compressor: Compressor) -> AsyncIterator[Compressor]:
    """Runs it; at the end its process is killed, and goes on with the next start."""
    task = asyncio.create_task(compressor.run(), name="compressor")
    try:
        yield compressor
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
