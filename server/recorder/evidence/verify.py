"""Checks a recording against the server's public key: no content key, no server needed.

Finished recordings: every byte of every file counts. A recording that is still open (running,
or cut by a crash) is checked as far as it goes; its last segment may end in the middle of a
record, and a tail cut off at a record's boundary can't be told from one that was never written,
unless the server's log is there: it knows of all but the last seconds.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import BinaryIO

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.recorder.evidence.fault import Fault
from server.recorder.evidence.log_check import LOG_FILE, log_fault, logged_of
from server.recorder.evidence.tlog import Entry
from server.recorder.format.manifest import (
    MANIFEST_NAME,
    NO_SEGMENT,
    TIMESTAMP_NAME,
    Manifest,
    SegmentEntry,
    State,
    decode_manifest,
    manifest_hash,
    policy_hash,
    signed_by,
)
from server.recorder.format.merkle import Tree
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import FaultKind, Kind, SegmentError, SegmentHeader
from server.recorder.format.segments import (
    check_records,
    is_header_changed,
    read_segment_header,
    unlisted_segments,
)
from server.recorder.format.server_key import ServerKey, raw
from server.recorder.stores.store import Readable, size_of

#: What an open recording may be ahead of the log: a few heartbeats.
AHEAD_S = 40.0
#: A server that closes a recording has told the log of it after this;
TOLD_S = 1.0
#: and closes it so long after its last sample, at most: a candidate is waited for.
CLOSED_S = 60.0


class VerifyReport(msgspec.Struct, frozen=True):
    """``intact``: nothing is wrong. ``state`` is None where the manifest can't be trusted."""

    intact: bool
    state: State | None
    faults: tuple[Fault, ...]  #: in order of time
    interview_id: str = ""
    segments: int = 0
    fragments: int = 0
    gaps: int = 0
    started_s: float | None = None
    duration_s: float = 0.0
    signed_by: str = ""  #: hex: the key that the manifest is signed with

    def log_may_lack(self, now: float) -> bool:
        """Whether all that is wrong is that the log does not know of its end, which was just now.

        Then it may be told this moment: look again after `TOLD_S`. ``now`` is Unix time.
        """
        kinds = (FaultKind.MISSING, FaultKind.ROLLED_BACK)
        lacks = (fault.file == LOG_FILE and fault.kind in kinds for fault in self.faults)
        ended_s = (self.started_s or 0.0) + self.duration_s
        return not self.intact and now - ended_s < CLOSED_S and all(lacks)

    @property
    def signer(self) -> Ed25519PublicKey | None:
        """None where the manifest can't be trusted."""
        if not self.signed_by:
            return None
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.signed_by))


@dataclass(slots=True)
class _Walk:
    """What is known after the segments walked so far."""

    manifest: Manifest
    key: ServerKey
    last: str = "the last segment"  #: its name
    head: str = NO_SEGMENT.hex()
    end_us: int = 0
    seq: int = 0
    #: Of all records so far; None once there was a segment whose records are not known.
    tree: Tree | None = field(default_factory=Tree)
    #: Of the tree at these sizes the root is noted when they are passed.
    sizes: frozenset[int] = frozenset()
    roots: dict[int, str] = field(default_factory=dict)

    def header(self, file: BinaryIO) -> SegmentHeader:
        """The segment's header. SegmentError unless it is authentic, and of this recording."""
        header = read_segment_header(file)
        if is_header_changed(file, header, self.key):
            raise SegmentError(FaultKind.TAMPERED, "the segment's header was changed")
        if header.recording_id.hex() != self.manifest.recording:
            raise SegmentError(FaultKind.FOREIGN, "the segment is of another recording")
        return header

    def check_policy(self, header: SegmentHeader) -> None:
        if header.policy not in map(policy_hash, self.manifest.policies):
            raise SegmentError(FaultKind.TAMPERED, "made under a policy that nobody listed")

    def grow(self, digest: bytes) -> None:
        if self.tree is not None:
            self.tree = self.tree.with_leaf(digest)
            if self.tree.size in self.sizes:
                self.roots[self.tree.size] = self.tree.root.hex()


