"""Where the closed files of recordings are kept: the port, a directory, and what reads from both.

A running segment is always written to the data directory first, where it is durable within a
second (`server.recorder.stores.files`); a store takes closed ones from there. What reads a
recording asks little of a folder's `Path`, which a bucket can answer too: `Readable`.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, Literal, Protocol

from server.recorder.stores.files import copy_durably, make_folder, sync_directory


class Readable(Protocol):
    """What is read of a recording's folder, and of its files: a part of `Path`. OSError."""

    @property
    def name(self) -> str: ...
    def iterdir(self) -> Iterator["Readable"]: ...
    def __truediv__(self, name: str, /) -> "Readable": ...
    def is_file(self) -> bool: ...
    def open(self, mode: Literal["rb"], /) -> io.BufferedReader: ...
    def read_bytes(self) -> bytes: ...


class Store(Protocol):
    """Every call may raise OSError; those that only read, FileNotFoundError."""

    def put(self, recording: str, name: str, source: BinaryIO, size: int) -> None:
        """Store the first ``size`` bytes, in place of what had that name. On return they are
        durable, and the store has proved by a checksum that they are these."""

    def has(self, recording: str, name: str, data: bytes) -> bool:
        """Whether it has these bytes under that name."""

    def folder(self, recording: str) -> Readable:
        """What :meth:`put` stored of a recording, to read by ranges."""

    def remove(self, recording: str, name: str) -> None:
        """It is there no more on return, if it was."""

    def abandon_parts(self, wanted: Callable[[str, str], bool]) -> None:
        """Give up what was begun, never ended, and is not ``wanted(recording, name)``."""


class LocalStore:
    """A directory, as of a network file system; the folders lie in it as in a data directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, recording: str, name: str, source: BinaryIO, size: int) -> None:
        folder = self._path / recording
        make_folder(folder)
        copy_durably(source, size, folder / name, self._path)

    def has(self, recording: str, name: str, data: bytes) -> bool:
        try:
            return (self._path / recording / name).read_bytes() == data
        except FileNotFoundError:
            return False

    def folder(self, recording: str) -> Readable:
        return self._path / recording

    def remove(self, recording: str, name: str) -> None:
        folder = self._path / recording
        (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is more in it, or nothing ever was
            folder.rmdir()
        sync_directory(self._path)

    def abandon_parts(self, wanted: Callable[[str, str], bool]) -> None:
        for leftover in self._path.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)


def open_store(where: str) -> Store:
    """``s3://BUCKET/PREFIX``, or a directory. OSError."""
    if where.startswith("s3://"):
        from server.recorder.stores.s3 import S3Store  # a third of a second, for its users

        return S3Store(*split_s3(where))
    return LocalStore(Path(where))


def split_s3(url: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://BUCKET/PREFIX``."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return bucket, prefix.strip("/")


class StoredFolder:
    """A recording's folder of which a store may have taken files; what is here is read here."""

    def __init__(self, local: Path, stored: Readable) -> None:
        self._local, self._stored = local, stored

    @property
    def name(self) -> str:
        return self._local.name

    def iterdir(self) -> Iterator[Readable]:
        names = {each.name for each in self._local.iterdir()}
        with contextlib.suppress(FileNotFoundError):
            names |= {each.name for each in self._stored.iterdir()}
        return (self / name for name in sorted(names))

    def __truediv__(self, name: str, /) -> "StoredFile":
        return StoredFile(self._local / name, self._stored / name)

    def is_file(self) -> bool:
        return False

    def open(self, mode: Literal["rb"], /) -> io.BufferedReader:
        raise IsADirectoryError(self.name)

    def read_bytes(self) -> bytes:
        raise IsADirectoryError(self.name)


class StoredFile:
    """A file that is in a store if it is not, or no longer, on the local disk."""

    def __init__(self, local: Path, stored: Readable) -> None:
        self._local, self._stored = local, stored

    @property
    def name(self) -> str:
        return self._local.name

    def iterdir(self) -> Iterator[Readable]:
        raise NotADirectoryError(self.name)

    def __truediv__(self, name: str, /) -> Readable:
        raise NotADirectoryError(self.name)

    def is_file(self) -> bool:
        return self._local.is_file() or self._stored.is_file()

    def open(self, mode: Literal["rb"], /) -> io.BufferedReader:
        try:
            return self._local.open(mode)
        except FileNotFoundError:
            return self._stored.open(mode)

    def read_bytes(self) -> bytes:
        with self.open("rb") as file:
            return file.read()


def size_of(file: IO[bytes]) -> int:
    """Of an open file, whose position it moves to the end."""
    return file.seek(0, os.SEEK_END)
