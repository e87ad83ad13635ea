"""A zip archive as a folder to read, where it lies: nothing of it is unpacked to the disk.

Nothing of it is trusted either. Its directory and whatever is read whole are bounded, members are
read a block at a time; an archive that would unpack to far more than it takes, that names a place
outside of it, or that another program could read otherwise, is refused. Checksums of the archive
are not looked at: what counts in a recording is signed.
"""

import errno
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from server.recorder.format.reading import MAX_WHOLE_BYTES, read_whole
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.stores.files import SizedRaw
from server.recorder.stores.store import size_of

MAGIC = b"PK\x03\x04"
#: Of eight hours' segments and a long log it is a few hundred kilobytes.
MAX_DIRECTORY_BYTES = 4 << 20
#: Ciphertext does not shrink; manifests and logs alone do.
MAX_GROWTH = 10
_BLOCK_BYTES = 256 << 10
#: APPNOTE.TXT 4.3.7: signature, version, flags, method, time and date, CRC-32, sizes, lengths of
#: the name and of the extra field.
_LOCAL = struct.Struct("<4sHHHIIIIHH")
#: APPNOTE.TXT 4.4.4: encrypted, patch data, strong encryption, masked headers.
_UNREADABLE = 1 << 0 | 1 << 5 | 1 << 6 | 1 << 13
_UTF_8 = 1 << 11
_SIZES_FOLLOW = 1 << 3
#: 4.4.8, 4.5.3: a size that is in an extra field, and that field's.
_IN_EXTRA, _ZIP64 = 0xFFFFFFFF, 1
#: 4.3.9: what may follow a member, at most.
_DESCRIPTOR_BYTES = 24


class _Member(NamedTuple):
    offset: int  #: of its data
    packed: int
    size: int
    deflated: bool


@contextmanager
def open_archive(path: Path) -> Iterator["ArchivePath"]:
    """The archive's top folder, to read while it is open.

    SegmentError, also from whatever is read, where the archive is cut off or refused; OSError.
    """
    with path.open("rb") as file:
        yield ArchivePath(_Archive(file, _members(file)), "")


def is_archive(path: Path) -> bool:
    """Whether a file begins as a zip archive does. OSError."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


class _Archive:
    """The members by their paths, and each folder's names; the top folder is ''."""

    def __init__(self, file: BinaryIO, members: dict[str, _Member]) -> None:
        self._file = file
        self.members = members
        self.folders: dict[str, set[str]] = {"": set()}
        for path in members:
            while path:
                path, _, name = path.rpartition("/")
                self.folders.setdefault(path, set()).add(name)

    def open(self, path: str) -> io.BufferedReader:
        member = self.members.get(path)
        if member is None:
            raise FileNotFoundError(f"there is no {path} in the archive")
        stored = _Stored(self._file.fileno(), member.offset, member.packed)
        raw = _Inflated(stored, member.size) if member.deflated else stored
        return io.BufferedReader(raw, _BLOCK_BYTES)


