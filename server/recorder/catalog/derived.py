"""Where compressed recordings lie, and the signed statement of what each was made of.

While it is made, a recording of the same format grows in ``data/compressing/INTERVIEW``. Once it
is whole, verified and signed for, it takes the place of its source in ``data/recordings``; the
source moves to ``data/sources/INTERVIEW``, whole or, where the policy destroys it, its manifest
alone: what it was can be told for good. Whoever holds the lock of the recordings does that.
"""

import enum
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.core.frames import TrackName
from server.recorder.catalog.recordings import (
    is_compressed,
    lock_folder,
    read_manifest,
    recording_folders,
    recording_path,
)
from server.recorder.evidence.derivation import (
    Origin,
    decode_statement,
    origin,
    signed,
    statement_of,
)
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import MANIFEST_NAME, Manifest, State
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import ServerKey
from server.recorder.keys.key_ring import INTERVIEW_ID
from server.recorder.stores.files import make_folder, sync_directory, write_durably

#: Where one is made, and where sources go.
MAKING = "compressing"
SOURCES = "sources"
_DOOMED = ".doomed"
VERSION = 1


class TrackQuality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one track of pictures, over the whole recording."""

    track: TrackName
    pictures: int
    vmaf: float  #: as told from its parts (`server.recorder.compression.vmaf`): the mean
    lowest_vmaf: float  #: of a fragment
    xpsnr_db: float  #: the mean
    lowest_xpsnr_db: float  #: of a fragment


class Compressed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a recording was made of, and how near it comes."""

    format: Literal["vivavoce-derivation"]
    version: int
    kind: Literal["compressed"]
    source: Origin
    source_root: str  #: of the tree of all its records
    source_bytes: int  #: of its segments
    source_kept: bool
    recording: str  #: the recording_id in hex of what was made
    tree_size: int  #: its records; more may have followed since
    root: str  #: of their tree
    bytes: int
    quality: tuple[TrackQuality, ...]
    made_us: int  #: Unix time


_compressed = msgspec.json.Decoder(Compressed)


class Left(enum.StrEnum):
    """Why a recording stays as it is."""

    FAR = "far"  #: its pictures would not come near enough
    LARGE = "large"  #: it would take more than a recording may
    GAINLESS = "gainless"  #: it would take hardly less than it does
    DAMAGED = "damaged"  #: it does not verify, or what it holds can't be decoded
    UNFIT = "unfit"  #: it is not finished, empty, or compressed already


class NotAdopted(Exception):
    """What was made can't take its source's place; the message says why."""


def making_path(data_dir: Path, interview_id: str) -> Path:
    return data_dir / MAKING / interview_id


def source_path(data_dir: Path, interview_id: str) -> Path:
    return data_dir / SOURCES / interview_id


def size_of_segments(manifest: Manifest) -> int:
    return sum(entry.size for entry in manifest.segments)


def state(path: Path, statement: Compressed, signer: Ed25519PrivateKey) -> None:
    """Write the statement beside the recording's folder ``path``. OSError."""
    write_durably(statement_of(path), signed(statement, signer))


def read_statement(path: Path, public_key: ServerKey) -> Compressed:
    """Of the recording in folder ``path``. SegmentError unless it is signed; OSError."""
    return decode(read_whole(statement_of(path)), public_key)


def decode(data: bytes, public_key: ServerKey) -> Compressed:
    """SegmentError unless it is signed."""
    return decode_statement(data, _compressed, VERSION, public_key)


def check_statement(path: Path, public_key: ServerKey) -> Compressed:
    """The same; SegmentError too where the recording there is not the one that was made."""
    statement = read_statement(path, public_key)
    manifest = read_manifest(path, public_key)
    whole = manifest.tree_size >= statement.tree_size
    if manifest.recording != statement.recording or not whole or not is_compressed(manifest):
        raise SegmentError(FaultKind.FOREIGN, "the statement is of another recording")
    if manifest.tree_size == statement.tree_size and manifest.root != statement.root:
        raise SegmentError(FaultKind.TAMPERED, "the recording is not the one that was signed for")
    return statement


def ready(data_dir: Path) -> list[str]:
    """The interviews whose compressed recording waits to take its place."""
    found = (data_dir / MAKING).glob(f"*/{MANIFEST_NAME}")
    folders = sorted(path.parent for path in found)
    return [
        folder.name
        for folder in folders
        if INTERVIEW_ID.fullmatch(folder.name) and statement_of(folder).exists()
    ]


class Refusal(msgspec.Struct, frozen=True):
    """Why a recording stays as it is, as long as it is the same."""

    source: Origin
    why: Left
    reason: str


_refusal = msgspec.json.Decoder(Refusal)


def refuse(data_dir: Path, manifest: Manifest, why: Left, reason: str) -> None:
    """Note that nobody need try again. OSError."""
    refusal = Refusal(origin(manifest), why, reason)
    write_durably(_refusal_path(data_dir, manifest.interview), msgspec.json.encode(refusal))


