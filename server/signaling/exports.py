"""`/api/recordings/ID/exports`: files made of recordings in the background, and fetched once ready.

Each is written by a process of its own, of the lowest priority, one at a time: it decodes, which
the server's process never does. Pages may close meanwhile. The file has no name on the disk and is
sealed with a key that is kept here alone, so that it ends with the server, or after `KEPT_S`. Who
fetches it says by its address who they are: browsers send no header of ours with a download.
"""

import asyncio
import enum
import logging
import os
import secrets
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec
from aiohttp import hdrs, web
from aiohttp.helpers import content_disposition_header

from server.core.interviews import Way
from server.recorder import derivation
from server.recorder.catalog import recording_path
from server.recorder.clip import fragments_between
from server.recorder.derivation import Derivation
from server.recorder.export_job import Failed, Fault, Job, Said, Share, Written, said
from server.recorder.manifest import to_unix_us
from server.recorder.reader import RecordingReader
from server.recorder.recorder import Recorder
from server.recorder.sealed_file import CHUNK_BYTES, KEY_BYTES, SealedFile, Turned
from server.recorder.sealing import SegmentError
from server.signaling.access import Grant
from server.signaling.api import json_body, json_response
from server.signaling.errors import Refusal
from server.signaling.plant import Plant
from server.signaling.protocol import ErrorId
from server.signaling.replay import Replay
from server.signaling.view_log import Read
from server.store import AsyncStore, Store, Viewing

log = logging.getLogger(__name__)