class ArchivePath(Traversable):
    """A folder or a file in an archive; a `Readable`."""

    def __init__(self, archive: _Archive, path: str) -> None:
        self._archive, self._path = archive, path

    @property
    def name(self) -> str:
        return self._path.rpartition("/")[2]

    @property
    def parent(self) -> "ArchivePath":
        return ArchivePath(self._archive, self._path.rpartition("/")[0])

    def iterdir(self) -> Iterator["ArchivePath"]:
        """FileNotFoundError where there is no such folder."""
        names = self._archive.folders.get(self._path)
        if names is None:
            raise FileNotFoundError(f"there is no folder {self._path} in the archive")
        return (self / name for name in sorted(names))

    def joinpath(self, *descendants: Any) -> "ArchivePath":
        return ArchivePath(self._archive, "/".join(filter(None, (self._path, *descendants))))

    def __truediv__(self, name: Any, /) -> "ArchivePath":
        return self.joinpath(name)

    def is_dir(self) -> bool:
        return self._path in self._archive.folders

    def is_file(self) -> bool:
        return self._path in self._archive.members

    def open(self, mode: Literal["rb"] = "rb", /) -> io.BufferedReader:  # type: ignore[override]
        """FileNotFoundError."""
        return self._archive.open(self._path)

    def read_bytes(self) -> bytes:
        """FileNotFoundError."""
        return read_whole(self)

    def read_text(self, encoding: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8")

    def folders_with(self, name: str) -> list["ArchivePath"]:
        """All folders of the archive that hold a file of that name, in order."""
        folders = sorted(self._archive.folders)
        paths = (ArchivePath(self._archive, folder) for folder in folders)
        return [path for path in paths if (path / name).is_file()]


# ---- the directory ----------------------------------------------------------------------


def _members(file: BinaryIO) -> dict[str, _Member]:
    infos, end = _directory(file)
    if sum(info.file_size for info in infos) > MAX_GROWTH * size_of(file) + MAX_WHOLE_BYTES:
        raise SegmentError(FaultKind.TAMPERED, "the archive would unpack to far more than it takes")
    members: dict[str, _Member] = {}
    spans = []
    for info in infos:
        _refuse_tricks(info)
        if not 0 <= info.header_offset < end:
            raise SegmentError(FaultKind.TRUNCATED, f"the archive's {info.filename} is cut off")
        offset = _data_offset(file, info)
        spans.append((info.header_offset, offset + info.compress_size))
        if not info.filename.endswith("/"):
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            members[info.filename] = _Member(offset, info.compress_size, info.file_size, deflated)
    _refuse_doubles([info.filename for info in infos])
    if infos:
        _refuse_spans(spans, end)
    return members


def _directory(file: BinaryIO) -> tuple[list[zipfile.ZipInfo], int]:
    """What it lists, and where it begins."""
    try:
        with zipfile.ZipFile(_Bounded(file)) as archive:
            return archive.infolist(), archive.start_dir
    except zipfile.BadZipFile as error:
        message = f"the archive is cut off or damaged: {str(error).lower()}"
        raise SegmentError(FaultKind.TRUNCATED, message) from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        message = "the archive's directory is before its beginning"
        raise SegmentError(FaultKind.TAMPERED, message) from error
    except SegmentError:
        raise
    except (NotImplementedError, ValueError, struct.error, OverflowError) as error:
        raise SegmentError(FaultKind.TAMPERED, f"the archive's directory: {error}") from error


class _Bounded:
    """A file of which nobody reads more than a directory at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1, /) -> bytes:
        data = self._file.read(min(count, MAX_DIRECTORY_BYTES + 1) if count >= 0 else _TAIL_BYTES)
        if len(data) > MAX_DIRECTORY_BYTES:
            raise SegmentError(FaultKind.TAMPERED, "the archive's directory is too long")
        return data


#: A comment's most and the record before it: what is looked through for the directory's place.
_TAIL_BYTES = (1 << 16) + 22


def _refuse_tricks(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    parts = name.removesuffix("/").split("/")
    if (
        name != info.filename
        or not name.isprintable()
        or any(char in name for char in "\\:")
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise SegmentError(FaultKind.TAMPERED, f"the archive holds a trick, no path: {name!r}")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise SegmentError(FaultKind.TAMPERED, f"the archive's {name} is no file")
    if info.flag_bits & _UNREADABLE or info.compress_type not in _METHODS:
        message = f"the archive's {name} is packed in a way that is not read here"
        raise SegmentError(FaultKind.TAMPERED, message)
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise SegmentError(FaultKind.TAMPERED, f"the archive's {name} has two sizes")
    if _UNICODE_PATH in dict(_extra_fields(info.extra)):
        raise SegmentError(FaultKind.TAMPERED, f"the archive's {name} has two names")


_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: APPNOTE.TXT 4.6.9: the name that some programs take in place of the other.
_UNICODE_PATH = 0x7075


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        field, count = struct.unpack_from("<HH", extra, at)
        yield field, extra[at + 4 : at + 4 + count]
        at += 4 + count


def _data_offset(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where a member's data begins: its own header must tell of the same one."""
    file.seek(info.header_offset)
    data = file.read(_LOCAL.size)
    if len(data) < _LOCAL.size:
        raise SegmentError(FaultKind.TRUNCATED, f"the archive's {info.filename} is cut off")
    magic, _, flags, method, _, _, packed, size, name_bytes, extra_bytes = _LOCAL.unpack(data)
    encoding = "utf-8" if flags & _UTF_8 else "cp437"
    name = file.read(name_bytes).decode(encoding, "replace")
    if (magic, method, name) != (MAGIC, info.compress_type, info.filename):
        message = f"the archive calls {info.filename} otherwise in another place"
        raise SegmentError(FaultKind.TAMPERED, message)
    sizes = struct.pack("<QQ", size, packed)
    if _IN_EXTRA in (packed, size):
        sizes = dict(_extra_fields(file.read(extra_bytes))).get(_ZIP64, b"")
    if not flags & _SIZES_FOLLOW and sizes != struct.pack(
        "<QQ", info.file_size, info.compress_size
    ):
        raise SegmentError(FaultKind.TAMPERED, f"the archive's {info.filename} has two sizes")
    offset: int = info.header_offset + _LOCAL.size + name_bytes + extra_bytes
    return offset


def _refuse_doubles(names: list[str]) -> None:
    """Also where only some file systems take two names for one, or a file lies below a file."""
    files = {name.casefold() for name in names if not name.endswith("/")}
    if len({name.casefold() for name in names}) < len(names):
        raise SegmentError(FaultKind.TAMPERED, "the archive holds a path twice")
    for name in names:
        folder = name.casefold().removesuffix("/").rpartition("/")[0]
        while folder:
            if folder in files:
                raise SegmentError(FaultKind.TAMPERED, f"the archive's {name} lies below a file")
            folder = folder.rpartition("/")[0]


def _refuse_spans(spans: list[tuple[int, int]], end: int) -> None:
    """Members that share bytes are how a small archive unpacks to a large one.

    Between them others can be hidden, which programs find that read from the beginning.
    """
    spans.sort()
    for (_, before), (start, _) in pairwise([(0, 0), *spans, (end, end)]):
        if before > start:
            raise SegmentError(FaultKind.TAMPERED, "members of the archive overlap")
        if start - before > _DESCRIPTOR_BYTES:
            message = "something is in the archive that its directory does not list"
            raise SegmentError(FaultKind.TAMPERED, message)


# ---- members ----------------------------------------------------------------------------


class _Stored(SizedRaw):
    """A part of a file, as it lies there."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        super().__init__(size)
        self._fd, self._offset = fd, offset

    def read_at(self, offset: int, count: int) -> bytes:
        return os.pread(self._fd, count, self._offset + offset)


class _Inflated(SizedRaw):
    """A deflated part; going back means to inflate again from the beginning."""

    def __init__(self, packed: _Stored, size: int) -> None:
        super().__init__(size)
        self._packed = packed
        self._restart()

    def _restart(self) -> None:
        self._packed.seek(0)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._done = 0

    def readinto(self, buffer: Any) -> int:
        """Also at the end: there may be more than is declared."""
        if self._at < self._done:
            self._restart()
        while self._done < self._at:
            if not self._next(min(_BLOCK_BYTES, self._at - self._done)):
                return 0
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        self._at = self._done
        return len(data)

    def _next(self, count: int) -> bytes:
        """At most ``count`` bytes, b"" at the end. SegmentError where that is not as declared."""
        data = b""
        try:
            while not data and not self._inflate.eof:
                packed = self._inflate.unconsumed_tail or self._packed.read(_BLOCK_BYTES)
                data = self._inflate.decompress(packed or b"", count)
                if not packed and not data:
                    break
        except zlib.error as error:
            raise SegmentError(FaultKind.TAMPERED, "it can't be inflated") from error
        self._done += len(data)
        if self._done > self._size or (not data and self._done < self._size):
            raise SegmentError(FaultKind.TAMPERED, "it inflates to another size than is declared")
        return data
