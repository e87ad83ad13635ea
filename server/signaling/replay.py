"""`/api/recordings`: lists, indexes and decrypted fragments, each read on the record."""

import asyncio
import gzip
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

import msgspec
from aiohttp import web
from aiohttp.helpers import content_disposition_header

from server.core.interviews import Role, Way
from server.recorder.reader import RecordingReader, Side
from server.recorder.receipt import NotSealed
from server.recorder.recorder import Recorder
from server.recorder.root_key import KeyProblem
from server.recorder.sealing import SegmentError
from server.recorder.tlog import FOLDER as LOG_FOLDER
from server.recorder.verify import TOLD_S, Fault, verify
from server.signaling.access import Grant
from server.signaling.api import json_response
from server.signaling.errors import Refusal
from server.signaling.plant import Plant
from server.signaling.protocol import ErrorId
from server.signaling.view_log import Read, ViewLog, item_of
from server.store import AsyncStore, Store

log = logging.getLogger(__name__)

#: Threads that read and decrypt; more would only compete with the recorder for the disk.
READ_THREADS = 4
#: Fragments in one answer, about six seconds of a recording.
MAX_FRAGMENTS = 8
#: Readers kept open: each holds a recording's index and a few decrypted fragments.
MAX_READERS = 16

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Part = Callable[[RecordingReader, int], bytes]


