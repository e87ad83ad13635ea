"""After a crash: cut what was half written, list what is whole, sign. Idempotent.

Nothing is ever sealed into an old segment: a second record under a nonce that the torn one had
would give its key away. The segment stays without an END record, and the manifest says so.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from server.core.frames import TrackName
from server.recorder.catalog import derived, spool
from server.recorder.catalog.recordings import FOLDER, read_manifest, recording_folders
from server.recorder.evidence import tlog
from server.recorder.format.manifest import (
    MANIFEST_NAME,
    Manifest,
    Notes,
    SegmentEntry,
    State,
    encode_manifest,
    with_gap,
)
from server.recorder.format.mp4 import Mp4Error, parse_init
from server.recorder.format.sealing import (
    SEGMENT_HEADER_BYTES,
    FaultKind,
    Kind,
    Opener,
    SegmentError,
)
from server.recorder.format.segments import (
    Record,
    check_records,
    index_records,
    is_signed_record,
    read_ciphertext,
    read_segment_header,
    unlisted_segments,
)
from server.recorder.format.server_key import ServerKey
from server.recorder.keys.key_ring import KeyRing
from server.recorder.keys.root_key import KeyProblem
from server.recorder.stores.files import remove_abandoned, sync_directory, write_durably
from server.recorder.writing.pauses import cut_short
from server.recorder.writing.track_ends import track_ends_us

log = logging.getLogger(__name__)

_notes = msgspec.json.Decoder(Notes)


def remove_leftovers(data_dir: Path) -> None:
    """What killed processes were writing, to give it a name once it was whole. OSError."""
    for folder in (FOLDER, "keys", spool.FOLDER, derived.MAKING):
        remove_abandoned((data_dir / folder).glob(".*.tmp"))
    remove_abandoned((data_dir / tlog.FOLDER).rglob(".*.tmp"))


def repair_all(data_dir: Path, keys: KeyRing) -> list[str]:
    """Repair every recording that a crash left open; returns their interview ids."""
    repaired = []
    for path in recording_folders(data_dir):
        try:
            if repair(path, keys):
                repaired.append(path.name)
        except (SegmentError, OSError, KeyProblem) as error:
            log.error("recording %s is not repaired: %s", path.name, error)
    return repaired


def repair(path: Path, keys: KeyRing) -> bool:
    """Close the recording in folder ``path`` if a crash left it open; whether it did.

    Of a closed one, too, what a failed write has left behind a segment's end is cut off.
    SegmentError if something there is not what a crash leaves: then nothing else was changed.
    """
    public_key = keys.public_key
    manifest = read_manifest(path, public_key)
    for entry in manifest.segments:
        if not entry.complete:
            _cut(path / entry.name, entry.size)
    if manifest.state is not State.RECORDING:
        return False
    key = keys.recording_key(manifest.interview, bytes.fromhex(manifest.recording))
    listed = [entry.name for entry in manifest.segments]
    for name in unlisted_segments(os.listdir(path), listed):
        manifest = _recover(path / name, manifest, key, public_key)
    manifest = _with_lost(path, manifest, key)
    manifest = msgspec.structs.replace(
        manifest, state=State.INTERRUPTED, revision=manifest.revision + 1
    )
    write_durably(path / MANIFEST_NAME, encode_manifest(manifest, keys.signer), path.parent)
    return True


def _with_lost(path: Path, manifest: Manifest, key: bytes) -> Manifest:
    """The gaps at the end of tracks that end before others do."""
    if not manifest.segments:
        return manifest
    try:
        ends_us = track_ends_us(path, manifest, key)
    except Mp4Error as error:
        raise SegmentError(FaultKind.TAMPERED, "a fragment that is none") from error
    gaps = manifest.gaps
    for gap in cut_short(manifest, ends_us):
        gaps = with_gap(gaps, gap)
    return msgspec.structs.replace(manifest, gaps=gaps)


def _recover(path: Path, manifest: Manifest, key: bytes, public_key: ServerKey) -> Manifest:
    """Add the segment's whole records to the manifest; remove it if it has no fragment."""
    with path.open("rb") as file:
        try:
            header = read_segment_header(file)
        except SegmentError as error:
            if error.kind is not FaultKind.TRUNCATED:
                raise
            path.unlink()
            return manifest
        if header.recording_id.hex() != manifest.recording:
            raise SegmentError(FaultKind.FOREIGN, f"{path.name} is of another recording")
        whole = _whole_records(file, check_records(file, header, public_key), public_key)
        records = [record for record, _ in whole]
        fragments = [one.header for one in records if one.header.kind is Kind.MEDIA]
        if not fragments:
            path.unlink()
            return manifest
        opener = Opener(key, header)
        tracks = _init_tracks(opener, file, records)
        for record in records:
            if record.header.kind is Kind.NOTE:
                manifest = _with_notes(manifest, opener, file, record)
    size, tree = records[-1].end, manifest.tree
    for _, digest in whole:
        tree = tree.with_leaf(digest)
    _cut(path, size)
    entry = SegmentEntry(
        path.name,
        size,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        whole[-1][1].hex(),
        len(records),
        len(fragments),
        fragments[0].start_us,
        max(fragment.end_us for fragment in fragments),
        tracks,
        records[-1].header.kind is Kind.END,
    )
    return manifest.with_segment(entry, tree)


def _whole_records(
    file: BinaryIO, records: Iterator[tuple[Record, bytes]], public_key: ServerKey
) -> list[tuple[Record, bytes]]:
    whole: list[tuple[Record, bytes]] = []
    try:
        for record in records:
            whole.append(record)
    except SegmentError as error:
        torn_at = whole[-1][0].end if whole else SEGMENT_HEADER_BYTES
        if _goes_on(file, torn_at, public_key):
            raise SegmentError(FaultKind.TAMPERED, f"no crash leaves this: {error}") from error
    return whole


def _goes_on(file: BinaryIO, torn_at: int, public_key: ServerKey) -> bool:
    """Whether a record that the server signed follows the torn one: then it was not torn."""
    file.seek(0, os.SEEK_END)
    torn = next(index_records(file, torn_at, file.tell()), None)
    return torn is not None and is_signed_record(file, torn.end, public_key)


def _init_tracks(opener: Opener, file: BinaryIO, records: list[Record]) -> tuple[TrackName, ...]:
    for record in records:
        if record.header.kind is Kind.INIT:
            try:
                return parse_init(opener.open(record.header, read_ciphertext(file, record))).names()
            except Mp4Error as error:
                raise SegmentError(FaultKind.TAMPERED, "an init that is none") from error
    return ()


def _with_notes(manifest: Manifest, opener: Opener, file: BinaryIO, record: Record) -> Manifest:
    plaintext = opener.open(record.header, read_ciphertext(file, record))
    try:
        notes = _notes.decode(plaintext)
    except msgspec.MsgspecError as error:
        raise SegmentError(FaultKind.TAMPERED, "a note that is none") from error
    gaps = manifest.gaps
    for gap in notes.gaps:
        gaps = with_gap(gaps, gap)
    events = (*manifest.events, *(event for event in notes.events if event not in manifest.events))
    return msgspec.structs.replace(manifest, gaps=gaps, events=events)


def _cut(path: Path, size: int) -> None:
    if path.exists() and path.stat().st_size > size:
        with path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())
        sync_directory(path.parent)
