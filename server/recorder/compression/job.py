"""The job of compressing one recording: keys here, decoders in a process that has none."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from server.recorder.catalog.derived import Compressed, Left, making_path, refuse
from server.recorder.compression.compression import Compression, NotCompressed, discard
from server.recorder.compression.recoder import open_recoder
from server.recorder.evidence.tiles import CHECKPOINT
from server.recorder.evidence.tlog import FOLDER as LOG_FOLDER
from server.recorder.evidence.verify import verify
from server.recorder.keys.key_ring import KeyRing
from server.recorder.replay.reader import open_reader
from server.recorder.stores.store import Readable, Store


class Told(msgspec.Struct, frozen=True):
    """What the process says: how much is done; last, what became of it."""

    done: float
    source_bytes: int = 0
    bytes: int = 0  #: of what was made of it
    left: Left | None = None  #: it stays as it is
    failed: bool = False
    reason: str = ""  #: why it was left, or failed


def compress(
    data_dir: Path,
    interview_id: str,
    keys: KeyRing,
    progress: Callable[[float], None],
    clock: Callable[[], float],
    *,
    keep_source: bool,
    store: Store | None = None,
) -> Compressed:
    """Make, or go on making, the small recording; it is then ready to be adopted.

    ``store``: where closed segments of the source may be; what is made of them is made here.
    ``progress`` gets the share done, 0 to 1, after each segment. KeyError if there is no such
    recording; NotCompressed: it stays as it is, which is noted; KeyProblem; SegmentError; OSError.
    """
    reader = open_reader(data_dir, interview_id, keys, store)
    try:
        _refuse_damaged(data_dir, reader.files, keys)
        with open_recoder() as recoder:
            job = Compression(data_dir, reader, keys, recoder, keep_source=keep_source)
            progress(job.done)
            while job.left:
                job.step()
                progress(job.done)
            return job.finish(round(clock() * 1e6))
    except NotCompressed as error:
        discard(making_path(data_dir, interview_id))
        refuse(data_dir, reader.manifest, error.why, str(error))
        raise


def _refuse_damaged(data_dir: Path, files: Readable, keys: KeyRing) -> None:
    log = data_dir / LOG_FOLDER
    known = log if (log / CHECKPOINT).is_file() else None
    report = verify(files, keys.public_key, known)
    if not report.intact:
        raise NotCompressed(Left.DAMAGED, f"it is not intact: {report.faults[0]}")
