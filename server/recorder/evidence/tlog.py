"""The log of a data directory: a witness of its recordings outside their folders.

An append-only Merkle tree (RFC 9162) in the C2SP tlog-tiles layout. What counts is on the disk
in the entry bundles: those that are full, and `tail`, the one that grows, which has the same
form. An append is one write to it and one sync; then the partial tiles and the checkpoint are
put in place, which follow from it and are made anew where a power cut has taken them. So the
log never goes back behind a checkpoint that anybody has seen.
"""

import enum
import logging
import os
import secrets
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from itertools import chain, islice
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.recorder.evidence.checkpoint import Checkpoint, read_checkpoint, sign_checkpoint
from server.recorder.evidence.proof import Proof, check_proof
from server.recorder.evidence.tiles import (
    CHECKPOINT,
    ENTRIES,
    TILE_WIDTH,
    TILES,
    Comparison,
    Tiles,
    encode_entries,
    perfect_root,
    split_entries,
    tile_path,
)
from server.recorder.format.merkle import HASH_BYTES, Tree, inclusion_path, leaf_hash
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import ServerKey, alone
from server.recorder.keys import succession
from server.recorder.stores.files import make_folder, sync_directory, write_durably

log = logging.getLogger(__name__)

FOLDER = "log"
ORIGIN = "origin"
TAIL = "tail"
_MAX_ENTRY_BYTES = 0xFFFF
_ROTATED = b'{"kind":"rotated"'


class LogProblem(Exception):
    """The log is not the one that was published; the message says what to do."""


class EntryKind(enum.StrEnum):
    """What has happened to a recording, or to all of them."""

    BEGUN = "begun"  #: or gone on with
    RECORDING = "recording"  #: at least each ten seconds while something is written
    CLOSED = "closed"
    REPAIRED = "repaired"  #: closed after a crash
    DERIVED = "derived"  #: an export or a copy was made
    ERASED = "erased"  #: its key was destroyed
    ROTATED = "rotated"  #: of no recording: another key signs from now on


#: After these nothing of the recording changes until it has begun anew.
CLOSING = frozenset({EntryKind.CLOSED, EntryKind.REPAIRED})


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A leaf of the log: what was durable of a recording. Nobody's name is in it."""

    kind: EntryKind
    recording: str  #: its id in hex
    interview: str
    tree_size: int  #: records
    root: str  #: of their tree
    end_us: int  #: where its media ended, since its epoch
    revision: int  #: of its manifest
    manifest: str  #: SHA-256 of what is signed in it
    at_us: int  #: Unix time
    statement: str = ""  #: of an export or a change of keys: SHA-256 of what is signed in it

    @property
    def is_state(self) -> bool:
        """Whether the recording became so; else something was made of it, or its key destroyed."""
        return self.kind is not EntryKind.ERASED and not self.statement


_entry = msgspec.json.Decoder(Entry)


def parse_entry(data: bytes) -> Entry | None:
    """None where it is none of this program."""
    try:
        return _entry.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def open_log(
    folder: Path, signer: Ed25519PrivateKey, other: Ed25519PublicKey | None = None
) -> "Log":
    """Open or begin the log, and put right what a crash left. LogProblem, OSError.

    What was published is the signer's, or ``other``'s: while one takes the other's place.
    """
    make_folder(folder)
    if not (folder / ORIGIN).exists():
        if (folder / CHECKPOINT).exists() or (folder / TILES).exists():
            raise LogProblem(f"{folder / ORIGIN} is missing: restore it from a backup")
        write_durably(folder / ORIGIN, f"vivavoce/{secrets.token_hex(8)}\n".encode())
    opened = Log(folder, (folder / ORIGIN).read_text().strip(), signer)
    ours = signer.public_key()
    either = ServerKey((other, ours), ours) if other is not None else alone(ours)
    published = _published(folder, either)
    if published is not None:
        _refuse_fork(opened, published)
    opened.publish()
    return opened