class VerifyResult(msgspec.Struct, frozen=True):
    intact: bool
    faults: tuple[Fault, ...]


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
        self.views = ViewLog(db, clock)
        self._threads = threads
        self._readers: OrderedDict[str, RecordingReader] = OrderedDict()
        self._clock = clock
        self._read_s: dict[str, float] = {}  # when each was read last

    async def recordings(self, _: web.Request, grant: Grant) -> web.Response:
        summaries = await self._in_thread(self._recorder.list)
        own = grant.interview_id
        return json_response([each for each in summaries if own in (None, each.interview_id)])

    async def index(self, request: web.Request, _: Grant) -> web.Response:
        """With `?after=SEQ` only of later fragments: a recording that runs is asked for often."""
        interview_id = request.match_info["interview"]
        after = request.query.get("after", "0")
        if not re.fullmatch(r"\d{1,9}", after, re.ASCII):
            raise Refusal(ErrorId.BAD_MESSAGE, "`after` is the number of a fragment.")
        reader = await self.reader(interview_id)
        zipped = "gzip" in request.headers.get("Accept-Encoding", "")
        body = await self.read(interview_id, _described, reader, int(after), zipped)
        headers = {"Cache-Control": "no-store"} | ({"Content-Encoding": "gzip"} if zipped else {})
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def pictures(self, request: web.Request, _: Grant) -> web.Response:
        """When the fragment's pictures begin: what a player steps through, one by one."""
        interview_id = request.match_info["interview"]
        seq = int(request.match_info["seq"])
        reader = await self.reader(interview_id)
        times = await self.read(interview_id, RecordingReader.picture_times_s, reader, seq)
        return json_response(times)

    async def init(self, request: web.Request, _: Grant) -> web.Response:
        return await self._init(request, RecordingReader.init)

    async def screen_init(self, request: web.Request, _: Grant) -> web.Response:
        return await self._init(request, RecordingReader.screen_init)

    async def interviewer_init(self, request: web.Request, _: Grant) -> web.Response:
        return await self._init(request, RecordingReader.interviewer_init)

    async def fragment(self, request: web.Request, grant: Grant) -> web.Response:
        return await self._fragment(request, grant, Side.CANDIDATE)

    async def screen_fragment(self, request: web.Request, grant: Grant) -> web.Response:
        return await self._fragment(request, grant, Side.SCREEN)

    async def interviewer_fragment(self, request: web.Request, grant: Grant) -> web.Response:
        return await self._fragment(request, grant, Side.INTERVIEWER)

    async def _init(self, request: web.Request, read: _Part) -> web.Response:
        interview_id, number = request.match_info["interview"], int(request.match_info["number"])
        reader = await self.reader(interview_id)
        return _media(await self.read(interview_id, read, reader, number))

    async def _fragment(self, request: web.Request, grant: Grant, side: Side) -> web.Response:
        """With `?last=SEQ` all up to that one: a request costs more than a fragment."""
        interview_id = request.match_info["interview"]
        first = int(request.match_info["seq"])
        last = request.query.get("last", str(first))
        if (
            not re.fullmatch(r"\d{1,9}", last, re.ASCII)
            or not 0 <= int(last) - first < MAX_FRAGMENTS
        ):
            raise Refusal(
                ErrorId.BAD_MESSAGE,
                f"`last` is the number of a fragment, of {MAX_FRAGMENTS} in a row at most.",
            )
        reader = await self.reader(interview_id)
        read = RecordingReader.fragments
        response = _media(await self.read(interview_id, read, reader, side, first, int(last)))
        for span in reader.seen_s(side, first, int(last)):
            await self.views.note(Read(interview_id, grant.link_id, Way.REPLAY, *span))
        return response  # first on the record, then on the way

    async def verify(self, request: web.Request, _: Grant) -> web.Response:
        interview_id = request.match_info["interview"]
        # Not by a reader: what was erased still verifies.
        files = await self.read(interview_id, self._recorder.files, interview_id)
        log = self._recorder.data_dir / LOG_FOLDER
        key = self._recorder.public_key
        report = await self.read(interview_id, verify, files, key, log, interview=interview_id)
        if report.log_may_lack(self._clock()):
            await asyncio.sleep(TOLD_S)
            report = await self.read(interview_id, verify, files, key, log, interview=interview_id)
        return json_response(VerifyResult(report.intact, report.faults))

    async def receipt(self, request: web.Request, _: Grant) -> web.Response:
        """Also of a recording that was erased; it names nobody, and opens nothing."""
        interview_id = request.match_info["interview"]
        try:
            body = await self.read(interview_id, self._recorder.receipt, interview_id)
        except NotSealed as error:
            message = "The recording is not sealed yet: ask again in a second."
            raise Refusal(ErrorId.NOT_SEALED, message) from error
        return web.Response(
            body=body,
            content_type="application/json",
            headers={
                "Cache-Control": "no-store",
                "Content-Disposition": content_disposition_header(
                    "attachment", filename=f"vivavoce-receipt-{interview_id}.json"
                ),
            },
        )

    async def viewings(self, request: web.Request, grant: Grant) -> web.Response:
        """Also of a recording that can't be read any more, or was never made: an empty list.

        Whoever looks back while the interview runs watches it: a candidate is told of it later.
        """
        interview_id = request.match_info["interview"]
        if grant.role is Role.CANDIDATE and self._recorder.records(interview_id):
            message = "The interview goes on: who has seen its recording is told after its end."
            raise Refusal(ErrorId.NOT_SEALED, message)
        rows = await self._db.run(Store.viewings, interview_id)
        items = [item_of(viewing, role) for viewing, role in rows]
        if grant.role is Role.CANDIDATE:  # which of several links it was is not theirs to know
            items = [msgspec.structs.replace(item, link=None) for item in items]
        return json_response(items)

    async def reader(self, interview_id: str) -> RecordingReader:
        """The reader of a recording, kept for the next read. Raises Refusal."""
        self._read_s[interview_id] = self._clock()
        reader = self._readers.get(interview_id)
        if reader is not None:
            await self.read(interview_id, self._recorder.check_key, interview_id)
        else:
            reader = await self.read(interview_id, self._recorder.reader, interview_id)
            self._readers[interview_id] = reader
            if len(self._readers) > MAX_READERS:
                self._readers.popitem(last=False)
        self._readers.move_to_end(interview_id)
        return reader

    def last_read_s(self, interview_id: str) -> float:
        """When, by the server's clock; 0 if nobody has since it started."""
        return self._read_s.get(interview_id, 0.0)

    def forget(self, interview_id: str) -> None:
        """Another recording takes its place: it is opened anew for whoever reads it next."""
        self._readers.pop(interview_id, None)

    async def read(
        self, interview_id: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """What the recorder reads of a recording, in a thread. Raises Refusal where it can't."""
        try:
            return await self._in_thread(call, *args, **kwargs)
        except KeyError as error:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such recording.") from error
        except IndexError as error:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such part.") from error
        except (KeyProblem, SegmentError, OSError) as error:
            self._readers.pop(interview_id, None)  # opened anew once it is put right
            raise _refusal(interview_id, error) from error
        except ValueError as error:  # an id that is no file name
            raise Refusal(ErrorId.NOT_FOUND, "There is no such recording.") from error

    async def _in_thread(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: call(*args, **kwargs))


def _described(reader: RecordingReader, after: int, zipped: bool) -> bytes:
    """As JSON, nothing for the event loop to make: of three hours 2.6 MB, or zipped 0.14 MB."""
    body = msgspec.json.encode(reader.describe(after))
    return gzip.compress(body, 1) if zipped else body


def _media(body: bytes) -> web.Response:
    return web.Response(
        body=body,
        content_type="application/octet-stream",
        headers={"Cache-Control": "no-store"},
    )


def _refusal(interview_id: str, error: KeyProblem | SegmentError | OSError) -> Refusal:
    """What whoever wanted to see the recording is told; the log says what was found."""
    match error:
        case KeyProblem():
            id, reason = ErrorId.RECORDING_LOCKED, str(error)
            message = (
                "This recording can't be opened: its key was destroyed, or the server can't get "
                "at it. The server's log says which."
            )
        case SegmentError():
            id, reason = ErrorId.RECORDING_DAMAGED, str(error)
            message = (
                "This recording is not what the server wrote: "
                "`vivavoce verify` names what was changed; restore it from a backup."
            )
        case _:
            id, reason = ErrorId.RECORDING_UNREADABLE, error.strerror or type(error).__name__
            message = (
                "The server can't read this recording's files: "
                "check the disk and who owns the data directory, then try again."
            )
    log.error("recording not readable interview=%s id=%s reason=%s", interview_id, id, reason)
    return Refusal(id, message)


@asynccontextmanager
async def open_replay(plant: Plant) -> AsyncIterator[Replay]:
    threads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="replay")
    try:
        yield Replay(plant.recorder, plant.db, plant.clock, threads)
    finally:
        threads.shutdown(cancel_futures=True)