def verify(
    path: Readable,
    public_key: ServerKey,
    log: Traversable | None = None,
    receipt: Entry | None = None,
    *,
    interview: str = "",
    whole_log: bool = False,
) -> VerifyReport:
    """Check the recording in folder ``path``, and against the log in ``log`` if there is one.

    That may be a whole log, or proofs of what it says of this recording, unless it has to be the
    former (``whole_log``). ``receipt`` is the entry of one (see `receipt.check_receipt`) that the
    recording has to bear out; ``interview`` the one that it has to be of, where that is known.
    OSError if files can't be read.
    """
    # Before the manifest: a segment that a running server begins meanwhile is nobody's fault.
    names = sorted(file.name for file in path.iterdir())
    try:
        data = read_whole(path / MANIFEST_NAME)
        manifest = decode_manifest(data, public_key)
    except FileNotFoundError:
        return _no_manifest(FaultKind.MISSING, "there is no manifest")
    except SegmentError as error:
        return _no_manifest(error.kind, error.message)
    # After the manifest: what the log knows was on the disk before it was told.
    logged, faults = _read_log(log, public_key, manifest, whole=whole_log)
    promised = () if receipt is None else (receipt,)
    sizes = frozenset(entry.tree_size for entry in (*(logged or ()), *promised))
    walk = _Walk(manifest, public_key, sizes=sizes)
    for entry in manifest.segments:
        faults += _check_listed(path, entry, walk)
        walk.head, walk.last = entry.head, entry.name
    faults += _check_root(walk)
    listed = [entry.name for entry in manifest.segments]
    tail = unlisted_segments(names, listed) if manifest.state is State.RECORDING else []
    for name in tail:
        faults += _check_tail(path, name, walk, last=name == tail[-1])
    if logged is not None:
        faults += _check_logged(walk, logged)
    if promised:
        faults += _check_known("the receipt", walk, promised)
    if interview not in ("", manifest.interview):
        message = f"the recording of interview {manifest.interview} lies in place of {interview}'s"
        span = (0.0, walk.end_us / 1e6)
        faults.insert(0, Fault(FaultKind.FOREIGN, MANIFEST_NAME, message, *span))
    for name in names:
        if name not in {MANIFEST_NAME, TIMESTAMP_NAME, *listed, *tail}:
            message = "the manifest does not list this file"
            faults.append(Fault(FaultKind.UNEXPECTED, name, message))
    return VerifyReport(
        not faults,
        manifest.state,
        tuple(faults),
        manifest.interview,
        len(manifest.segments) + len(tail),
        walk.seq,
        len(manifest.gaps),
        None if manifest.epoch_us is None else manifest.epoch_us / 1e6,
        walk.end_us / 1e6,
        raw(signed_by(data, public_key)).hex(),
    )


def _no_manifest(kind: FaultKind, message: str) -> VerifyReport:
    return VerifyReport(False, None, (Fault(kind, MANIFEST_NAME, message),))


def _check_listed(path: Readable, entry: SegmentEntry, walk: _Walk) -> Iterator[Fault]:
    """A segment that the manifest lists: its bytes, then its records to name the first bad one."""
    walk.end_us = max(walk.end_us, entry.end_us)
    walk.seq += entry.fragments
    if not (path / entry.name).is_file():
        walk.tree = None
        span = (entry.start_us / 1e6, entry.end_us / 1e6)
        yield Fault(FaultKind.MISSING, entry.name, "the segment is gone", *span)
        return
    with (path / entry.name).open("rb") as file:
        try:
            size = size_of(file)
            file.seek(0)
            # One that was blown up is not read to its end: its records tell where it goes wrong.
            digest = hashlib.file_digest(file, "sha256") if size == entry.size else None
        except SegmentError as error:  # of what holds the file: it can't even be inflated
            walk.tree = None
            span = (entry.start_us / 1e6, entry.end_us / 1e6)
            yield Fault(error.kind, entry.name, error.message, *span)
            return
        file.seek(0)
        if digest is not None and digest.hexdigest() == entry.sha256:
            yield from _grow_tree(file, entry, walk)
            return
        walk.tree = None
        yield _first_bad_record(file, size, entry, walk)


def _grow_tree(file: BinaryIO, entry: SegmentEntry, walk: _Walk) -> Iterator[Fault]:
    """Of a segment whose bytes are those that were signed: only its writer can be wrong."""
    try:
        header = walk.header(file)
        walk.check_policy(header)
        for _, digest in check_records(file, header, None):
            walk.grow(digest)
    except SegmentError as error:
        walk.tree = None
        span = (entry.start_us / 1e6, entry.end_us / 1e6)
        yield Fault(error.kind, entry.name, error.message, *span)


def _first_bad_record(file: BinaryIO, size: int, entry: SegmentEntry, walk: _Walk) -> Fault:
    reached_us, end_s = entry.start_us, entry.end_us / 1e6
    try:
        header = walk.header(file)
        for record, _ in check_records(file, header, walk.key):
            if record.header.kind is Kind.MEDIA:
                reached_us = record.header.end_us
    except SegmentError as error:
        kind = error.kind
        if kind is FaultKind.TRUNCATED and size >= entry.size:
            kind = FaultKind.TAMPERED
        return Fault(kind, entry.name, error.message, reached_us / 1e6, end_s)
    # Every record is authentic, and yet the file is not the listed one.
    if header.previous.hex() != walk.head:
        message = "another segment of this recording lies in its place"
        return Fault(FaultKind.REORDERED, entry.name, message, entry.start_us / 1e6, end_s)
    if size < entry.size:
        message = f"{entry.size - size} bytes are cut off"
        return Fault(FaultKind.TRUNCATED, entry.name, message, reached_us / 1e6, end_s)
    message = "the segment was changed"
    return Fault(FaultKind.TAMPERED, entry.name, message, entry.start_us / 1e6, end_s)