def _published(folder: Path, public_key: ServerKey) -> Checkpoint | None:
    """The checkpoint that lies there. None where there is none, or a power cut has emptied it."""
    try:
        data = (folder / CHECKPOINT).read_bytes()
    except FileNotFoundError:
        return None
    if not data.strip(b"\0"):
        return None
    try:
        return read_checkpoint(data, public_key)
    except SegmentError as error:
        raise LogProblem(
            f"{folder / CHECKPOINT} is not this server's: {error.message}; restore the log "
            "and keys/signing.key of one backup, or move the log away to begin another"
        ) from error


def _refuse_fork(opened: "Log", published: Checkpoint) -> None:
    remedy = "restore it from a newer backup, or move it away to begin another"
    if published.size > opened.tree.size:
        raise LogProblem(
            f"the log in {opened.folder} has lost entries: {opened.tree.size} are there, "
            f"{published.size} were published; {remedy}"
        )
    if published.size and opened.root_at(published.size) != published.root:
        raise LogProblem(f"the log in {opened.folder} is not what was published of it; {remedy}")


def _check_rotated(entry: Entry | None, public_key: ServerKey) -> None:
    if entry is not None and entry.statement not in public_key.successions:
        raise SegmentError(
            FaultKind.ROLLED_BACK,
            "the list of signing keys lacks a change of the key that the log tells of: "
            f"{succession.FILE} has to lie beside the public key as the server has it now",
        )


@dataclass(frozen=True, slots=True)
class LogView:
    """A log that is whole and signed, and what it says of one recording, or of all."""

    checkpoint: Checkpoint
    entries: tuple[Entry, ...]
    indexes: tuple[int, ...]  #: of these in the log


def read_log(folder: Traversable, public_key: ServerKey, recording: str | None = None) -> LogView:
    """Check the log and take the entries of ``recording`` from it (None: all).

    SegmentError where it is not what its checkpoint says, that is not of the newest key, or it
    knows of a newer one; OSError.
    """
    checkpoint = read_checkpoint(read_whole(folder.joinpath(CHECKPOINT)), public_key.newest)
    needle = (recording or "").encode()
    tiles = Tiles(folder)
    tree, comparison, entries, indexes = Tree(), Comparison(tiles), [], []
    for index, data in enumerate(tiles.entries(checkpoint.size)):
        digest = leaf_hash(data)
        tree = tree.with_leaf_hash(digest)
        comparison.add(digest)
        if _ROTATED in data:
            _check_rotated(parse_entry(data), public_key)
        if needle in data:
            entry = parse_entry(data)
            if entry is not None and recording in (None, entry.recording):
                entries.append(entry)
                indexes.append(index)
    comparison.end()
    if tree.root != checkpoint.root:
        message = "the log's entries are not those that were signed"
        # Where they differ from their hashes; these may have been changed likewise.
        where = "" if comparison.differs is None else tiles.place(ENTRIES, comparison.bundle)
        raise SegmentError(FaultKind.TAMPERED, message, where)
    if comparison.differs is not None:
        raise comparison.differs
    return LogView(checkpoint, tuple(entries), tuple(indexes))


