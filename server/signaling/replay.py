"""`/api/recordings`: lists, indexes and decrypted fragments, each read on the record."""

import asyncio
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
from server.recorder.catalog.receipt import NotSealed
from server.recorder.catalog.recordings import recording_path
from server.recorder.evidence.fault import Fault as FoundFault
from server.recorder.evidence.tlog import FOLDER as LOG_FOLDER
from server.recorder.evidence.verify import TOLD_S, verify
from server.recorder.keys.root_key import KeyProblem
from server.recorder.recorder import Recorder
from server.recorder.replay.index import Side
from server.recorder.replay.wire import (
    Asked,
    Fault,
    Index,
    Init,
    Media,
    Pictures,
    Place,
    Sign,
    Signature,
    Signer,
    WhoSigns,
    fault_of,
)
from server.signaling.access import Grant
from server.signaling.api import json_response
from server.signaling.body import Pieces
from server.signaling.errors import RETRY_SOON_S, Refusal
from server.signaling.plant import Plant
from server.signaling.protocol import ErrorId
from server.signaling.replay_process import (
    Found,
    ProcessBusy,
    ProcessEnded,
    ReplayProcess,
    open_replay_process,
)
from server.signaling.view_log import Read, ViewLog, item_of
from server.store import AsyncStore, Store

log = logging.getLogger(__name__)

#: Threads that read keys, lists and proofs.
READ_THREADS = 4
#: Fragments in one answer, about six seconds of a recording.
MAX_FRAGMENTS = 8
#: Recordings whose keys are kept for the next read.
MAX_PLACES = 16

_P = ParamSpec("_P")
_T = TypeVar("_T")


class VerifyResult(msgspec.Struct, frozen=True):
    intact: bool
    faults: tuple[FoundFault, ...]