def _check_root(walk: _Walk) -> Iterator[Fault]:
    manifest = walk.manifest
    if walk.tree is None:
        return
    if (walk.tree.size, walk.tree.root.hex()) != (manifest.tree_size, manifest.root):
        message = "the tree of the records is not the one that was signed"
        yield Fault(FaultKind.TAMPERED, MANIFEST_NAME, message)


def _check_tail(path: Readable, name: str, walk: _Walk, *, last: bool) -> Iterator[Fault]:
    """A segment of an open recording that no manifest lists yet."""
    walk.last = name
    with (path / name).open("rb") as file:
        try:
            header = walk.header(file)
            walk.check_policy(header)
            if header.previous.hex() != walk.head:
                raise SegmentError(FaultKind.REORDERED, "the segment does not follow the last one")
            for record, digest in check_records(file, header, walk.key):
                walk.grow(digest)
                walk.head = digest.hex()
                if record.header.kind is Kind.MEDIA:
                    walk.seq += 1
                    walk.end_us = max(walk.end_us, record.header.end_us)
        except SegmentError as error:
            if error.kind is not FaultKind.TRUNCATED:
                yield Fault(error.kind, name, error.message, walk.end_us / 1e6, None)
    if not last:
        # A manifest is written before each segment: this one is older than what lies here.
        message = "the manifest was put back to an older state"
        yield Fault(FaultKind.ROLLED_BACK, MANIFEST_NAME, message, walk.end_us / 1e6, None)


# ---- the log ----------------------------------------------------------------------------


def _read_log(
    log: Traversable | None, key: ServerKey, manifest: Manifest, *, whole: bool
) -> tuple[tuple[Entry, ...] | None, list[Fault]]:
    """What the log says of this recording; None where that can't be known."""
    if log is None:
        return None, []
    try:
        return logged_of(log, key, manifest.recording, whole=whole), []
    except SegmentError as error:
        return None, [log_fault(error)]
    except FileNotFoundError:
        return None, [Fault(FaultKind.MISSING, LOG_FILE, "there is no log")]


def _check_logged(walk: _Walk, logged: tuple[Entry, ...]) -> Iterator[Fault]:
    manifest = walk.manifest
    if not logged:
        if manifest.state is not State.RECORDING or walk.end_us > AHEAD_S * 1e6:
            message = "the log does not know this recording"
            yield Fault(FaultKind.MISSING, LOG_FILE, message, 0.0, walk.end_us / 1e6)
        return
    yield from _check_known("the log", walk, logged)
    yield from _check_end(walk, _newest(logged))


def _newest(known: tuple[Entry, ...]) -> Entry:
    return max(known, key=lambda entry: (entry.revision, entry.tree_size))


def _check_known(who: str, walk: _Walk, known: tuple[Entry, ...]) -> Iterator[Fault]:
    """What these entries of the recording, which ``who`` has, say against it."""
    manifest, last = walk.manifest, _newest(known)
    if manifest.recording != last.recording:
        message = f"another recording than the one that {who} knows"
        yield Fault(FaultKind.FOREIGN, MANIFEST_NAME, message, 0.0, last.end_us / 1e6)
        return
    if manifest.revision < last.revision:
        message = f"put back to its revision {manifest.revision}, while {who} knows {last.revision}"
        yield Fault(
            FaultKind.ROLLED_BACK, MANIFEST_NAME, message, walk.end_us / 1e6, last.end_us / 1e6
        )
    elif walk.tree is not None and walk.tree.size < last.tree_size:
        message = f"{last.tree_size - walk.tree.size} records that {who} knows are cut off"
        yield Fault(FaultKind.TRUNCATED, walk.last, message, walk.end_us / 1e6, last.end_us / 1e6)
    yield from _check_roots(who, walk, known)
    if manifest.revision == last.revision and manifest_hash(manifest) != last.manifest:
        message = f"this is not the manifest that {who} knows"
        yield Fault(FaultKind.TAMPERED, MANIFEST_NAME, message)


def _check_roots(who: str, walk: _Walk, known: tuple[Entry, ...]) -> Iterator[Fault]:
    """The first of the entries that these records contradict."""
    start_us = 0
    for entry in known:
        if walk.roots.get(entry.tree_size, entry.root) != entry.root:
            message = f"these are not the records that {who} knows"
            yield Fault(
                FaultKind.TAMPERED, "its segments", message, start_us / 1e6, entry.end_us / 1e6
            )
            return
        start_us = entry.end_us


def _check_end(walk: _Walk, last: Entry) -> Iterator[Fault]:
    manifest = walk.manifest
    open_s = (walk.end_us - last.end_us) / 1e6
    closed = manifest.state is not State.RECORDING and manifest.revision > last.revision
    if closed or (manifest.state is State.RECORDING and open_s > AHEAD_S):
        message = "the log ends before this recording does: it was put back to an older state"
        if closed:
            message += ", or a crash came in the moment of closing (the next start tells the log)"
        yield Fault(FaultKind.ROLLED_BACK, LOG_FILE, message, last.end_us / 1e6, walk.end_us / 1e6)
