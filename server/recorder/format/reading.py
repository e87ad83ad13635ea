"""Reading a file whole that may be anybody's."""

import errno
from importlib.resources.abc import Traversable

from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.stores.store import Readable, size_of

#: What is read whole: manifests, statements, checkpoints, parts of a log. None is near that.
MAX_WHOLE_BYTES = 64 << 20


def read_whole(file: Readable | Traversable) -> bytes:
    """FileNotFoundError where it is no file, as a pipe that never ends; SegmentError; OSError."""
    if not file.is_file():
        raise FileNotFoundError(errno.ENOENT, "there is no such file", file.name)
    with file.open("rb") as opened:
        size = size_of(opened)
        if size > MAX_WHOLE_BYTES:
            raise SegmentError(FaultKind.TAMPERED, f"{file.name} is longer than any such file")
        opened.seek(0)
        return opened.read(size + 1)  # so that an archive's member shows if it is longer
