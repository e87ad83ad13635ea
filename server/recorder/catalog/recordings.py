"""The recordings of a data directory: where they lie, their manifests and titles.

Everything here reads the disk: call it in a thread, or in a program of its own.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.core.frames import TrackName
from server.core.interviews import COMPRESSED
from server.recorder.format.manifest import (
    MANIFEST_NAME,
    Manifest,
    Policy,
    State,
    decode_manifest,
    read_unproved,
)
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import (
    FORMAT_VERSION,
    KEY_BYTES,
    Flags,
)
from server.recorder.format.server_key import ServerKey
from server.recorder.keys.key_ring import INTERVIEW_ID, KeyRing
from server.recorder.keys.root_key import KeyProblem
from server.recorder.stores.files import make_folder
from server.recorder.stores.store import Readable, Store, StoredFolder

FOLDER = "recordings"
TITLE_INFO = b"vivavoce/title/v1"
_COMPRESSED = ".compressed"  # no interview's id has a dot
_LOCK_NAME = ".lock"
TRACK_OF = {
    Flags.VIDEO: TrackName.CAMERA,
    Flags.AUDIO: TrackName.MICROPHONE,
    Flags.SCREEN: TrackName.SCREEN,
    Flags.INTERVIEWER_VIDEO: TrackName.INTERVIEWER_CAMERA,
    Flags.INTERVIEWER_AUDIO: TrackName.INTERVIEWER_MICROPHONE,
}


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
    return decode_manifest(read_whole(path / MANIFEST_NAME), public_key)


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


def recording_key(data_dir: Path, interview_id: str, keys: KeyRing) -> bytes:
    """KeyError if there is no such recording; KeyProblem; SegmentError; OSError."""
    path = recording_path(data_dir, interview_id)
    if not (path / MANIFEST_NAME).exists():
        raise KeyError(interview_id)
    manifest = read_manifest(path, keys.public_key)
    return keys.recording_key(interview_id, bytes.fromhex(manifest.recording))


def recording_files(data_dir: Path, interview_id: str, store: Store | None) -> Readable:
    """What there is of a recording, here or in the store. Errors as `recording_key`."""
    path = recording_path(data_dir, interview_id)
    if not (path / MANIFEST_NAME).exists():
        raise KeyError(interview_id)
    return path if store is None else StoredFolder(path, stored_folder(path, store))


def stored_name(interview_id: str, manifest: Manifest) -> str:
    """Its folder in a store, where what was made of a recording lies beside its source."""
    return f"{interview_id}{_COMPRESSED}" if is_compressed(manifest) else interview_id


def local_name(stored: str) -> str:
    """The interview that a folder in a store is of."""
    return stored.removesuffix(_COMPRESSED)


def stored_folder(path: Path, store: Store) -> Readable:
    """What a store has of the recording in folder ``path``. SegmentError; OSError."""
    manifest = read_unproved(read_whole(path / MANIFEST_NAME))
    return store.folder(stored_name(path.name, manifest))


def is_recorded_now(data_dir: Path, interview_id: str, public_key: ServerKey) -> bool:
    """Whether a process writes this recording. ValueError if the id can't be a folder's name."""
    path = recording_path(data_dir, interview_id)
    if not (path / MANIFEST_NAME).exists():
        return False
    state = read_manifest(path, public_key).state
    return state is State.RECORDING and is_locked(data_dir)


def is_compressed(manifest: Manifest) -> bool:
    return any(event.event == COMPRESSED for event in manifest.events)


# ---- titles -----------------------------------------------------------------------------


def seal_title(recording_key: bytes, recording_id: bytes, title: str) -> str:
    """Titles carry names, so the manifest holds them sealed: nonce and ciphertext in hex."""
    nonce = secrets.token_bytes(12)
    sealed = AESGCM(_title_key(recording_key)).encrypt(nonce, title.encode(), recording_id)
    return (nonce + sealed).hex()


def open_title(recording_key: bytes, manifest: Manifest) -> str:
    """The title; KeyProblem if the key is another recording's."""
    try:
        sealed, recording_id = bytes.fromhex(manifest.title), bytes.fromhex(manifest.recording)
        aead = AESGCM(_title_key(recording_key))
        return aead.decrypt(sealed[:12], sealed[12:], recording_id).decode()
    except (InvalidTag, ValueError) as error:  # ValueError: of a manifest that nobody signed
        raise KeyProblem("the key does not open the title") from error


def _title_key(recording_key: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, None, TITLE_INFO).derive(recording_key)


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


def is_locked(data_dir: Path) -> bool:
    try:
        with lock_recordings(data_dir):
            return False
    except RuntimeError:
        return True
