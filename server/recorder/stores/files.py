"""Durable files: what is on the disk when a call returns, and in what order it got there."""

import errno
import fcntl
import hashlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

_COPY_BYTES = 1 << 20


class SegmentFile(Protocol):
    """A file that only grows. Any call may raise OSError; after one, write no more."""

    def write(self, data: bytes) -> None: ...

    def sync(self) -> None:
        """Make what was written, and the file's name, survive a power cut."""

    def truncate(self, size: int) -> None: ...

    def close(self) -> None: ...


class Folder(Protocol):
    """Where one recording's files go: the writer's port. Any call may raise OSError."""

    def create(self, name: str) -> SegmentFile: ...

    def replace(self, name: str, data: bytes) -> None:
        """Write a whole file, atomically and durably."""

    def remove(self, name: str) -> None: ...


class LocalFolder:
    """A directory of the local disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self, name: str) -> "LocalFile":
        return LocalFile(self._path / name)

    def replace(self, name: str, data: bytes) -> None:
        write_durably(self._path / name, data, self._path.parent)

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)


class LocalFile:
    """A new file, mode 0600; FileExistsError rather than writing over anything."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._named = False

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def sync(self) -> None:
        os.fdatasync(self._fd)
        if not self._named:
            sync_directory(self._path.parent)
            self._named = True

    def truncate(self, size: int) -> None:
        os.truncate(self._path, size)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_durably(path: Path, data: bytes, scratch: Path | None = None) -> None:
    """Replace ``path`` by ``data``, mode 0600, through a file in ``scratch`` (or beside it).

    A crash leaves the old content or the new one, never a mixture.
    """
    scratch = scratch or path.parent
    temporary = scratch / f".{path.parent.name}.{path.name}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            fcntl.flock(fd, fcntl.LOCK_SH)  # while its writer lives
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def copy_durably(source: BinaryIO, size: int, path: Path, scratch: Path) -> None:
    """Replace ``path`` by the first ``size`` bytes of ``source``, as `write_durably` does.

    What the disk holds then is read back and compared. OSError, also where it differs.
    """
    temporary = scratch / f".{path.parent.name}.{path.name}.tmp"
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(fd, "w+b") as file:
            digest = hashlib.sha256()
            while file.tell() < size:
                data = source.read(min(_COPY_BYTES, size - file.tell()))
                if not data:
                    raise OSError(errno.EIO, f"{size} bytes were to be copied, there are fewer")
                digest.update(data)
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            if hashlib.file_digest(file, "sha256").digest() != digest.digest():
                raise OSError(errno.EIO, f"{path} is not what was written")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


class SizedRaw(io.RawIOBase):
    """Bytes of a known size that lie elsewhere; a subclass gives them in `read_at`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0

    def read_at(self, offset: int, count: int) -> bytes:
        """At most so many, at least one."""
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        data = self.read_at(self._at, count)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """A new file in the folder of ``path``, gone at the end unless it was renamed. OSError.

    What a process that was killed left there of the same name is removed first.
    """
    named = f"{path.name}."
    remove_abandoned(
        each for each in path.parent.glob(".*.tmp") if each.name.lstrip(".").startswith(named)
    )
    fd, name = tempfile.mkstemp(prefix=f".{named}", suffix=".tmp", dir=path.parent)
    scratch = Path(name)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield scratch
    finally:
        os.close(fd)
        scratch.unlink(missing_ok=True)


def put_in_place(scratch: Path, path: Path) -> None:
    """Give a file that is whole its name, in place of what has it; durable on return. OSError."""
    fd = os.open(scratch, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(scratch, path)
    sync_directory(path.parent)


def remove_abandoned(scratches: Iterable[Path]) -> None:
    """Those of these files that no living process is writing. OSError."""
    for path in scratches:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            continue  # it has its name by now
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)


def overwrite(fd: int) -> None:
    """Zeros over all of a file. Not every file system writes in place (docs/threat-model.md)."""
    os.pwrite(fd, bytes(os.fstat(fd).st_size), 0)
    os.fsync(fd)


def make_folder(path: Path) -> None:
    """With those above it that are missing, mode 0700; there for good on return. OSError."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
