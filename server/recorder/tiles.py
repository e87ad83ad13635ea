"""Where the parts of a log lie: C2SP tlog-tiles, as files of a folder. Reading alone.

Works on any folder or archive that has the files; an older state of a running log is always the
beginning of a newer one, so that reading beside its writer needs no lock.
"""

from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from types import MappingProxyType

from server.recorder.merkle import HASH_BYTES, node_hash
from server.recorder.sealing import FaultKind, SegmentError

CHECKPOINT = "checkpoint"
TILE_WIDTH = 256
ENTRIES = "entries"
#: A tile that is being replaced by a wider one is looked for again.
_ATTEMPTS = 5


def tile_path(level: int | str, index: int, width: int = TILE_WIDTH) -> str:
    """`tile/0/x001/067`, with its width where it is partial."""
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join(["tile", str(level), *(f"x{part}" for part in parts[:-1]), parts[-1]])
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
                raise SegmentError(FaultKind.TRUNCATED, f"{tile_path(ENTRIES, index)} is cut off")
            yield from found

    def entry(self, index: int) -> bytes:
        """SegmentError where it is not there whole."""
        bundle, place = divmod(index, TILE_WIDTH)
        found = list(split_entries(self._bundle(bundle, place + 1)))
        if len(found) <= place:
            raise SegmentError(FaultKind.TRUNCATED, f"{tile_path(ENTRIES, bundle)} is cut off")
        return found[place]

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
        while len(nodes) > 1:
            pairs = zip(nodes[::2], nodes[1::2], strict=True)
            nodes = [node_hash(left, right) for left, right in pairs]
        return nodes[0]

    def _bundle(self, index: int, width: int) -> bytes:
        known = self._known.get((ENTRIES, index))
        return self._read(ENTRIES, index, width) if known is None else known

    def _hashes(self, level: int, index: int, width: int) -> bytes:
        known = self._known.get((level, index), b"")
        if len(known) < width * HASH_BYTES:
            known = self._known[level, index] = self._read(level, index, width)
        if len(known) < width * HASH_BYTES:
            raise SegmentError(FaultKind.TRUNCATED, f"{tile_path(level, index)} is cut off")
        return known

    def _read(self, level: int | str, index: int, width: int) -> bytes:
        """The tile, or what there is of it with at least this width. SegmentError; OSError."""
        path = tile_path(level, index)
        for _ in range(_ATTEMPTS):
            whole = self._folder.joinpath(path)
            try:
                if whole.is_file():
                    return whole.read_bytes()
                partial = self._folder.joinpath(path + ".p")
                widths = [int(file.name) for file in partial.iterdir() if file.name.isdecimal()]
                if max(widths, default=0) >= width:
                    return partial.joinpath(str(max(widths))).read_bytes()
            except (FileNotFoundError, NotADirectoryError, ValueError):
                continue  # its writer has just put a wider one in its place
        raise SegmentError(FaultKind.MISSING, f"{path} with {width} of its hashes is gone")