def due(data_dir: Path, public_key: ServerKey, before_s: float) -> list[str]:
    """The interviews that were finished before that Unix time, and could be compressed. OSError."""
    found = []
    for path in recording_folders(data_dir):
        try:
            changed_s = (path / MANIFEST_NAME).stat().st_mtime
            manifest = read_manifest(path, public_key)
        except (FileNotFoundError, SegmentError):
            continue  # `verify` says what is wrong with it
        open = manifest.state is State.RECORDING or not manifest.segments
        made = is_compressed(manifest) or statement_of(making_path(data_dir, path.name)).exists()
        if changed_s < before_s and not (open or made or refusal_of(data_dir, manifest)):
            found.append(path.name)
    return found


def refusal_of(data_dir: Path, manifest: Manifest) -> Refusal | None:
    """Of the recording as it is now."""
    try:
        data = _refusal_path(data_dir, manifest.interview).read_bytes()
        refusal = _refusal.decode(data)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return refusal if refusal.source == origin(manifest) else None


def share_made(data_dir: Path, manifest: Manifest, public_key: ServerKey) -> float | None:
    """Of the recording with this manifest, what is made by now, 0 to 1; None: nobody has begun."""
    try:
        made = read_manifest(making_path(data_dir, manifest.interview), public_key)
    except (FileNotFoundError, SegmentError):
        return None
    return min(1.0, len(made.segments) / max(1, len(manifest.segments)))


def _refusal_path(data_dir: Path, interview_id: str) -> Path:
    return data_dir / MAKING / f"{interview_id}.refused.json"


def lock_making(data_dir: Path) -> AbstractContextManager[None]:
    """Compress in this process alone; RuntimeError if another one does."""
    return lock_folder(data_dir / MAKING, f"another process compresses recordings of {data_dir}")


def check_ready(data_dir: Path, interview_id: str, public_key: ServerKey) -> None:
    """Look at every byte of what was made. NotAdopted, SegmentError unless it is as signed for."""
    making = making_path(data_dir, interview_id)
    check_statement(making, public_key)
    report = verify(making, public_key)
    if not report.intact or report.state is State.RECORDING:
        raise NotAdopted(f"what was made is not intact: {report.faults[:1]}")


def adopt(data_dir: Path, interview_id: str, public_key: ServerKey) -> Manifest:
    """Put what was made in the place of its source; the manifest that now holds there.

    Call it after `check_ready`, with the lock of the recordings, while nobody records that
    interview, nor brings it into a store; then tell the log, then call :func:`settle`.
    NotAdopted; SegmentError; OSError.
    """
    making, place = making_path(data_dir, interview_id), recording_path(data_dir, interview_id)
    statement = check_statement(making, public_key)
    if origin(read_manifest(place, public_key)) != statement.source:
        raise NotAdopted("the recording has changed since")
    _exchange(data_dir, interview_id)
    return read_manifest(place, public_key)


def settle(data_dir: Path, interview_id: str, public_key: ServerKey, *, stored: bool) -> None:
    """After the log was told: the statement, and where the policy destroys the source, that.

    What is ``stored`` of it goes later: until `destroyed` is called, `doomed` names it.
    """
    making, place = making_path(data_dir, interview_id), recording_path(data_dir, interview_id)
    if statement_of(making).exists():
        if not read_statement(making, public_key).source_kept:
            write_durably(_doomed_path(data_dir, interview_id), b"")
        os.rename(statement_of(making), statement_of(place))
        sync_directory(place.parent)
        sync_directory(making.parent)
    if _doomed_path(data_dir, interview_id).exists():
        source = source_path(data_dir, interview_id)
        for path in sorted(source.glob("*.seg")):
            path.unlink()
        sync_directory(source)
        if not stored:
            destroyed(data_dir, interview_id)


def doomed(data_dir: Path) -> list[str]:
    """The interviews whose sources the policy destroys, and that may still be there."""
    found = sorted((data_dir / SOURCES).glob(f"*{_DOOMED}"))
    return [path.name.removesuffix(_DOOMED) for path in found]


def destroyed(data_dir: Path, interview_id: str) -> None:
    """Nothing is left of its source but the manifest."""
    _doomed_path(data_dir, interview_id).unlink(missing_ok=True)


def _doomed_path(data_dir: Path, interview_id: str) -> Path:
    return data_dir / SOURCES / f"{interview_id}{_DOOMED}"


def recover(data_dir: Path) -> list[str]:
    """Take up again what a crash has interrupted in `adopt` or before the end of `settle`.

    The interviews to tell the log of and to call `settle` for. With the lock of the recordings.
    OSError.
    """
    unsettled = []
    for manifest in sorted((data_dir / SOURCES).glob(f"*/{MANIFEST_NAME}")):
        interview_id = manifest.parent.name
        making, place = making_path(data_dir, interview_id), recording_path(data_dir, interview_id)
        if not place.exists() and making.exists():
            _exchange(data_dir, interview_id)
        if statement_of(making).exists():
            unsettled.append(interview_id)
    return unsettled


def _exchange(data_dir: Path, interview_id: str) -> None:
    """Two names change, the source's first; `recover` sees it where a crash comes between."""
    making, place = making_path(data_dir, interview_id), recording_path(data_dir, interview_id)
    source = source_path(data_dir, interview_id)
    make_folder(source.parent)
    if not source.exists():
        os.rename(place, source)
        sync_directory(source.parent)
    os.rename(making, place)
    sync_directory(place.parent)
    sync_directory(making.parent)
