"""`/api/recordings`: lists, indexes and decrypted fragments, each read on the record."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

import msgspec
from aiohttp import web

from server.recorder.catalog import recording_path
from server.recorder.reader import RecordingReader
from server.recorder.recorder import Recorder
from server.recorder.verify import verify
from server.signaling.access import Grant
from server.signaling.api import json_response
from server.signaling.errors import Refusal
from server.signaling.plant import Plant
from server.signaling.protocol import ErrorId
from server.store import AsyncStore, Store, View

#: Threads that read and decrypt; more would only compete with the recorder for the disk.
READ_THREADS = 4
#: Readers kept open: each holds a recording's index and a few decrypted fragments.
MAX_READERS = 16

_P = ParamSpec("_P")
_T = TypeVar("_T")


class VerifyResult(msgspec.Struct, frozen=True):
    intact: bool
    faults: tuple[str, ...]


class Replay:
    """Handlers; made by `open_replay`, which owns the threads."""

    def __init__(
        self,
        recorder: Recorder,
        db: AsyncStore,
        clock: Callable[[], float],
        threads: ThreadPoolExecutor,
    ) -> None:
        self._recorder = recorder
        self._db = db
        self._clock = clock
        self._threads = threads
        self._readers: OrderedDict[str, RecordingReader] = OrderedDict()

    async def recordings(self, _: web.Request, grant: Grant) -> web.Response:
        summaries = await self._in_thread(self._recorder.list)
        own = grant.interview_id
        return json_response([each for each in summaries if own in (None, each.interview_id)])

    async def index(self, request: web.Request, _: Grant) -> web.Response:
        reader = await self._reader(request.match_info["interview"])
        return json_response(await self._in_thread(reader.describe))

    async def init(self, request: web.Request, _: Grant) -> web.Response:
        reader = await self._reader(request.match_info["interview"])
        return await self._media(reader.init, int(request.match_info["number"]))

    async def fragment(self, request: web.Request, grant: Grant) -> web.Response:
        interview_id = request.match_info["interview"]
        seq = int(request.match_info["seq"])
        reader = await self._reader(interview_id)
        response = await self._media(reader.fragment, seq)
        header = reader.header(seq - 1)
        view = View(
            interview_id,
            grant.link_id,
            self._clock(),
            header.start_us / 1e6,
            header.duration_us / 1e6,
        )
        await self._db.run(Store.add_view, view)  # first on the record, then on the way
        return response

    async def verify(self, request: web.Request, _: Grant) -> web.Response:
        interview_id = request.match_info["interview"]
        await self._reader(interview_id)
        report = await self._in_thread(
            verify,
            recording_path(self._recorder.data_dir, interview_id),
            self._recorder.public_key,
        )
        return json_response(
            VerifyResult(report.intact, tuple(str(fault) for fault in report.faults))
        )

    async def _reader(self, interview_id: str) -> RecordingReader:
        """The reader of a recording, kept for the next read. Raises Refusal."""
        reader = self._readers.get(interview_id)
        if reader is None:
            try:
                reader = await self._in_thread(self._recorder.reader, interview_id)
            except (KeyError, ValueError) as error:
                raise Refusal(ErrorId.NOT_FOUND, "There is no such recording.") from error
            self._readers[interview_id] = reader
            if len(self._readers) > MAX_READERS:
                self._readers.popitem(last=False)
        self._readers.move_to_end(interview_id)
        return reader

    async def _media(self, read: Callable[[int], bytes], number: int) -> web.Response:
        try:
            body = await self._in_thread(read, number)
        except IndexError as error:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such part.") from error
        return web.Response(
            body=body,
            content_type="application/octet-stream",
            headers={"Cache-Control": "no-store"},
        )

    async def _in_thread(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: call(*args, **kwargs))


@asynccontextmanager
async def open_replay(plant: Plant) -> AsyncIterator[Replay]:
    threads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="replay")
    try:
        yield Replay(plant.recorder, plant.db, plant.clock, threads)
    finally:
        threads.shutdown(cancel_futures=True)
