"""The recordings of a data directory: where they lie, their manifests, titles and summaries.

Everything here reads the disk: call it in a thread, or in a program of its own.
"""

import fcntl
import math
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.core.frames import TrackName
from server.core.interviews import COMPRESSED
from server.recorder.claim_signer import ClaimSigner
from server.recorder.files import make_folder
from server.recorder.keys import INTERVIEW_ID, KeyRing
from server.recorder.manifest import MANIFEST_NAME, Manifest, Policy, State, decode_manifest
from server.recorder.reader import RecordingReader
from server.recorder.root_key import KeyProblem, KeyUnavailable
from server.recorder.sealing import (
    FORMAT_VERSION,
    KEY_BYTES,
    SEGMENT_HEADER_BYTES,
    Flags,
    RecordHeader,
    SegmentError,
)
from server.recorder.segments import index_records, unlisted_segments
from server.recorder.server_key import ServerKey
from server.recorder.stores import Readable, Store, StoredFolder

FOLDER = "recordings"
TITLE_INFO = b"vivavoce/title/v1"
_LOCK_NAME = ".lock"
TRACK_OF = {
    Flags.VIDEO: TrackName.CAMERA,
    Flags.AUDIO: TrackName.MICROPHONE,
    Flags.SCREEN: TrackName.SCREEN,
    Flags.INTERVIEWER_VIDEO: TrackName.INTERVIEWER_CAMERA,
    Flags.INTERVIEWER_AUDIO: TrackName.INTERVIEWER_MICROPHONE,
}


class RecordingSummary(msgspec.Struct, frozen=True):
    """A line of the list of recordings. ``title`` is empty where the key does not open it."""

    interview_id: str
    title: str
    state: State
    started_s: float | None  #: Unix time of the first sample
    duration_s: float
    tracks: tuple[TrackName, ...]
    gaps: int  #: what is missing of several tracks at the same time is one
    bytes: int
    compressed: bool  #: made of what was recorded, to be small


def recording_path(data_dir: Path, interview_id: str) -> Path:
    """The recording's folder. ValueError if the id can't be a folder's name."""
    if not INTERVIEW_ID.fullmatch(interview_id):
        raise ValueError(f"not an interview id: {interview_id!r}")
    return data_dir / FOLDER / interview_id


def recording_folders(data_dir: Path) -> list[Path]:
    """Folders that hold a manifest, in order of name."""
    folders = (data_dir / FOLDER).glob(f"*/{MANIFEST_NAME}")
    return sorted(path.parent for path in folders if INTERVIEW_ID.fullmatch(path.parent.name))


def read_manifest(path: Path, public_key: ServerKey) -> Manifest:
    """The manifest of a recording's folder. OSError, or SegmentError if it is not authentic."""
    return decode_manifest((path / MANIFEST_NAME).read_bytes(), public_key)


def open_for_writing(
    path: Path, title: str, policy: Policy, keys: KeyRing
) -> tuple[Manifest, bytes]:
    """The manifest to go on from and the recording's key, both made if there is none.

    The last of its policies is ``policy``.

    OSError; SegmentError if the manifest there is not authentic; KeyProblem.
    """
    if (path / MANIFEST_NAME).exists():
        manifest = read_manifest(path, keys.public_key)
        if manifest.policies[-1:] != (policy,):
            policies = (*manifest.policies, policy)
            manifest = msgspec.structs.replace(manifest, policies=policies)
        return manifest, keys.recording_key(path.name, bytes.fromhex(manifest.recording))
    recording_id = secrets.token_bytes(16)
    make_folder(path)
    key = keys.create_recording_key(path.name, recording_id)
    manifest = Manifest(
        "vivavoce-recording",
        FORMAT_VERSION,
        recording_id.hex(),
        path.name,
        seal_title(key, recording_id, title),
        0,
        State.RECORDING,
        None,
        (policy,),
    )
    return manifest, key


def open_reader(
    data_dir: Path,
    interview_id: str,
    keys: KeyRing,
    store: Store | None = None,
    signer: Callable[[], ClaimSigner] | None = None,
) -> RecordingReader:
    """KeyError if there is no such recording; KeyProblem; SegmentError; OSError."""
    key = recording_key(data_dir, interview_id, keys)
    stored = None if store is None else store.folder(interview_id)
    path = recording_path(data_dir, interview_id)
    return RecordingReader(path, key, keys.public_key, stored, signer)


def recording_key(data_dir: Path, interview_id: str, keys: KeyRing) -> bytes:
    """Errors as `open_reader`."""
    path = recording_path(data_dir, interview_id)
    if not (path / MANIFEST_NAME).exists():
        raise KeyError(interview_id)
    manifest = read_manifest(path, keys.public_key)
    return keys.recording_key(interview_id, bytes.fromhex(manifest.recording))


def recording_files(data_dir: Path, interview_id: str, store: Store | None) -> Readable:
    """What there is of a recording, here or in the store. Errors as `open_reader`."""
    path = recording_path(data_dir, interview_id)
    if not (path / MANIFEST_NAME).exists():
        raise KeyError(interview_id)
    return path if store is None else StoredFolder(path, store.folder(interview_id))


