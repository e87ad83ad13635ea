"""Exports from their being asked for to their end: one at a time is written, the others wait.

The file has no name on the disk and is sealed with a key that is kept here alone, so that it ends
with the server, or after `KEPT_S`.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from server.recorder import derivation
from server.recorder.content_credentials import Credentials, CredentialsUnavailable
from server.recorder.derivation import Derivation
from server.recorder.export_job import Bound, Failed, Fault, Written
from server.recorder.manifest import to_unix_us
from server.recorder.recorder import Recorder
from server.recorder.sealing import SegmentError
from server.signaling.errors import Refusal
from server.signaling.exports import process
from server.signaling.exports.export import Export, ExportState
from server.signaling.protocol import ErrorId

log = logging.getLogger(__name__)

#: How long a file may be fetched.
KEPT_S = 3600.0
#: Waiting, running and kept ones: each may take as much disk as its recording.
MAX_EXPORTS = 16
MAX_EXPORTS_PER_LINK = 4


class ExportQueue:
    """Made by `open_queue`, which owns the tasks."""

    def __init__(
        self, recorder: Recorder, clock: Callable[[], float], tasks: asyncio.TaskGroup
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._tasks = tasks
        self._asking = asyncio.Lock()  # so that nobody is admitted beside another
        self._turn = asyncio.Lock()  # who waits for it gets it in order
        self._exports: dict[str, Export] = {}  # in the order they were asked for

    def of(self, link_id: str, interview_id: str) -> list[Export]:
        """Those of the interview that were asked for with this link."""
        return [
            each
            for each in self._exports.values()
            if (each.viewing.link_id, each.interview_id) == (link_id, interview_id)
        ]

    def find(self, ticket: str) -> Export | None:
        same = (e for e in self._exports.values() if secrets.compare_digest(e.ticket, ticket))
        return next(same, None)

    @property
    def busy(self) -> bool:
        """Whether one is being written, for which somebody waits."""
        return any(each.state is ExportState.RUNNING for each in self._exports.values())

    async def add(self, link_id: str, begin: Callable[[], Awaitable[Export]]) -> Export:
        """What ``begin`` makes, if the link may have one more. Raises Refusal."""
        async with self._asking:
            self._admit(link_id)
            export = await begin()
            self._exports[export.id] = export
        export.task = self._tasks.create_task(self._live(export), name=f"export {export.id}")
        return export

    def _admit(self, link_id: str) -> None:
        own = sum(each.viewing.link_id == link_id for each in self._exports.values())
        if own >= MAX_EXPORTS_PER_LINK:
            raise Refusal(
                ErrorId.TOO_MANY_EXPORTS,
                f"A link has at most {MAX_EXPORTS_PER_LINK} exports at a time: remove one first.",
            )
        if len(self._exports) >= MAX_EXPORTS:
            raise Refusal(ErrorId.SERVER_BUSY, "Too many exports wait: try again later.")

    async def end(self, export: Export) -> None:
        """Also one that is under way: it is stopped, and its file is gone."""
        if export.task is not None:  # else it is just being admitted
            export.task.cancel()
            await asyncio.wait([export.task])

    async def close(self) -> None:
        for each in tuple(self._exports.values()):
            await self.end(each)

    # ---- an export's life -----------------------------------------------------------------

    async def _live(self, export: Export) -> None:
        """Until it was kept long enough, or is removed."""
        try:
            async with self._turn:
                export.state = ExportState.RUNNING
                await self._finish(export, await self._make(export))
            export.until_s = self._clock() + KEPT_S
            await asyncio.sleep(KEPT_S)
        finally:
            del self._exports[export.id]
            export.file.close()  # and so it is gone

    async def _make(self, export: Export) -> Written | Failed:
        def on_share(done: float) -> None:
            export.done = done

        async def sign(bound: Bound) -> bytes:
            assert export.credentials is not None
            return await asyncio.to_thread(_signed, export.credentials, bound)

        try:
            return await process.run(export.job, export.file.fileno(), on_share, sign)
        except Exception as error:  # what is said by who decodes must not stop the server
            return Failed(Fault.FAILED, repr(error))

    async def _finish(self, export: Export, last: Written | Failed) -> None:
        if isinstance(last, Written):
            made = self._derivation(export, last)
            try:
                export.statement = await asyncio.to_thread(self._recorder.statement, made)
            except (SegmentError, OSError) as error:
                last = Failed(Fault.FAILED, f"the log can't be told: {error}")
        match last:
            case Written():
                export.written, export.state, export.done = last, ExportState.READY, 1.0
            case Failed(fault, reason):
                export.fault, export.state = fault, ExportState.FAILED
                named = export.interview_id, fault, reason
                log.error("export failed interview=%s fault=%s reason=%s", *named)

    def _derivation(self, export: Export, written: Written) -> Derivation:
        job = export.job
        return derivation.of_digest(
            written.size,
            written.sha256,
            export.source,
            (job.start_us, job.end_us),
            to_unix_us(self._clock()),
            transcoded=job.transcode,
        )


def _signed(credentials: Credentials, bound: Bound) -> bytes:
    """Without a time stamp, where the authority is away: it is not waited for."""
    try:
        return credentials.box(bound.digest, encoded=bound.encoded)
    except CredentialsUnavailable as error:
        log.error("an export is signed without a time stamp: %s", error)
        return credentials.box(bound.digest, encoded=bound.encoded, stamped=False)


@asynccontextmanager
async def open_queue(recorder: Recorder, clock: Callable[[], float]) -> AsyncIterator[ExportQueue]:
    """At the end what is under way is stopped, and every file is gone."""
    async with asyncio.TaskGroup() as tasks:
        queue = ExportQueue(recorder, clock, tasks)
        try:
            yield queue
        finally:
            await queue.close()
