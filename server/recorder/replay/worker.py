"""The process that reads recordings for whoever replays them: Python has one interpreter lock in a
process, and what is live must not wait for it.

Started as ``python -m server.recorder.replay.worker PARENT FD``: what it is asked comes on its
input, what it answers goes to FD (`wire`). It gives way to the server, has of keys only those of
the recordings that it reads, and asks the server to sign. It ends with the server, or when that
closes its input.
"""

import gzip
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
from cryptography import x509

from server.confine import end_with
from server.memory import keep_private
from server.priority import Rests, give_way, leave_terminal
from server.recorder.catalog.recordings import stored_folder
from server.recorder.format import server_key
from server.recorder.keys.claim_signer import ClaimSigner
from server.recorder.keys.key_database import KeyDatabase
from server.recorder.keys.key_ring import open_database
from server.recorder.keys.root_key import KeyProblem
from server.recorder.replay import hls, wire
from server.recorder.replay.reader import RecordingReader
from server.recorder.replay.streams import Streams
from server.recorder.replay.wire import (
    Answer,
    Asked,
    Failed,
    Forget,
    FromReader,
    Index,
    Init,
    Media,
    Multivariant,
    NotSigned,
    Pictures,
    Place,
    Playlist,
    Read,
    Sign,
    Signature,
    Signer,
    StreamInit,
    StreamSegment,
    WhoSigns,
    fault_of,
)
from server.recorder.stores.store import open_store

#: Somebody waits for a replay, so it goes before exports and compression.
NICENESS = 10
#: Threads that read and decrypt; more would only compete with the recorder for the disk.
THREADS = 4
#: Times of files may be as coarse: a file that changed less long ago may change unseen.
SETTLED_NS = 2_000_000_000
#: Readers kept open: each holds a recording's index and a few decrypted fragments.
MAX_READERS = 16


def main() -> None:
    parent, fd = map(int, sys.argv[1:])
    end_with(parent)
    leave_terminal()
    give_way(NICENESS)
    keep_private()
    with open(sys.stdin.fileno(), "rb", closefd=False) as questions, open(fd, "wb") as answers:
        _serve(questions, answers)


def _serve(questions: wire.File, answers: BinaryIO) -> None:
    """Until there are no more."""
    server = _Server(answers)
    readers = _Readers(server.signer)
    threads, rests = ThreadPoolExecutor(THREADS), Rests()
    while (whole := wire.read(questions)) is not None:
        message = wire.to_reader.decode(whole[0])
        match message:
            case Read():
                threads.submit(_answer, readers, server, rests, message)
            case Forget(folder):
                readers.forget(folder)
            case _:
                server.answered(message)
    os._exit(0)  # whatever its threads still wait for


def _answer(readers: "_Readers", server: "_Server", rests: Rests, read: Read) -> None:
    with rests.working():
        try:
            body, seen_s = _read(readers.of(read.place), read.asked)
        except Exception as error:  # the root of one answer: somebody waits for it
            server.say(Failed(read.number, *fault_of(error)))
        else:
            server.say(Answer(read.number, tuple(seen_s)), body)


def _read(opened: "_Opened", asked: Asked) -> tuple[bytes, list[tuple[float, float]]]:
    """What is asked for, and which seconds of the recording are in it. Raises what readers do."""
    reader, streams = opened.reader, opened.streams
    match asked:
        case Index(after, zipped):
            body = msgspec.json.encode(reader.describe(after))
            return gzip.compress(body, 1) if zipped else body, []
        case Pictures(seq):
            return msgspec.json.encode(reader.picture_times_s(seq)), []
        case Init(side, number):
            return reader.init(side, number), []
        case Media(side, first, last):
            return reader.fragments(side, first, last), reader.seen_s(side, first, last)
        case Multivariant(side):
            return hls.multivariant(streams.rows(side)).encode(), []
        case Playlist(side, event):
            return streams.media_playlist(side, event=event).encode(), []
        case StreamInit(side, number, event):
            return streams.init(side, number, event=event), []
        case StreamSegment(side, first, last, event):
            body = streams.segment(side, first, last, event=event)
            return body, reader.seen_s(side, first, last)


