"""A process that writes one export for the server, and ends.

Started as ``python -m server.recorder.export.worker FD``: FD is the file, what the server says
comes by the standard input, what it is told leaves by the standard output. It decodes what
candidates sent, so it is made poor: lowest priority, bounded memory, no core dumps, of keys only
the recording's, and of files too unless some are in a store. When the server ends, nobody reads
what it tells, and it ends, too.
"""

import errno
import hashlib
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av.logging
import msgspec

from server.confine import confine
from server.memory import keep_private
from server.priority import give_way
from server.recorder.catalog.recordings import stored_folder
from server.recorder.export.clip import Clip
from server.recorder.export.export import ExportError, PauseTooLong, Source, write
from server.recorder.export.job import Bound, Failed, Fault, Job, Said, Share, Signed, Written
from server.recorder.export.movie import Movie
from server.recorder.format import server_key
from server.recorder.format.sealed_file import CHUNK_BYTES, SealedFile, Turned
from server.recorder.format.sealing import SegmentError
from server.recorder.replay.reader import RecordingReader
from server.recorder.stores.store import open_store

#: What runs live goes first, always.
NICENESS = 19
#: Address space: the largest pictures in a decoder and an encoder need a tenth of it.
MOST_MEMORY = 4 << 30
#: What is free of a disk below this is left to recordings.
FREE_BYTES = 1 << 30
#: So much more is done before it is told.
_STEP = 0.005
#: What is done once the media are written, and once they were read to be signed.
_WRITTEN, _HASHED = 0.9, 0.95

_job = msgspec.json.Decoder(Job)
_signed = msgspec.json.Decoder(Signed)


def main() -> None:
    give_way(NICENESS)
    keep_private()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    av.logging.set_level(None)  # candidates' bytes must not write to the server's log
    job = _job.decode(sys.stdin.buffer.readline())
    if not job.store:  # which it would have to reach
        confine(MOST_MEMORY, [job.folder])
    _say(run(job, int(sys.argv[1]), _ask_server))


Sign = Callable[[Bound], bytes]


def run(job: Job, fd: int, sign: Sign) -> Said:
    """Write the export to ``fd``, sealed. Returns the last word."""
    try:
        return _written(job, fd, sign)
    except PauseTooLong as error:
        return Failed(Fault.PAUSE_TOO_LONG, str(error))
    except ExportError as error:
        return Failed(Fault.EMPTY, str(error))
    except SegmentError as error:
        return Failed(Fault.DAMAGED, str(error))
    except OSError as error:
        fault = Fault.DISK_FULL if error.errno == errno.ENOSPC else Fault.UNREADABLE
        return Failed(fault, error.strerror or type(error).__name__)


def _written(job: Job, fd: int, sign: Sign) -> Written:
    file = SealedFile(fd, bytes.fromhex(job.file_key))
    source = _source(job)
    if not len(source):
        raise ExportError("the recording has no media")
    movie, progress = Movie(file.append), _Progress(fd)
    encoded = write(source, movie, progress.part(0.0, _WRITTEN), job.transcode)
    head = movie.head(job.reserved)
    credentials = b""
    if job.reserved:
        media = _blocks(file, progress.part(_WRITTEN, _HASHED))
        credentials = sign(Bound(head.digest(job.reserved, media), encoded))
    for part in (head.ftyp, credentials, *head.moov, head.mdat):
        file.append(part)
    file.finish()
    size = file.size - movie.size
    digest = hashlib.sha256()
    for block in _blocks(Turned(file, size), progress.part(_HASHED, 1.0)):
        digest.update(block)
    return Written(file.size, size, digest.hexdigest())


def _source(job: Job) -> Source:
    folder = Path(job.folder)
    stored = stored_folder(folder, open_store(job.store)) if job.store else None
    public_key = server_key.from_hex(job.public_key)
    reader = RecordingReader(folder, bytes.fromhex(job.key), public_key, stored)
    if job.start_us == 0 and job.end_us >= reader.duration_us:
        return reader
    try:
        return Clip(reader, job.start_us, job.end_us)
    except ValueError as error:
        raise ExportError(str(error)) from error


class _Progress:
    """Tells how much is done, and stops where the disk is nearly full."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._told = 0.0

    def part(self, start: float, end: float) -> Callable[[float], None]:
        """Takes the share that is done of what goes from one share of all to another."""
        return lambda done: self._tell(start + done * (end - start))

    def _tell(self, done: float) -> None:
        if done < self._told + _STEP:
            return
        disk = os.fstatvfs(self._fd)
        if disk.f_bavail * disk.f_frsize < FREE_BYTES:
            raise OSError(errno.ENOSPC, "what is left is for recordings")
        self._told = done
        _say(Share(done))


def _blocks(file: SealedFile | Turned, progress: Callable[[float], None]) -> Iterator[bytes]:
    place, size = 0, file.size
    while block := file.read_at(place, CHUNK_BYTES):
        yield block
        place += len(block)
        progress(place / size)


def _ask_server(bound: Bound) -> bytes:
    _say(bound)
    return _signed.decode(sys.stdin.buffer.readline()).credentials


def _say(word: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(word) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