class Replay:
    """Handlers; made by `open_replay`, which owns the threads and the process."""

    def __init__(
        self,
        recorder: Recorder,
        store: str,
        db: AsyncStore,
        clock: Callable[[], float],
        threads: ThreadPoolExecutor,
        process: ReplayProcess,
    ) -> None:
        """``store``: where the recorder's closed segments may be; empty: nowhere."""
        self._recorder = recorder
        self._store = store
        self._db = db
        self.views = ViewLog(db, clock)
        self._threads = threads
        self._process = process
        self._places: OrderedDict[str, Place] = OrderedDict()
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
        zipped = "gzip" in request.headers.get("Accept-Encoding", "")
        # Of three hours 2.6 MB, or zipped 0.14 MB.
        found = await self.ask(interview_id, Index(int(after), zipped))
        headers = {"Cache-Control": "no-store"} | ({"Content-Encoding": "gzip"} if zipped else {})
        return web.Response(body=found.body, content_type="application/json", headers=headers)

    async def pictures(self, request: web.Request, _: Grant) -> web.Response:
        """When the fragment's pictures begin: what a player steps through, one by one."""
        asked = Pictures(int(request.match_info["seq"]))
        found = await self.ask(request.match_info["interview"], asked)
        return web.Response(
            body=found.body,
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    async def init(self, request: web.Request, _: Grant) -> web.Response:
        return await self._init(request, Side.CANDIDATE)

    async def screen_init(self, request: web.Request, _: Grant) -> web.Response:
        return await self._init(request, Side.SCREEN)

    async def interviewer_init(self, request: web.Request, _: Grant) -> web.Response:
        return await self._init(request, Side.INTERVIEWER)

    async def fragment(self, request: web.Request, grant: Grant) -> web.Response:
        return await self._fragment(request, grant, Side.CANDIDATE)

    async def screen_fragment(self, request: web.Request, grant: Grant) -> web.Response:
        return await self._fragment(request, grant, Side.SCREEN)

    async def interviewer_fragment(self, request: web.Request, grant: Grant) -> web.Response:
        return await self._fragment(request, grant, Side.INTERVIEWER)

    async def _init(self, request: web.Request, side: Side) -> web.Response:
        asked = Init(side, int(request.match_info["number"]))
        found = await self.ask(request.match_info["interview"], asked)
        return _media(found)

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
        found = await self.ask(interview_id, Media(side, first, int(last)))
        await self.note(interview_id, grant, Way.REPLAY, found)
        return _media(found)  # first on the record, then on the way

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

    async def ask(self, interview_id: str, asked: Asked) -> Found:
        """What is read of a recording by another process. Raises Refusal."""
        self._read_s[interview_id] = self._clock()
        place = await self._place(interview_id)
        try:
            found = await self._process.ask(place, asked)
        except (ProcessEnded, ProcessBusy, OSError) as error:
            message = "The recording can't be read at the moment: try again."
            raise Refusal(ErrorId.SERVER_BUSY, message, RETRY_SOON_S) from error
        if isinstance(found, Found):
            return found
        if found.fault not in (Fault.NO_PART, Fault.NOT_FOR_HLS):
            self.forget(interview_id)  # opened anew once it is put right
        if found.fault is Fault.LOCKED:  # of a destroyed key nothing stays with the recorder
            await self.read(interview_id, self._recorder.check_key, interview_id)
        raise _refusal(interview_id, found.fault, found.reason)

    async def note(self, interview_id: str, grant: Grant, way: Way, found: Found) -> None:
        """Returns once it is on the record who read what was found. StoreError."""
        for span in found.seen_s:
            await self.views.note(Read(interview_id, grant.link_id, way, *span))

    def last_read_s(self, interview_id: str) -> float:
        """When, by the server's clock; 0 if nobody has since it started."""
        return self._read_s.get(interview_id, 0.0)

    def forget(self, interview_id: str) -> None:
        """Another recording takes its place: it is opened anew for whoever reads it next."""
        place = self._places.pop(interview_id, None)
        if place is not None:
            self._process.forget(place.folder)

    async def _place(self, interview_id: str) -> Place:
        """Kept for the next read; the process looks each time whether the key was destroyed."""
        place = self._places.get(interview_id)
        if place is not None:
            self._places.move_to_end(interview_id)
            return place
        place = await self.read(interview_id, self._opened, interview_id)
        self._places[interview_id] = place
        if len(self._places) > MAX_PLACES:
            self.forget(next(iter(self._places)))
        return place

    def _opened(self, interview_id: str) -> Place:
        key = self._recorder.key(interview_id)
        folder = str(recording_path(self._recorder.data_dir, interview_id))
        keys = str(self._recorder.keys_folder)
        return Place(folder, self._store, keys, key, self._recorder.public_key.hex())

    async def read(
        self, interview_id: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """What the recorder reads of a recording, in a thread. Raises Refusal where it can't."""
        try:
            return await self._in_thread(call, *args, **kwargs)
        except (LookupError, KeyProblem, ValueError, OSError) as error:
            self.forget(interview_id)
            raise _refusal(interview_id, *fault_of(error)) from error

    async def _in_thread(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: call(*args, **kwargs))


def _media(found: Found) -> web.Response:
    return web.Response(
        body=Pieces(memoryview(found.body)),
        content_type="application/octet-stream",
        headers={"Cache-Control": "no-store"},
    )


def _refusal(interview_id: str, fault: Fault, reason: str) -> Refusal:
    """What whoever wanted to see the recording is told; the log says what was found."""
    id, message = _REFUSALS[fault]
    if reason:
        log.error("recording not readable interview=%s id=%s reason=%s", interview_id, id, reason)
    return Refusal(id, message)


_REFUSALS = {
    Fault.NO_RECORDING: (ErrorId.NOT_FOUND, "There is no such recording."),
    Fault.NO_PART: (ErrorId.NOT_FOUND, "There is no such part."),
    Fault.NOT_FOR_HLS: (
        ErrorId.NO_HLS,
        "This recording is VP8, which players of HTTP Live Streaming do not take: "
        "replay it in the page, or export it.",
    ),
    Fault.LOCKED: (
        ErrorId.RECORDING_LOCKED,
        "This recording can't be opened: its key was destroyed, or the server can't get "
        "at it. The server's log says which.",
    ),
    Fault.DAMAGED: (
        ErrorId.RECORDING_DAMAGED,
        "This recording is not what the server wrote: "
        "`vivavoce verify` names what was changed; restore it from a backup.",
    ),
    Fault.UNREADABLE: (
        ErrorId.RECORDING_UNREADABLE,
        "The server can't read this recording's files: "
        "check the disk and who owns the data directory, then try again.",
    ),
    Fault.UNFORESEEN: (ErrorId.INTERNAL, "The server failed to do this; see its log."),
}


@asynccontextmanager
async def open_replay(plant: Plant, store: str) -> AsyncIterator[Replay]:
    """``store``: where the recorder's closed segments may be; empty: nowhere."""
    threads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="replay")

    async def signs(message: WhoSigns | Sign) -> Signer | Signature:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, _signed, plant.recorder, message)

    try:
        async with open_replay_process(signs, bool(store)) as process:
            yield Replay(plant.recorder, store, plant.db, plant.clock, threads, process)
    finally:
        threads.shutdown(cancel_futures=True)


def _signed(recorder: Recorder, message: WhoSigns | Sign) -> Signer | Signature:
    """KeyProblem; OSError."""
    signer = recorder.claim_signer()
    match message:
        case WhoSigns(number):
            return Signer(number, signer.algorithm, signer.pem)
        case Sign(number, data):
            return Signature(number, signer.sign(data))