@dataclass(slots=True)
class _Opened:
    """One recording."""

    place: Place
    keys: KeyDatabase
    reader: RecordingReader
    streams: Streams
    checked: tuple[int, ...] | None = None  #: the key database's file when the key was there

    def check_key(self) -> None:
        """KeyProblem if it was destroyed. The database is asked again once it has changed."""
        now_ns = time.time_ns()
        try:
            stat = os.stat(self.keys.path)
        except OSError:
            found = None
        else:
            found = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if found is None or found != self.checked:
            self.keys.candidate_of(Path(self.place.folder).name).existing()
        # What changes it as shortly after may leave the same times.
        settled = found is not None and max(found[3:]) < now_ns - SETTLED_NS
        self.checked = found if settled else None


class _Readers:
    """Those that were used last; calls may come from any thread."""

    def __init__(self, signer: Callable[[], ClaimSigner]) -> None:
        self._signer = signer
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Opened] = OrderedDict()
        self._forgets = 0

    def of(self, place: Place) -> _Opened:
        """Opened anew where another recording has taken its place. Raises what readers do, and
        KeyProblem once its key was destroyed, perhaps by another process.
        """
        with self._lock:
            known, forgets = self._kept.get(place.folder), self._forgets
        opened = known if known is not None and known.place == place else self._open(place)
        opened.check_key()
        with self._lock:
            if self._forgets != forgets:  # perhaps this one, while it was opened
                return opened
            self._kept[place.folder] = opened
            self._kept.move_to_end(place.folder)
            if len(self._kept) > MAX_READERS:
                self._kept.popitem(last=False)
        return opened

    def forget(self, folder: str) -> None:
        with self._lock:
            self._forgets += 1
            self._kept.pop(folder, None)

    def _open(self, place: Place) -> _Opened:
        folder = Path(place.folder)
        stored = stored_folder(folder, open_store(place.store)) if place.store else None
        public_key = server_key.from_hex(place.public_key)
        reader = RecordingReader(folder, place.key, public_key, stored)
        keys = open_database(Path(place.keys))
        return _Opened(place, keys, reader, Streams(reader, self._signer))


class _Server:
    """The other end; calls may come from any thread."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._lock = threading.Lock()
        self._asked: dict[int, Future[Signer | Signature]] = {}
        self._numbers = 0
        self._signer: ClaimSigner | None = None

    def say(self, message: FromReader, body: bytes = b"") -> None:
        with self._lock:
            self._answers.writelines(wire.encode(message, body))
            self._answers.flush()

    def signer(self) -> ClaimSigner:
        """Who signs for C2PA: the server, which has the key. KeyProblem."""
        if self._signer is None:
            signer = self._ask(WhoSigns)
            assert isinstance(signer, Signer)
            chain = tuple(x509.load_pem_x509_certificates(signer.chain))
            self._signer = ClaimSigner(chain, signer.algorithm, self._sign)
        return self._signer

    def answered(self, message: Signer | Signature | NotSigned) -> None:
        """From the thread that reads what the server says."""
        asked = self._asked.pop(message.number)
        if isinstance(message, NotSigned):
            asked.set_exception(KeyProblem(message.reason))
        else:
            asked.set_result(message)

    def _sign(self, data: bytes) -> bytes:
        signed = self._ask(lambda number: Sign(number, data))
        assert isinstance(signed, Signature)
        return signed.signature

    def _ask(self, make: Callable[[int], WhoSigns | Sign]) -> Signer | Signature:
        with self._lock:
            self._numbers += 1
            number = self._numbers
            asked = self._asked[number] = Future[Signer | Signature]()
        self.say(make(number))
        return asked.result()


if __name__ == "__main__":
    main()
