"""Checks a recording against the server's public key: no content key, no server needed.

Finished recordings: every byte of every file counts. A recording that is still open (running,
or cut by a crash) is checked as far as it goes; its last segment may end in the middle of a
record, and a tail cut off at a record's boundary can't be told from one that was never written.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.recorder.manifest import (
    MANIFEST_NAME,
    NO_SEGMENT,
    Manifest,
    SegmentEntry,
    State,
    decode_manifest,
)
from server.recorder.sealing import FaultKind, Kind, SegmentError
from server.recorder.segments import check_records, read_segment_header, unlisted_segments


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong; times in seconds since the recording's start, if it has any."""

    kind: FaultKind
    file: str
    message: str
    start_s: float | None = None
    end_s: float | None = None

    def __str__(self) -> str:
        span = "" if self.start_s is None else f", {self.start_s:.3f} s to {self.end_s or 0:.3f} s"
        return f"{self.file}{span}: {self.kind}: {self.message}"


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


class _Tally:
    """What was found while walking the segments."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.head = NO_SEGMENT.hex()
        self.end_us = 0
        self.seq = 0


def verify(path: Path, public_key: bytes) -> VerifyReport:
    """Check the recording in folder ``path``. OSError if its files can't be read."""
    key = Ed25519PublicKey.from_public_bytes(public_key)
    # Before the manifest: a segment that a running server begins meanwhile is nobody's fault.
    names = sorted(file.name for file in path.iterdir())
    try:
        manifest = decode_manifest((path / MANIFEST_NAME).read_bytes(), key)
    except FileNotFoundError:
        return _no_manifest(FaultKind.MISSING, "there is no manifest")
    except SegmentError as error:
        return _no_manifest(error.kind, error.message)
    tally = _Tally()
    for entry in manifest.segments:
        tally.faults += _check_segment(path, entry, manifest, key, tally)
        tally.head = entry.head
    listed = [entry.name for entry in manifest.segments]
    tail = unlisted_segments(names, listed) if manifest.state is State.RECORDING else []
    for name in tail:
        tally.faults += _check_tail(path, name, manifest, key, tally)
    for name in names:
        if name not in {MANIFEST_NAME, *listed, *tail}:
            message = "the manifest does not list this file"
            tally.faults.append(Fault(FaultKind.UNEXPECTED, name, message))
    return VerifyReport(
        not tally.faults,
        manifest.state,
        tuple(tally.faults),
        manifest.interview,
        len(manifest.segments) + len(tail),
        tally.seq,
        len(manifest.gaps),
        None if manifest.epoch_us is None else manifest.epoch_us / 1e6,
        tally.end_us / 1e6,
    )


def _no_manifest(kind: FaultKind, message: str) -> VerifyReport:
    return VerifyReport(False, None, (Fault(kind, MANIFEST_NAME, message),))


def _check_segment(
    path: Path, entry: SegmentEntry, manifest: Manifest, key: Ed25519PublicKey, tally: _Tally
) -> Iterator[Fault]:
    """A segment that the manifest lists: its bytes, then its records to name the first bad one."""
    tally.end_us, reached_us = max(tally.end_us, entry.end_us), entry.start_us
    seq, tally.seq = tally.seq, tally.seq + entry.fragments
    span = (reached_us / 1e6, entry.end_us / 1e6)
    file_path = path / entry.name
    if not file_path.is_file():
        yield Fault(FaultKind.MISSING, entry.name, "the segment is gone", *span)
        return
    with file_path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256:
            return
        size = file.tell()
        file.seek(0)
        try:
            header = read_segment_header(file)
            if header.recording_id.hex() != manifest.recording:
                raise SegmentError(FaultKind.FOREIGN, "the segment is of another recording")
            for record in check_records(file, header, key):
                if record.header.kind is Kind.MEDIA:
                    seq, reached_us = seq + 1, record.header.end_us
        except SegmentError as error:
            kind = error.kind
            if kind is FaultKind.TRUNCATED and size >= entry.size:
                kind = FaultKind.TAMPERED
            yield Fault(kind, entry.name, error.message, reached_us / 1e6, span[1])
            return
    yield _differs(entry, size, header.previous.hex() == tally.head, reached_us)


def _differs(entry: SegmentEntry, size: int, in_place: bool, reached_us: int) -> Fault:
    """Every record is authentic, and yet the file is not the listed one."""
    start_s, end_s = entry.start_us / 1e6, entry.end_us / 1e6
    if not in_place:
        message = "another segment of this recording lies in its place"
        return Fault(FaultKind.REORDERED, entry.name, message, start_s, end_s)
    if size < entry.size:
        message = f"{entry.size - size} bytes are cut off"
        return Fault(FaultKind.TRUNCATED, entry.name, message, reached_us / 1e6, end_s)
    return Fault(FaultKind.TAMPERED, entry.name, "the segment was changed", start_s, end_s)


def _check_tail(
    path: Path, name: str, manifest: Manifest, key: Ed25519PublicKey, tally: _Tally
) -> Iterator[Fault]:
    """A segment of an open recording that no manifest lists yet."""
    with (path / name).open("rb") as file:
        try:
            header = read_segment_header(file)
            if header.recording_id.hex() != manifest.recording:
                raise SegmentError(FaultKind.FOREIGN, "the segment is of another recording")
            if header.previous.hex() != tally.head:
                raise SegmentError(FaultKind.REORDERED, "the segment does not follow the last one")
            for record in check_records(file, header, key):
                if record.header.kind is Kind.MEDIA:
                    tally.seq += 1
                    tally.end_us = max(tally.end_us, record.header.end_us)
        except SegmentError as error:
            if error.kind is not FaultKind.TRUNCATED:
                yield Fault(error.kind, name, error.message, tally.end_us / 1e6, None)