def is_recorded_now(data_dir: Path, interview_id: str, public_key: ServerKey) -> bool:
    """Whether a process writes this recording. ValueError if the id can't be a folder's name."""
    path = recording_path(data_dir, interview_id)
    if not (path / MANIFEST_NAME).exists():
        return False
    state = read_manifest(path, public_key).state
    return state is State.RECORDING and _is_locked(data_dir)


def list_recordings(data_dir: Path, keys: KeyRing) -> list[RecordingSummary]:
    """Every recording whose manifest is authentic, oldest first."""
    running = _is_locked(data_dir)
    titles = _Titles(keys)
    summaries = []
    for path in recording_folders(data_dir):
        try:
            manifest = read_manifest(path, keys.public_key)
            if manifest.interview != path.name:
                continue  # likewise
            summaries.append(_summarise(path, manifest, titles.of(manifest), running))
        except (SegmentError, OSError):
            continue  # `verify` says what is wrong with it
    return sorted(summaries, key=lambda one: (one.started_s or 0, one.interview_id))


def is_compressed(manifest: Manifest) -> bool:
    return any(event.event == COMPRESSED for event in manifest.events)


def _summarise(path: Path, manifest: Manifest, title: str, running: bool) -> RecordingSummary:
    state = manifest.state
    if state is State.RECORDING and not running:
        state = State.INTERRUPTED
    tracks = {track for segment in manifest.segments for track in segment.tracks}
    end_us = max((segment.end_us for segment in manifest.segments), default=0)
    for header in _open_headers(path, manifest):
        end_us = max(end_us, header.end_us)
        tracks.update(track for flag, track in TRACK_OF.items() if flag & header.flags)
    return RecordingSummary(
        manifest.interview,
        title,
        state,
        None if manifest.epoch_us is None else manifest.epoch_us / 1e6,
        end_us / 1e6,
        tuple(track for track in TrackName if track in tracks),
        _interruptions(manifest),
        _size(path, manifest),
        is_compressed(manifest),
    )


def _interruptions(manifest: Manifest) -> int:
    """Gaps of several tracks at the same time are one to a person."""
    count, until_us = 0, -math.inf
    for gap in sorted(manifest.gaps, key=lambda each: each.start_us):
        count += gap.start_us > until_us
        until_us = max(until_us, gap.end_us)
    return count


def _size(path: Path, manifest: Manifest) -> int:
    """Wherever its segments lie."""
    sizes = {file.name: file.stat().st_size for file in path.iterdir()}
    return sum((sizes | {entry.name: entry.size for entry in manifest.segments}).values())


def _open_headers(path: Path, manifest: Manifest) -> Iterator[RecordHeader]:
    """Of the records in segments that are still being written."""
    if manifest.state is not State.RECORDING:
        return
    for name in unlisted_segments(os.listdir(path), [entry.name for entry in manifest.segments]):
        size = (path / name).stat().st_size
        with (path / name).open("rb") as file:
            for record in index_records(file, SEGMENT_HEADER_BYTES, size):
                yield record.header


# ---- titles -----------------------------------------------------------------------------


def seal_title(recording_key: bytes, recording_id: bytes, title: str) -> str:
    """Titles carry names, so the manifest holds them sealed: nonce and ciphertext in hex."""
    nonce = secrets.token_bytes(12)
    sealed = AESGCM(_title_key(recording_key)).encrypt(nonce, title.encode(), recording_id)
    return (nonce + sealed).hex()


def open_title(recording_key: bytes, manifest: Manifest) -> str:
    """The title; KeyProblem if the key is another recording's."""
    sealed, recording_id = bytes.fromhex(manifest.title), bytes.fromhex(manifest.recording)
    try:
        aead = AESGCM(_title_key(recording_key))
        return aead.decrypt(sealed[:12], sealed[12:], recording_id).decode()
    except InvalidTag as error:
        raise KeyProblem("the key does not open the title") from error


def _title_key(recording_key: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, None, TITLE_INFO).derive(recording_key)


class _Titles:
    """Titles for one list: a key service that does not answer is waited for once."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._available = True

    def of(self, manifest: Manifest) -> str:
        if not self._available:
            return ""
        try:
            key = self._keys.recording_key(manifest.interview, bytes.fromhex(manifest.recording))
            return open_title(key, manifest)
        except KeyProblem as error:
            self._available = not isinstance(error, KeyUnavailable)
            return ""


# ---- one writing process ----------------------------------------------------------------


@contextmanager
def _holding(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


def lock_recordings(data_dir: Path) -> AbstractContextManager[None]:
    """Hold the recordings of ``data_dir`` for this process; RuntimeError if another one does."""
    return lock_folder(data_dir / FOLDER, f"another process records into {data_dir}")


def lock_folder(folder: Path, refusal: str) -> AbstractContextManager[None]:
    """Hold a folder for this process; RuntimeError with this text if another one does."""
    make_folder(folder)
    fd = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise RuntimeError(refusal) from error
    return _holding(fd)


def _is_locked(data_dir: Path) -> bool:
    try:
        with lock_recordings(data_dir):
            return False
    except RuntimeError:
        return True
