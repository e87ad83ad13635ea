"""Erases a recording by destroying its candidate's key: what is left proves and tells nothing."""

from pathlib import Path

from server.recorder.catalog import is_recorded_now
from server.recorder.keys import open_database, open_signer


class ErasureRefused(Exception):
    """The recording is still being written."""


def erase(data_dir: Path, interview_id: str, at_us: int) -> bool:
    """Destroy the interview's key; False if that was done before. ``at_us``: Unix microseconds.

    Manifest and segments stay, so that `verify` still tells whether they are whole. The root key
    is not needed. KeyProblem if there never was a key; ErasureRefused; SegmentError; OSError.
    """
    database = open_database(data_dir / "keys")
    database.candidate_of(interview_id)
    signer = open_signer(data_dir / "keys", database)
    if is_recorded_now(data_dir, interview_id, signer.public_key()):
        raise ErasureRefused(f"interview {interview_id} is being recorded: end it first")
    return database.destroy(interview_id, at_us)
