"""`/api/recordings/ID/exports`, and `/exports/TICKET`, where one that is ready is fetched.

Pages may close meanwhile. Who fetches a file says by its address who they are: browsers send no
header of ours with a download.
"""

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from aiohttp import hdrs, web
from aiohttp.helpers import content_disposition_header

from server.core.interviews import Way
from server.recorder.catalog.recordings import recording_path
from server.recorder.evidence import derivation
from server.recorder.export.clip import fragments_between
from server.recorder.export.content_credentials import Credentials, CredentialsUnavailable, made_of
from server.recorder.export.job import Job
from server.recorder.format.sealed_file import CHUNK_BYTES, SealedFile, Turned
from server.recorder.recorder import Recorder
from server.recorder.replay.reader import RecordingReader
from server.signaling.access import Grant
from server.signaling.api import json_body, json_response
from server.signaling.errors import Refusal
from server.signaling.exports.export import Export, NewExport, Order
from server.signaling.exports.queue import ExportQueue, closed, open_queue
from server.signaling.plant import Plant
from server.signaling.protocol import ErrorId
from server.signaling.replay import Replay
from server.signaling.view_log import Read
from server.store import AsyncStore, KeptExport, Store
from server.whole import whole_or_undone

log = logging.getLogger(__name__)

FILE_TYPE = "video/mp4"


class Exports:
    """Handlers; made by `open_exports`."""

    def __init__(
        self,
        recorder: Recorder,
        db: AsyncStore,
        clock: Callable[[], float],
        replay: Replay,
        store: str,
        timestamp_url: str,
        queue: ExportQueue,
    ) -> None:
        """``store``: where the recorder's closed segments may be; empty: nowhere.

        ``timestamp_url``: who stamps Content Credentials with the time; empty: nobody.
        """
        self._recorder = recorder
        self._db = db
        self._clock = clock
        self._replay = replay
        self._store = store
        self._timestamp_url = timestamp_url
        self.queue = queue

    async def exports(self, request: web.Request, grant: Grant) -> web.Response:
        """Those that were asked for with this link."""
        return json_response([each.item for each in self._own(request, grant)])

    async def create(self, request: web.Request, grant: Grant) -> web.Response:
        wanted = await json_body(request, NewExport)
        interview_id = request.match_info["interview"]
        reader = await self._replay.read(interview_id, self._recorder.reader, interview_id)
        span_us = await self._replay.read(interview_id, _span_us, reader, wanted)
        credentials = await self._replay.read(interview_id, self._credentials, reader, span_us)
        interview = await self._db.run(Store.interview, interview_id)
        title = interview.title if interview else interview_id
        origin = derivation.origin(reader.manifest)

        async def begin() -> Export:
            place = span_us[0] / 1e6, span_us[1] / 1e6
            read = Read(interview_id, grant.link_id, Way.EXPORT, *place)
            viewing = await self._replay.views.begin(read)  # first on the record, then read
            asked = wanted.transcode, self._clock()
            kept = KeptExport(viewing.id, origin.recording, *span_us, *asked)
            job = await self._job(interview_id, kept, credentials.size if credentials else 0)
            order = Order(job, origin, credentials)
            return Export(kept, title, viewing, *self.queue.place(kept.id), order)

        made = await self.queue.add(grant.link_id, begin)
        return json_response(made.item, status=201)

    async def remove(self, request: web.Request, grant: Grant) -> web.Response:
        """Also one that is under way: it is stopped."""
        wanted = request.match_info["export"]
        found = next((each for each in self._own(request, grant) if each.id == wanted), None)
        if found is None:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such export.")
        await self.queue.end(found)
        return web.Response(status=204)

    async def statement(self, request: web.Request) -> web.Response:
        export, _ = await self._fetched(request)
        name = export.name + ".mp4" + derivation.SUFFIX
        return web.Response(
            body=export.kept.statement, content_type="application/json", headers=_headers(name)
        )

    async def file(self, request: web.Request) -> web.StreamResponse:
        """The file, or the one range of it that is asked for (RFC 9110 14.2)."""
        export, key = await self._fetched(request)
        response, first, end = _begun(request, export)
        if request.method == hdrs.METH_HEAD:
            await response.prepare(request)
            return response
        await self._replay.views.lengthen(export.viewing)
        await response.prepare(request)
        async with aclosing(self._parts(export, key, first, end)) as parts:
            async for part in parts:
                await response.write(part)
        return response

    async def _parts(
        self, export: Export, key: bytes, place: int, end: int
    ) -> AsyncGenerator[bytes, None]:
        read, interview_id = self._replay.read, export.interview_id
        # Who has begun ends, though it be removed meanwhile.
        opening = read(interview_id, os.open, export.path, os.O_RDONLY | os.O_CLOEXEC)
        fd = await whole_or_undone(opening, closed)
        try:
            file = Turned(SealedFile(fd, key), export.kept.head)
            while place < end:
                part = await read(interview_id, file.read_at, place, min(CHUNK_BYTES, end - place))
                yield part
                place += len(part)
        finally:
            os.close(fd)

    async def _fetched(self, request: web.Request) -> tuple[Export, bytes]:
        """The export with that address, and its key. Raises Refusal: one of the two is gone, or
        its link."""
        export = self.queue.find(request.match_info["ticket"])
        if export is None or not export.ready or export.viewing.link_id is None:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such export any more.")
        link = await self._db.run(Store.link, export.viewing.link_id)
        if link is None or link.revoked_s is not None:
            raise Refusal(ErrorId.TOKEN_REVOKED)
        return export, await self._key(export.interview_id, export.kept)

    async def _key(self, interview_id: str, export: KeptExport) -> bytes:
        of = interview_id, export.recording, export.id
        return await self._replay.read(interview_id, self._recorder.export_key, *of)

    def _own(self, request: web.Request, grant: Grant) -> list[Export]:
        return self.queue.of(grant.link_id, request.match_info["interview"])

    def _credentials(self, reader: RecordingReader, span_us: tuple[int, int]) -> Credentials | None:
        """None where the certificate is not valid: the statement says as much. KeyProblem."""
        made, signer = made_of(reader, span_us), self._recorder.claim_signer()
        try:
            return Credentials(made, signer, self._clock(), self._timestamp_url)
        except CredentialsUnavailable as error:
            log.error("exports have no Content Credentials: %s", error)
            return None

    async def _job(self, interview_id: str, export: KeptExport, reserved: int) -> Job:
        key = await self._replay.read(interview_id, self._recorder.key, interview_id)
        return Job(
            str(recording_path(self._recorder.data_dir, interview_id)),
            self._store,
            key.hex(),
            self._recorder.public_key.hex(),
            export.start_us,
            export.end_us,
            export.transcode,
            (await self._key(interview_id, export)).hex(),
            reserved,
        )


