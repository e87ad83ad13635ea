"""The readers that the process of replays keeps; the process itself is in `test_replay_process`."""

import os
from pathlib import Path
from typing import Any

import pytest

from server.core.frames import Codec
from server.recorder.catalog.recordings import recording_key
from server.recorder.format.sealing import SegmentError
from server.recorder.keys.key_database import CandidateKey, KeyDatabase
from server.recorder.keys.root_key import KeyProblem
from server.recorder.replay import worker
from server.recorder.replay.reader import RecordingReader
from server.recorder.replay.wire import Place
from tests.recorder.conftest import Desk
from tests.recorder.encoded import interview


def nobody() -> Any:
    raise AssertionError("nothing is signed")


@pytest.fixture
def place(desk: Desk) -> Place:
    desk.write(interview(Codec.VP8, 1.0))
    key = recording_key(desk.data_dir, "iv", desk.keys)
    keys = str(desk.data_dir / "keys")
    return Place(str(desk.path()), "", keys, key, desk.keys.public_key.hex())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of whose keys the database is asked."""
    names = list[str]()
    candidate_of = KeyDatabase.candidate_of

    def counted(database: KeyDatabase, interview_id: str) -> CandidateKey:
        names.append(interview_id)
        return candidate_of(database, interview_id)

    monkeypatch.setattr(KeyDatabase, "candidate_of", counted)
    return names


def test_who_is_forgotten_while_it_is_opened_is_not_kept(
    desk: Desk, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = worker._Readers(nobody)

    def opened(path: Path, *others: Any) -> RecordingReader:
        readers.forget(str(path))
        return RecordingReader(path, *others)

    with monkeypatch.context() as slow:
        slow.setattr(worker, "RecordingReader", opened)
        assert len(readers.of(place).reader)
    manifest = desk.path() / "manifest.json"
    manifest.write_bytes(b"{}")
    with pytest.raises(SegmentError):
        readers.of(place)


def test_who_is_known_is_not_opened_again(place: Place) -> None:
    readers = worker._Readers(nobody)
    first = readers.of(place)
    assert readers.of(place) is first
    readers.forget(place.folder)
    assert readers.of(place) is not first


def test_a_key_is_looked_up_again_once_the_database_has_changed(
    desk: Desk, place: Place, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SETTLED_NS", 0)
    readers = worker._Readers(nobody)
    for _ in range(3):
        readers.of(place)
    assert asked == ["iv"]
    os.utime(desk.data_dir / "keys" / "keys.sqlite")  # as any writing does
    for _ in range(3):
        readers.of(place)
    assert asked == ["iv"] * 2
    assert KeyDatabase(desk.data_dir / "keys" / "keys.sqlite").destroy("iv", 1)
    for _ in range(2):
        with pytest.raises(KeyProblem, match="destroyed"):
            readers.of(place)


def test_a_key_is_looked_up_each_time_while_the_database_may_change_unseen(
    place: Place, asked: list[str]
) -> None:
    """Two writings within a tick of the clock that files' times are of look like one."""
    readers = worker._Readers(nobody)
    for _ in range(3):
        readers.of(place)
    assert asked == ["iv"] * 3


def test_a_key_whose_database_is_gone_opens_nothing(
    desk: Desk, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SETTLED_NS", 0)
    readers = worker._Readers(nobody)
    readers.of(place)
    (desk.data_dir / "keys" / "keys.sqlite").unlink()
    with pytest.raises(KeyProblem, match="missing"):
        readers.of(place)
