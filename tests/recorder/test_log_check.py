"""What is found of a log alone: recordings that are gone, and what was taken back of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from server.recorder.evidence.log_check import check_log, lost_recordings
from server.recorder.evidence.tlog import open_log, read_log
from server.recorder.format.sealing import FaultKind
from tests.recorder.conftest import Desk


def test_recordings_that_are_there_are_not_missed(witnessed: Desk) -> None:
    recordings = witnessed.data_dir / "recordings"
    assert lost_recordings(recordings, witnessed.keys.public_key, witnessed.log) == []


def test_a_removed_recording_is_found_by_the_log(
    witnessed: Desk, moved: Callable[[str], Path]
) -> None:
    recordings = moved("iv").parent
    (fault,) = lost_recordings(recordings, witnessed.keys.public_key, witnessed.log)
    assert (fault.kind, fault.file) == (FaultKind.MISSING, "cut")
    assert fault.end_s == pytest.approx(13.5, abs=0.6)


def test_a_log_contains_each_checkpoint_that_was_kept(
    witnessed: Desk, moved: Callable[[str], Path], tmp_path: Path
) -> None:
    key = witnessed.keys.public_key
    entries = read_log(witnessed.log, witnessed.keys.public_key).entries
    other = open_log(tmp_path / "other", witnessed.keys.signer)
    kept = []
    for entry in entries:
        other.append([entry])
        kept.append((tmp_path / "other" / "checkpoint").read_bytes())
    for each in kept:
        assert check_log(tmp_path / "other", key, each) == []
    (fault,) = check_log(witnessed.log, key, kept[7])
    assert fault.kind is FaultKind.TAMPERED  # another log of the same key
    (tmp_path / "shorter").mkdir()
    shutil.copy(tmp_path / "other" / "origin", tmp_path / "shorter")
    shorter = open_log(tmp_path / "shorter", witnessed.keys.signer)
    shorter.append(entries[:4])
    (fault,) = check_log(tmp_path / "shorter", key, kept[9])
    assert fault.kind is FaultKind.ROLLED_BACK
    (fault,) = check_log(tmp_path / "shorter", key, b"nothing")
    assert fault.kind is FaultKind.TAMPERED
