"""Where the parts of a log lie: C2SP tlog-tiles, as files of a folder. Reading alone.

Works on any folder or archive that has the files; an older state of a running log is always the
beginning of a newer one, so that reading beside its writer needs no lock.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import NoReturn

from server.recorder.format.merkle import HASH_BYTES, node_hash
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import FaultKind, SegmentError

CHECKPOINT = "checkpoint"
TILES = "tile"
TILE_WIDTH = 256
ENTRIES = "entries"
#: A tile that is being replaced by a wider one is looked for again.
_ATTEMPTS = 5


def tile_path(level: int | str, index: int, width: int = TILE_WIDTH) -> str:
    """`tile/0/x001/067`, with its width where it is partial."""
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([TILES, str(level), *(f"x{part}" for part in parts[:-1]), parts[-1]])
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def encode_entries(entries: list[bytes]) -> bytes:
    """An entry bundle: each with its length in two bytes before it."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def split_entries(bundle: bytes) -> Iterator[bytes]:
    """The whole entries of a bundle, up to where it ends or is torn."""
    at = 0
    while at + 2 <= len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        if end > len(bundle):
            return
        yield bundle[at + 2 : end]
        at = end


class Tiles:
    """The hashes and entries of a log's folder, each tile read when it is needed."""

    def __init__(
        self,
        folder: Traversable,
        known: Mapping[tuple[int | str, int], bytes] = MappingProxyType({}),
    ) -> None:
        """``known`` are tiles by level and index that need not be read."""
        self._folder = folder
        self._known = dict(known)

    def entries(self, size: int, bundle: int = 0) -> Iterator[bytes]:
        """Those of a log of ``size``, from one of its bundles on. SegmentError where some lack."""
        for index in range(bundle, -(-size // TILE_WIDTH)):
            wanted = min(size - index * TILE_WIDTH, TILE_WIDTH)
            found = list(split_entries(self._bundle(index, wanted)))[:wanted]
            if len(found) < wanted:
                self._refuse_cut(ENTRIES, index)
            yield from found

    def entry(self, index: int) -> bytes:
        """SegmentError where it is not there whole."""
        bundle, place = divmod(index, TILE_WIDTH)
        found = list(split_entries(self._bundle(bundle, place + 1)))
        if len(found) <= place:
            self._refuse_cut(ENTRIES, bundle)
        return found[place]

    def place(self, level: int | str, index: int) -> str:
        """Where that tile lies, whatever its width. SegmentError; OSError."""
        return self._read(level, index, 1)[0]

    def check(self, level: int, index: int, hashes: Sequence[bytes]) -> None:
        """SegmentError unless a tile begins with these hashes, and has as many as it says."""
        path, data = self._read(level, index, len(hashes))
        if len(data) != _width(path) * HASH_BYTES or not data.startswith(b"".join(hashes)):
            message = "its hashes are not those of what the log holds"
            raise SegmentError(FaultKind.TAMPERED, message, path)

    def range_hash(self, start: int, end: int) -> bytes:
        """MTH(D[start:end]) where that is a subtree of a tree (see `merkle.RangeHash`)."""
        peaks = []
        while start < end:
            height = (end - start).bit_length() - 1
            if start:
                height = min(height, (start & -start).bit_length() - 1)
            peaks.append(self._subtree(height, start >> height))
            start += 1 << height
        root = peaks.pop()
        while peaks:
            root = node_hash(peaks.pop(), root)
        return root

    def _subtree(self, height: int, index: int) -> bytes:
        """The root of the perfect subtree that is this one of its height."""
        level, above = divmod(height, 8)
        count = 1 << above
        tile, place = divmod(index * count, TILE_WIDTH)
        data = self._hashes(level, tile, place + count)
        nodes = [
            data[at : at + HASH_BYTES]
            for at in range(place * HASH_BYTES, (place + count) * HASH_BYTES, HASH_BYTES)
        ]
        return perfect_root(nodes)

    def _bundle(self, index: int, width: int) -> bytes:
        known = self._known.get((ENTRIES, index))
        if known is not None:
            return known
        path, data = self._read(ENTRIES, index, width)
        found = list(split_entries(data))
        if len(found) == _width(path) and len(encode_entries(found)) != len(data):
            raise SegmentError(FaultKind.TAMPERED, "something follows its entries", path)
        return data

    def _hashes(self, level: int, index: int, width: int) -> bytes:
        known = self._known.get((level, index), b"")
        if len(known) < width * HASH_BYTES:
            _, known = self._read(level, index, width)
            self._known[level, index] = known
        if len(known) < width * HASH_BYTES:
            self._refuse_cut(level, index)
        return known

    def _refuse_cut(self, level: int | str, index: int) -> NoReturn:
        raise SegmentError(FaultKind.TRUNCATED, "it is cut off", self.place(level, index))

    def _read(self, level: int | str, index: int, width: int) -> tuple[str, bytes]:
        """The tile, or what there is of it with at least this width; and where it lies.

        SegmentError; OSError.
        """
        path = tile_path(level, index)
        for _ in range(_ATTEMPTS):
            whole = self._folder.joinpath(path)
            try:
                if whole.is_file():
                    return path, read_whole(whole)
                partial = self._folder.joinpath(path + ".p")
                widths = [int(file.name) for file in partial.iterdir() if file.name.isdecimal()]
                if max(widths, default=0) >= width:
                    wide = tile_path(level, index, max(widths))
                    return wide, read_whole(self._folder.joinpath(wide))
            except (FileNotFoundError, NotADirectoryError, ValueError):
                continue  # its writer has just put a wider one in its place
        wanted = tile_path(level, index, width)
        raise SegmentError(FaultKind.MISSING, "nothing lies there that is so wide", wanted)


def _width(path: str) -> int:
    """How many hashes or entries the tile at that path has."""
    _, partial, width = path.partition(".p/")
    return int(width) if partial else TILE_WIDTH


class Comparison:
    """Holds the tiles of hashes against the entries: add these in their order, then :meth:`end`.

    ``differs``: the first tile that is not what it should be, and its bundle of entries.
    """

    def __init__(self, tiles: Tiles) -> None:
        self.differs: SegmentError | None = None
        self.bundle = 0
        self._tiles = tiles
        self._levels: list[list[bytes]] = [[]]
        self._counts = [0]

    def add(self, digest: bytes, level: int = 0) -> None:
        """The hash of an entry."""
        if level == len(self._levels):
            self._levels.append([])
            self._counts.append(0)
        self._levels[level].append(digest)
        if len(self._levels[level]) == TILE_WIDTH:
            hashes = self._compare(level)
            self._levels[level] = []
            self._counts[level] += 1
            self.add(perfect_root(hashes), level + 1)

    def end(self) -> None:
        for level, hashes in enumerate(self._levels):
            if hashes:
                self._compare(level)

    def _compare(self, level: int) -> list[bytes]:
        index, hashes = self._counts[level], self._levels[level]
        if self.differs is None:
            try:
                self._tiles.check(level, index, hashes)
            except SegmentError as error:
                self.differs, self.bundle = error, index
        return hashes


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Of as many hashes as a power of two."""
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [node_hash(left, right) for left, right in pairs]
    return hashes[0]