#: How long a file may be fetched.
KEPT_S = 3600.0
#: Waiting, running and kept ones: each may take as much disk as its recording.
MAX_EXPORTS = 16
MAX_EXPORTS_PER_LINK = 4
#: A process that has told nothing for so long hangs in a decoder.
SILENT_S = 120.0
FILE_TYPE = "video/mp4"
#: What a process gets of the server's environment: what finds Python, and a bucket.
ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
FOR_STORES = ("HOME", "AWS_", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_")


class ExportState(enum.StrEnum):
    WAITING = "waiting"  #: for those before it
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"


class NewExport(msgspec.Struct, frozen=True):
    """Seconds since the recording's start; all of it if not told otherwise."""

    start_s: float = 0.0
    end_s: float | None = None
    transcode: bool = False  #: pictures become H.264, which plays everywhere


class ExportItem(msgspec.Struct, frozen=True):
    id: str
    state: ExportState
    done: float  #: 0..1
    start_s: float
    end_s: float
    transcode: bool
    asked_s: float  #: Unix time, as the next
    until_s: float | None  #: when it will be removed; null before it is ready or has failed
    size: int | None  #: bytes
    fault: Fault | None
    file: str | None  #: where it is fetched; whoever has this address can
    statement: str | None  #: and what was signed of it, for `vivavoce verify`


@dataclass(slots=True, eq=False)
class Export:
    """One file, from its being asked for to its end."""

    id: str
    interview_id: str
    name: str  #: for whoever saves it
    job: Job
    source: derivation.Origin
    viewing: Viewing
    file: IO[bytes]  #: has no name
    asked_s: float
    ticket: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    state: ExportState = ExportState.WAITING
    done: float = 0.0
    until_s: float | None = None
    fault: Fault | None = None
    written: Written | None = None
    statement: bytes = b""
    task: asyncio.Task[None] | None = None

    @property
    def item(self) -> ExportItem:
        address = f"/exports/{self.ticket}" if self.written else None
        return ExportItem(
            self.id,
            self.state,
            self.done,
            self.job.start_us / 1e6,
            self.job.end_us / 1e6,
            self.job.transcode,
            self.asked_s,
            self.until_s,
            self.written.size if self.written else None,
            self.fault,
            address,
            f"{address}/statement" if address else None,
        )


class Exports:
    """Handlers; made by `open_exports`, which owns the tasks."""

    def __init__(
        self,
        recorder: Recorder,
        db: AsyncStore,
        clock: Callable[[], float],
        replay: Replay,
        store: str,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """``store``: where the recorder's closed segments may be; empty: nowhere."""
        self._recorder = recorder
        self._db = db
        self._clock = clock
        self._replay = replay
        self._store = store
        self._tasks = tasks
        self._asking = asyncio.Lock()  # so that nobody is admitted beside another
        self._turn = asyncio.Lock()  # who waits for it gets it in order
        self._exports: dict[str, Export] = {}  # in the order they were asked for

    async def exports(self, request: web.Request, grant: Grant) -> web.Response:
        """Those that were asked for with this link."""
        return json_response([each.item for each in self._own(grant, _interview(request))])

    async def create(self, request: web.Request, grant: Grant) -> web.Response:
        wanted = await json_body(request, NewExport)
        interview_id = _interview(request)
        reader = await self._replay.reader(interview_id)
        span_us = await self._replay.read(interview_id, _span_us, reader, wanted)
        job = await self._job(interview_id, span_us, wanted.transcode)
        interview = await self._db.run(Store.interview, interview_id)
        title = interview.title if interview else interview_id
        origin = derivation.origin(reader.manifest)
        async with self._asking:
            self._admit(grant)
            place = span_us[0] / 1e6, span_us[1] / 1e6
            read = Read(interview_id, grant.link_id, Way.EXPORT, *place)
            viewing = await self._replay.views.begin(read)  # first on the record, then read
            file = await self._replay.read(interview_id, _nameless, self._recorder.data_dir)
            now = self._clock()
            made = Export(viewing.id, interview_id, title, job, origin, viewing, file, now)
            self._exports[made.id] = made
        made.task = self._tasks.create_task(self._live(made), name=f"export {made.id}")
        return json_response(made.item, status=201)

    async def remove(self, request: web.Request, grant: Grant) -> web.Response:
        """Also one that is under way: it is stopped."""
        wanted = request.match_info["export"]
        found = next((e for e in self._own(grant, _interview(request)) if e.id == wanted), None)
        if found is None:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such export.")
        await _end(found)
        return web.Response(status=204)

    @property
    def busy(self) -> bool:
        """Whether one is being written, for which somebody waits."""
        return any(each.state is ExportState.RUNNING for each in self._exports.values())

    async def close(self) -> None:
        """Stop what is under way, and remove every file."""
        for each in tuple(self._exports.values()):
            await _end(each)

    async def statement(self, request: web.Request) -> web.Response:
        export, _ = await self._fetched(request)
        name = export.name + ".mp4" + derivation.SUFFIX
        return web.Response(
            body=export.statement, content_type="application/json", headers=_headers(name)
        )

    async def file(self, request: web.Request) -> web.StreamResponse:
        """The file, or the one range of it that is asked for (RFC 9110 14.2)."""
        export, written = await self._fetched(request)
        response, first, end = _begun(request, export.name, written)
        if request.method != hdrs.METH_HEAD:
            await self._replay.views.lengthen(export.viewing)
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            await self._send(export, written, response, first, end)
        return response

    async def _send(
        self,
        export: Export,
        written: Written,
        response: web.StreamResponse,
        first: int,
        end: int,
    ) -> None:
        fd = os.dup(export.file.fileno())  # who has begun ends, though it be removed meanwhile
        try:
            sealed = SealedFile(fd, bytes.fromhex(export.job.file_key))
            file, place = Turned(sealed, written.head), first
            while place < end:
                count = min(CHUNK_BYTES, end - place)
                part = await self._replay.read(export.interview_id, file.read_at, place, count)
                await response.write(part)
                place += len(part)
        finally:
            os.close(fd)

    async def _fetched(self, request: web.Request) -> tuple[Export, Written]:
        """The export with that address. Raises Refusal: gone, its link or its key too."""
        ticket = request.match_info["ticket"]
        same = (e for e in self._exports.values() if secrets.compare_digest(e.ticket, ticket))
        export = next(same, None)
        if export is None or export.written is None or export.viewing.link_id is None:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such export any more.")
        link = await self._db.run(Store.link, export.viewing.link_id)
        if link is None or link.revoked_s is not None:
            raise Refusal(ErrorId.TOKEN_REVOKED)
        interview_id = export.interview_id
        await self._replay.read(interview_id, self._recorder.check_key, interview_id)
        return export, export.written

    def _own(self, grant: Grant, interview_id: str) -> list[Export]:
        return [
            each
            for each in self._exports.values()
            if (each.viewing.link_id, each.interview_id) == (grant.link_id, interview_id)
        ]

    def _admit(self, grant: Grant) -> None:
        own = sum(each.viewing.link_id == grant.link_id for each in self._exports.values())
        if own >= MAX_EXPORTS_PER_LINK:
            raise Refusal(
                ErrorId.TOO_MANY_EXPORTS,
                f"A link has at most {MAX_EXPORTS_PER_LINK} exports at a time: remove one first.",
            )
        if len(self._exports) >= MAX_EXPORTS:
            raise Refusal(ErrorId.SERVER_BUSY, "Too many exports wait: try again later.")

    async def _job(self, interview_id: str, span_us: tuple[int, int], transcode: bool) -> Job:
        key = await self._replay.read(interview_id, self._recorder.key, interview_id)
        return Job(
            str(recording_path(self._recorder.data_dir, interview_id)),
            self._store,
            key.hex(),
            self._recorder.public_key.hex(),
            *span_us,
            transcode,
            secrets.token_hex(KEY_BYTES),
        )

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
        try:
            return await _written_by_process(export)
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


async def _end(export: Export) -> None:
    if export.task is not None:  # else it is just being admitted
        export.task.cancel()
        await asyncio.wait([export.task])


def _interview(request: web.Request) -> str:
    return request.match_info["interview"]


def _span_us(reader: RecordingReader, wanted: NewExport) -> tuple[int, int]:
    """What is to be exported, of what there is now. Raises Refusal."""
    duration_us = round(reader.describe().duration_s * 1e6)
    start_us = round(wanted.start_s * 1e6)
    end_us = duration_us if wanted.end_s is None else min(round(wanted.end_s * 1e6), duration_us)
    if start_us < 0 or not any(True for _ in fragments_between(reader, start_us, end_us)):
        raise Refusal(ErrorId.BAD_MESSAGE, "Nothing was recorded there.")
    return start_us, end_us


def _begun(
    request: web.Request, name: str, written: Written
) -> tuple[web.StreamResponse, int, int]:
    """The response to a request for the file, and from which byte to which it goes."""
    etag = f'"{written.sha256}"'
    headers = _headers(f"{name}.mp4") | {"Accept-Ranges": "bytes", "ETag": etag}
    first, end, status = 0, written.size, 200
    wanted = _range(request) if request.headers.get("If-Range", etag) == etag else slice(None)
    if wanted.start is not None:
        first, end, _ = wanted.indices(written.size)
        if first >= end:
            headers["Content-Range"] = f"bytes */{written.size}"
            return web.Response(status=416, headers=headers), 0, 0
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{written.size}"
        status = 206
    response = web.StreamResponse(status=status, headers=headers)
    response.content_type = FILE_TYPE
    response.content_length = end - first
    return response, first, end


def _range(request: web.Request) -> slice:
    try:
        return request.http_range
    except ValueError:  # what can't be understood is ignored
        return slice(None)


def _headers(name: str) -> dict[str, str]:
    return {
        "Cache-Control": "no-store",
        "Content-Disposition": content_disposition_header("attachment", filename=name),
    }


# ---- the process --------------------------------------------------------------------------


def _nameless(data_dir: Path) -> IO[bytes]:
    """A file that no one else can open, and that is gone when it is closed, however that comes."""
    return tempfile.TemporaryFile(dir=data_dir, buffering=0)


async def _written_by_process(export: Export) -> Written | Failed:
    """Returns its last word. OSError where it can't be started."""
    starting = asyncio.ensure_future(_start(export.file.fileno(), bool(export.job.store)))
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # It can't be left half started: nobody would ever wait for it.
        await _kill(await starting)
        raise
    try:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(export.job) + b"\n")
        last: Said | None = None
        async for last in _words(process):
            if isinstance(last, Share):
                export.done = last.done
        if isinstance(last, Written | Failed):
            return last
        return Failed(Fault.FAILED, "the process ended or hung")
    finally:
        await _kill(process)


async def _kill(process: Process) -> None:
    """If it has not ended."""
    if process.returncode is None:
        process.kill()
    await process.wait()


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


@asynccontextmanager
async def open_exports(plant: Plant, replay: Replay, store: str) -> AsyncIterator[Exports]:
    """At the end what is under way is stopped, and every file is gone."""
    async with asyncio.TaskGroup() as tasks:
        exports = Exports(plant.recorder, plant.db, plant.clock, replay, store, tasks)
        try:
            yield exports
        finally:
            await exports.close()
