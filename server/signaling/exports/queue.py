"""Exports from their being asked for to their end: one at a time is written, the others wait.

A file lies in `FOLDER`, sealed by a key that comes from its recording's, until it is removed or
`KEPT_S` are over. What is told of it is in the database, so that the next server has what is
ready; what this one was about to make is told to have been cut off.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from server.recorder.evidence import derivation
from server.recorder.evidence.derivation import Derivation
from server.recorder.export.content_credentials import Credentials, CredentialsUnavailable
from server.recorder.export.job import Bound, Failed, Fault, Written
from server.recorder.format.manifest import to_unix_us
from server.recorder.format.sealing import SegmentError
from server.recorder.recorder import Recorder
from server.recorder.stores.files import make_folder
from server.signaling import tokens
from server.signaling.errors import Refusal
from server.signaling.exports import FOLDER, process
from server.signaling.exports.export import Export, ExportState, Order
from server.signaling.protocol import ErrorId
from server.store import AsyncStore, KeptExport, Store, StoreError
from server.whole import whole_or_undone

log = logging.getLogger(__name__)

#: How long a file may be fetched.
KEPT_S = 3600.0
#: Waiting, running and kept ones: each may take as much disk as its recording.
MAX_EXPORTS = 16
MAX_EXPORTS_PER_LINK = 4


class ExportQueue:
    """Made by `open_queue`, which owns the tasks."""

    def __init__(
        self,
        recorder: Recorder,
        db: AsyncStore,
        clock: Callable[[], float],
        links_key: bytes,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._recorder = recorder
        self._db = db
        self._clock = clock
        self._links_key = links_key
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
        wanted = ticket.encode(errors="replace")
        for each in self._exports.values():
            if secrets.compare_digest(each.ticket.encode(), wanted):
                return each
        return None

    @property
    def busy(self) -> bool:
        """Whether one is being written, for which somebody waits."""
        return any(each.state is ExportState.RUNNING for each in self._exports.values())

    def place(self, export_id: str) -> tuple[Path, str]:
        """Where the sealed file lies, and its ticket."""
        path = self._recorder.data_dir / FOLDER / export_id
        return path, tokens.ticket(self._links_key, export_id)

    async def add(self, link_id: str, begin: Callable[[], Awaitable[Export]]) -> Export:
        """What ``begin`` makes, if the link may have one more. Raises Refusal."""
        async with self._asking:
            self._admit(link_id)
            export = await begin()
            await self._db.run(Store.keep_export, export.kept)
            self._begin(export)
        return export

    async def restore(self) -> None:
        """Those of the server before, in their order. OSError where the folder can't be used."""
        kept = await self._db.run(Store.exports)
        there = await asyncio.to_thread(_tidied, self._recorder.data_dir, [e for e, _ in kept])
        for each, viewing in kept:
            interview = await self._db.run(Store.interview, viewing.interview_id)
            name = interview.title if interview else viewing.interview_id
            export = Export(each, name, viewing, *self.place(each.id), None)
            if each.until_s is None or (each.sha256 and each.id not in there):
                export.finished(Failed(Fault.CUT_OFF, ""), b"", self._clock() + KEPT_S)
                await self._keep(export)
            else:
                export.restored()
            self._begin(export)

    def _begin(self, export: Export) -> None:
        self._exports[export.id] = export
        export.task = self._tasks.create_task(self._live(export), name=f"export {export.id}")

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
        await self._stop(export)
        await self._forget(export)

    async def close(self) -> None:
        """What is under way is stopped; what is ready stays for the next server."""
        all_of_them = tuple(self._exports.values())
        await self._stop(*all_of_them)  # at once: the next in the line must not begin
        for each in all_of_them:
            if each.order is not None:
                await asyncio.to_thread(each.path.unlink, missing_ok=True)

    async def _stop(self, *exports: Export) -> None:
        tasks = [each.task for each in exports if each.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _forget(self, export: Export) -> None:
        if self._exports.pop(export.id, None) is not None:
            try:
                await self._db.run(Store.forget_export, export.id)
                await asyncio.to_thread(export.path.unlink, missing_ok=True)
            except (StoreError, OSError) as error:
                log.error("export %s is removed at the next start alone: %s", export.id, error)

    async def _keep(self, export: Export) -> None:
        """Whatever becomes of it, this server has it."""
        try:
            await self._db.run(Store.keep_export, export.kept)
        except StoreError as error:
            log.error("export %s is lost at the next start: %s", export.id, error)

    # ---- an export's life -----------------------------------------------------------------

    async def _live(self, export: Export) -> None:
        """Until it was kept long enough, or is removed."""
        if export.order is not None:
            async with self._turn:
                export.state = ExportState.RUNNING
                await self._finish(export, export.order, await self._make(export, export.order))
        await asyncio.sleep((export.kept.until_s or 0.0) - self._clock())
        await self._forget(export)

    async def _make(self, export: Export, order: Order) -> Written | Failed:
        def on_share(done: float) -> None:
            export.done = done

        async def sign(bound: Bound) -> bytes:
            assert order.credentials is not None
            return await asyncio.to_thread(_signed, order.credentials, bound)

        try:
            creating = asyncio.to_thread(_create, export.path)
            fd = await whole_or_undone(creating, closed)
            try:
                return await process.run(order.job, fd, on_share, sign)
            finally:
                os.close(fd)
        except Exception as error:  # what is said by who decodes must not stop the server
            return Failed(Fault.FAILED, repr(error))

    async def _finish(self, export: Export, order: Order, last: Written | Failed) -> None:
        statement = b""
        if isinstance(last, Written):
            made = self._derivation(order, last)
            try:
                statement = await asyncio.to_thread(self._recorder.statement, made)
            except (SegmentError, OSError) as error:
                last = Failed(Fault.FAILED, f"the log can't be told: {error}")
        if isinstance(last, Failed):
            named = export.interview_id, last.fault, last.reason
            log.error("export failed interview=%s fault=%s reason=%s", *named)
            with suppress(OSError):
                await asyncio.to_thread(export.path.unlink, missing_ok=True)
        export.finished(last, statement, self._clock() + KEPT_S)
        await self._keep(export)

    def _derivation(self, order: Order, written: Written) -> Derivation:
        job = order.job
        return derivation.of_digest(
            written.size,
            written.sha256,
            order.source,
            (job.start_us, job.end_us),
            to_unix_us(self._clock()),
            transcoded=job.transcode,
        )


def _tidied(data_dir: Path, kept: Sequence[KeptExport]) -> set[str]:
    """The files of those that are ready; of no other one anything is left."""
    folder, ready = data_dir / FOLDER, {each.id for each in kept if each.sha256}
    make_folder(folder)
    for path in folder.iterdir():
        if path.name not in ready:
            path.unlink()
    return {path.name for path in folder.iterdir()}


async def closed(fd: int) -> None:
    os.close(fd)


def _create(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _signed(credentials: Credentials, bound: Bound) -> bytes:
    """Without a time stamp, where the authority is away: it is not waited for."""
    try:
        return credentials.box(bound.digest, encoded=bound.encoded)
    except CredentialsUnavailable as error:
        log.error("an export is signed without a time stamp: %s", error)
        return credentials.box(bound.digest, encoded=bound.encoded, stamped=False)


@asynccontextmanager
async def open_queue(
    recorder: Recorder, db: AsyncStore, clock: Callable[[], float], links_key: bytes
) -> AsyncIterator[ExportQueue]:
    """At the end what is under way is stopped; the next one has what is ready. OSError.

    ``links_key``: of tokens, which tickets come from, too.
    """
    async with asyncio.TaskGroup() as tasks:
        queue = ExportQueue(recorder, db, clock, links_key, tasks)
        try:
            await queue.restore()
            yield queue
        finally:
            await queue.close()
