"""The job of compressing one recording, for a process of its own: it decodes and encodes."""

from collections.abc import Callable
from pathlib import Path

from server.recorder.catalog import open_reader, recording_path
from server.recorder.compression import Compression, NotCompressed, discard
from server.recorder.derived import Compressed, making_path, refuse
from server.recorder.keys import KeyRing
from server.recorder.tiles import CHECKPOINT
from server.recorder.tlog import FOLDER as LOG_FOLDER
from server.recorder.verify import verify


def compress(
    data_dir: Path,
    interview_id: str,
    keys: KeyRing,
    progress: Callable[[float], None],
    clock: Callable[[], float],
    *,
    keep_source: bool,
) -> Compressed:
    """Make, or go on making, the small recording; it is then ready to be adopted.

    ``progress`` gets the share done, 0 to 1, after each segment. KeyError if there is no such
    recording; NotCompressed: it stays as it is, which is noted; KeyProblem; SegmentError; OSError.
    """
    reader = open_reader(data_dir, interview_id, keys)
    log = data_dir / LOG_FOLDER
    known = log if (log / CHECKPOINT).is_file() else None
    report = verify(recording_path(data_dir, interview_id), keys.public_key, known)
    try:
        if not report.intact:
            raise NotCompressed(f"it is not intact: {report.faults[0]}")
        job = Compression(data_dir, reader, keys, keep_source=keep_source)
        progress(job.done)
        while job.left:
            job.step()
            progress(job.done)
        return job.finish(round(clock() * 1e6))
    except NotCompressed as error:
        discard(making_path(data_dir, interview_id))
        refuse(data_dir, reader.manifest, str(error))
        raise