def _span_us(reader: RecordingReader, wanted: NewExport) -> tuple[int, int]:
    """What is to be exported, of what there is now. Raises Refusal."""
    duration_us = round(reader.describe().duration_s * 1e6)
    start_us = round(wanted.start_s * 1e6)
    end_us = duration_us if wanted.end_s is None else min(round(wanted.end_s * 1e6), duration_us)
    if start_us < 0 or not any(True for _ in fragments_between(reader, start_us, end_us)):
        raise Refusal(ErrorId.BAD_MESSAGE, "Nothing was recorded there.")
    return start_us, end_us


def _begun(request: web.Request, export: Export) -> tuple[web.StreamResponse, int, int]:
    """The response to a request for the file, and from which byte to which it goes."""
    size, etag = export.kept.size, f'"{export.kept.sha256}"'
    headers = _headers(f"{export.name}.mp4") | {"Accept-Ranges": "bytes", "ETag": etag}
    first, end, status = 0, size, 200
    wanted = _range(request) if request.headers.get("If-Range", etag) == etag else slice(None)
    if wanted.start is not None:
        first, end, _ = wanted.indices(size)
        if first >= end:
            headers["Content-Range"] = f"bytes */{size}"
            return web.Response(status=416, headers=headers), 0, 0
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
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


@asynccontextmanager
async def open_exports(
    plant: Plant, replay: Replay, store: str, timestamp_url: str, links_key: bytes
) -> AsyncIterator[Exports]:
    """At the end what is under way is stopped; the next server has what is ready. OSError."""
    async with open_queue(plant.recorder, plant.db, plant.clock, links_key) as queue:
        parts = plant.recorder, plant.db, plant.clock, replay
        yield Exports(*parts, store, timestamp_url, queue)
