"""Erases a recording by destroying its candidate's key: what is left proves and tells nothing."""

from functools import partial
from pathlib import Path

from server.recorder.catalog.recordings import is_recorded_now, read_manifest, recording_path
from server.recorder.catalog.spool import Spool, entry_of
from server.recorder.evidence.tlog import FOLDER as LOG_FOLDER
from server.recorder.evidence.tlog import Entry, EntryKind
from server.recorder.format.manifest import MANIFEST_NAME
from server.recorder.keys.key_database import KeyDatabase
from server.recorder.keys.key_ring import SIGNING_PUB, load_public_key, open_database
from server.recorder.keys.root_key import KeyProblem


class ErasureRefused(Exception):
    """The recording is still being written."""


def erase(data_dir: Path, interview_id: str, at_us: int) -> bool:
    """Destroy the interview's key; False if that was done before. ``at_us``: Unix microseconds.

    Manifest and segments stay, so that `verify` still tells whether they are whole, and the log is
    told (see `server.recorder.catalog.spool`), also where this process is killed in between. The
    root key is not needed. KeyProblem if there never was a key; ErasureRefused; SegmentError;
    OSError.
    """
    database = open_database(data_dir / "keys")
    known = database.candidate_of(interview_id)
    refuse_recorded(data_dir, interview_id)
    public_key = load_public_key(data_dir / "keys" / SIGNING_PUB)
    path = recording_path(data_dir, interview_id)
    if known.wrapped is not None and (path / MANIFEST_NAME).exists():
        entry = entry_of(EntryKind.ERASED, read_manifest(path, public_key), at_us)
        Spool(data_dir / LOG_FOLDER).intend(entry)
    first = database.destroy(interview_id, at_us)
    settle(data_dir, database)
    return first


def refuse_recorded(data_dir: Path, interview_id: str) -> None:
    """ErasureRefused where the interview is being recorded; SegmentError; OSError."""
    if is_recorded_now(data_dir, interview_id, load_public_key(data_dir / "keys" / SIGNING_PUB)):
        raise ErasureRefused(f"interview {interview_id} is being recorded: end it first")


def settle(data_dir: Path, database: KeyDatabase) -> None:
    """Let the log be told of each erasure that was done. OSError."""

    Spool(data_dir / LOG_FOLDER).settle(partial(is_done, database))


def is_done(database: KeyDatabase, entry: Entry) -> bool:
    """Whether the key is destroyed, as an entry says."""
    try:
        return database.candidate_of(entry.interview).destroyed_us == entry.at_us
    except KeyProblem:  # the next start asks again
        return False