def prove(
    folder: Traversable,
    public_key: ServerKey,
    recording: str,
    wanted: Callable[[Entry], bool],
    since_us: int,
) -> tuple[Entry, Proof] | None:
    """The first entry of ``recording`` that is ``wanted``, and that the log has it.

    Looked for among those since ``since_us`` (Unix time) first: a log is long, and its times go
    back only where the clock was set back. None if there is none; SegmentError where the log is not
    what its checkpoint says; OSError.
    """
    published = read_whole(folder.joinpath(CHECKPOINT))
    checkpoint = read_checkpoint(published, public_key.newest)
    tiles, needle = Tiles(folder), recording.encode()
    since = _bundle_at(tiles, checkpoint.size, since_us) * TILE_WIDTH
    entries = enumerate(tiles.entries(checkpoint.size, since // TILE_WIDTH), since)
    former = islice(enumerate(tiles.entries(checkpoint.size)), since)
    for index, data in chain(entries, former):
        entry = parse_entry(data) if needle in data else None
        if entry is not None and entry.recording == recording and wanted(entry):
            path = inclusion_path(index, checkpoint.size, tiles.range_hash)
            proof = Proof(index, tuple(path), published)
            check_proof(proof, data, public_key)
            return entry, proof
    return None


def _bundle_at(tiles: Tiles, size: int, since_us: int) -> int:
    """The last bundle that begins before then, where times never go back."""

    def begins_us(bundle: int) -> int:
        entry = parse_entry(tiles.entry(bundle * TILE_WIDTH))
        return 0 if entry is None else entry.at_us

    return max(0, bisect_left(range(-(-size // TILE_WIDTH)), since_us, key=begins_us) - 1)


class Log:
    """The one that appends; belongs to one thread at a time. Use :func:`open_log`."""

    def __init__(self, folder: Path, origin: str, signer: Ed25519PrivateKey) -> None:
        self.folder = folder
        self.origin = origin
        self._signer = signer
        self._bundle = 0  # how many full ones there are before the tail
        while (folder / tile_path(ENTRIES, self._bundle)).exists():
            self._bundle += 1
        self._levels = self._read_levels()
        self._tail = b""  # what is durable of the growing bundle
        self._torn = True  # the file may have more
        self._placed: set[Path] = set()  # partial tiles
        self.tree = _tree_of(self._levels)
        for entry in self._whole_tail():
            self._add(entry)
        if len(self._levels[0]) == TILE_WIDTH:
            self._settle()

    def append(self, entries: Sequence[Entry]) -> None:
        """Make them durable, then publish a checkpoint. OSError: the caller may try again.

        After an error some of them may be in the log nevertheless: what they say is true.
        """
        rest = [msgspec.json.encode(entry) for entry in entries]
        if any(len(entry) > _MAX_ENTRY_BYTES for entry in rest):
            raise ValueError("an entry is longer than a bundle takes")
        while rest:
            room = TILE_WIDTH - len(self._levels[0])
            self._write(rest[:room])
            rest = rest[room:]
        self.publish()

    def publish(self) -> None:
        """Put the partial tiles and the checkpoint in place. OSError."""
        size = self.tree.size
        if size % TILE_WIDTH:
            self._replace_partial(ENTRIES, self._bundle, size % TILE_WIDTH, self._tail)
        for level, hashes in enumerate(self._levels):
            if hashes:
                index = size >> 8 * (level + 1)
                self._replace_partial(level, index, len(hashes), b"".join(hashes))
        checkpoint = Checkpoint(self.origin, size, self.tree.root)
        _put(self.folder / CHECKPOINT, sign_checkpoint(checkpoint, self._signer))

    def root_at(self, size: int) -> bytes:
        """Of an older tree."""
        return self._tiles().range_hash(0, size)

    def latest(self, count: int) -> list[Entry]:
        """The newest of its entries, the oldest first."""
        tiles, size = self._tiles(), self.tree.size
        found = (parse_entry(tiles.entry(at)) for at in range(max(0, size - count), size))
        return [entry for entry in found if entry is not None]

    def _tiles(self) -> Tiles:
        """Those of the folder, and those that grow as they are in memory."""
        size = self.tree.size
        known: dict[tuple[int | str, int], bytes] = {(ENTRIES, self._bundle): self._tail}
        for level, hashes in enumerate(self._levels):
            known[level, size >> 8 * (level + 1)] = b"".join(hashes)
        return Tiles(self.folder, known)

    # ---- the growing bundle ---------------------------------------------------------------

    def _whole_tail(self) -> Iterator[bytes]:
        try:
            data = (self.folder / TAIL).read_bytes()
        except FileNotFoundError:
            return
        for entry in split_entries(data):
            if parse_entry(entry) is None:  # a power cut leaves zeros
                return
            yield entry

    def _write(self, entries: list[bytes]) -> None:
        data = encode_entries(entries)
        fd = os.open(self.folder / TAIL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if self._torn:
                os.ftruncate(fd, len(self._tail))
            self._torn = True
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fdatasync(fd)
        finally:
            os.close(fd)
        if not self._tail:
            sync_directory(self.folder)
        self._torn = False
        for entry in entries:
            self._add(entry)
        if len(self._levels[0]) == TILE_WIDTH:
            self._settle()

    def _add(self, entry: bytes) -> None:
        digest = leaf_hash(entry)
        self._tail += encode_entries([entry])
        self._levels[0].append(digest)
        self.tree = self.tree.with_leaf_hash(digest)

    def _settle(self) -> None:
        """The bundle is full: it and its tiles get the names that they keep."""
        level, index = 0, self._bundle
        while len(self._levels[level]) == TILE_WIDTH:
            self._settle_tile(level, index, b"".join(self._levels[level]))
            if level + 1 == len(self._levels):
                self._levels.append([])
            self._levels[level + 1].append(perfect_root(self._levels[level]))
            self._levels[level] = []
            level, index = level + 1, index // TILE_WIDTH
        self._settle_tile(ENTRIES, self._bundle, self._tail)  # last: by it the others are known
        (self.folder / TAIL).unlink(missing_ok=True)
        self._bundle, self._tail = self._bundle + 1, b""

    def _settle_tile(self, level: int | str, index: int, data: bytes) -> None:
        path = self.folder / tile_path(level, index)
        make_folder(path.parent)
        write_durably(path, data)
        _remove_partial(path)

    def _replace_partial(self, level: int | str, index: int, width: int, data: bytes) -> None:
        path = self.folder / tile_path(level, index, width)
        if path in self._placed:
            return
        self._placed = {each for each in self._placed if each.parent != path.parent} | {path}
        make_folder(path.parent)
        _put(path, data)
        for narrower in path.parent.iterdir():
            if narrower != path:
                narrower.unlink(missing_ok=True)

    def _read_levels(self) -> list[list[bytes]]:
        """The hashes of each level that are in no full tile yet; level 0 has none."""
        levels: list[list[bytes]] = [[]]
        count = self._bundle
        while count:
            below = len(levels) - 1
            first = count - count % TILE_WIDTH
            levels.append([self._root_of_tile(below, index) for index in range(first, count)])
            count //= TILE_WIDTH
        return levels

    def _root_of_tile(self, level: int, index: int) -> bytes:
        data = (self.folder / tile_path(level, index)).read_bytes()
        if len(data) != TILE_WIDTH * HASH_BYTES:
            raise LogProblem(f"{tile_path(level, index)} of the log is cut off: restore it")
        ends = range(HASH_BYTES, len(data) + 1, HASH_BYTES)
        return perfect_root([data[end - HASH_BYTES : end] for end in ends])


def _tree_of(levels: list[list[bytes]]) -> Tree:
    """The tree whose hashes in no full tile are these."""
    size, peaks = 0, []
    for level in reversed(range(len(levels))):
        hashes = levels[level]
        size += len(hashes) << 8 * level
        at = 0
        for height in reversed(range(8)):
            if len(hashes) >> height & 1:
                peaks.append(perfect_root(hashes[at : at + (1 << height)]))
                at += 1 << height
    return Tree(size, tuple(peaks))


def _put(path: Path, data: bytes) -> None:
    """Replace a file as a whole, without waiting for the disk: it can be made anew."""
    part = path.with_name(f".{path.name}.tmp")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    os.replace(part, path)


def _remove_partial(full: Path) -> None:
    folder = full.with_name(full.name + ".p")
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink(missing_ok=True)
        folder.rmdir()
