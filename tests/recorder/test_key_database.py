"""The key database: durable, exclusive, and able to forget."""

import sqlite3
import stat
from pathlib import Path

import pytest

from server.recorder.keys import key_database
from server.recorder.keys.key_database import SCHEMA_VERSION, CandidateKey, KeyDatabase
from server.recorder.keys.root_key import KeyProblem, KeyUnavailable, Wrapped


def secret(number: int, kind: str) -> bytes:
    """Bytes that are found again wherever they lie."""
    return f"{kind}-{number:04}-".encode() * 5


@pytest.fixture
def database(tmp_path: Path) -> KeyDatabase:
    return KeyDatabase(tmp_path / "keys.sqlite")


def fill(database: KeyDatabase, count: int) -> None:
    for number in range(count):
        with database.writing() as db:
            wrapped = Wrapped("v1", secret(number, "candidate"))
            db.add_candidate(CandidateKey(f"c{number}", f"iv{number}", "file", wrapped, None))
            db.add_recording(f"r{number}", f"c{number}", secret(number, "recording"))


def on_disk(database: KeyDatabase) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(database.path.parent.iterdir()))


@pytest.mark.parametrize("count", [1, 3, 400])
def test_a_destroyed_key_is_on_the_disk_no_more(database: KeyDatabase, count: int) -> None:
    fill(database, count)
    doomed = range(0, count, 3)
    for number in doomed:
        assert secret(number, "candidate") in on_disk(database)
        assert database.destroy(f"iv{number}", 7)
        left = on_disk(database)
        for kind in ("candidate", "recording"):
            assert secret(number, kind)[:15] not in left
    for number in set(range(count)) - set(doomed):
        assert database.candidate_of(f"iv{number}").existing().data == secret(number, "candidate")
        assert database.recording_key(f"r{number}", f"c{number}") == secret(number, "recording")
    assert database.destroyed() == len(doomed)


def test_what_a_crash_left_of_a_destroyed_key_is_overwritten_later(database: KeyDatabase) -> None:
    fill(database, 3)
    with database.writing() as db:  # as destroying begins
        db._db.execute("DELETE FROM recording_keys")
    assert secret(0, "recording") in on_disk(database)
    database.scrub()
    assert secret(0, "recording") not in on_disk(database)


def test_destroying_is_remembered_and_done_once(database: KeyDatabase) -> None:
    fill(database, 1)
    assert database.destroy("iv0", 7)
    assert not database.destroy("iv0", 8)
    assert not database.destroy("nobody", 8)
    row = database.candidate_of("iv0")
    assert (row.wrapped, row.destroyed_us) == (None, 7)
    with pytest.raises(KeyProblem, match="destroyed"):
        row.existing()


def test_a_transaction_that_fails_leaves_nothing(database: KeyDatabase) -> None:
    def write_in_part() -> None:
        with database.writing() as db:
            db.add_candidate(CandidateKey("c", "iv", "file", Wrapped("v", b"k"), None))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_in_part()
    assert database.wrapped() == []


def test_only_what_is_as_it_was_is_rewrapped(database: KeyDatabase) -> None:
    fill(database, 2)
    first, second = database.wrapped()
    database.destroy("iv0", 7)
    database.rewrap(first, "vault:x", Wrapped("v2", b"new"))
    database.rewrap(second, "vault:x", Wrapped("v2", b"new"))
    database.rewrap(second, "vault:y", Wrapped("v3", b"newer"))
    assert database.wrapped_by() == {("vault:x", "v2"): 1}
    assert database.candidate_of("iv0").wrapped is None


def test_a_backup_is_a_whole_database(database: KeyDatabase, tmp_path: Path) -> None:
    fill(database, 3)
    copy = tmp_path / "copy"
    copy.mkdir()
    database.back_up(copy / "keys.sqlite")
    assert stat.S_IMODE((copy / "keys.sqlite").stat().st_mode) == 0o600
    assert KeyDatabase(copy / "keys.sqlite").wrapped() == database.wrapped()


def test_another_process_is_waited_for_but_not_for_ever(
    database: KeyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_database, "BUSY_TIMEOUT_S", 0.05)
    with database.writing():
        assert database.wrapped() == [], "whoever only reads does not wait"
        with pytest.raises(KeyUnavailable, match="locked"):
            fill(database, 1)


def test_one_that_was_taken_away_is_missed_and_not_made_anew(database: KeyDatabase) -> None:
    fill(database, 1)
    kept = database.path.rename(database.path.with_name("kept"))
    with pytest.raises(KeyProblem, match="put its newest backup back"):
        database.candidate_of("iv0")
    with pytest.raises(KeyProblem, match="put its newest backup back"):
        fill(database, 1)
    assert not database.path.exists()
    kept.rename(database.path)
    assert database.candidate_of("iv0").existing().data == secret(0, "candidate")


def test_a_damaged_or_newer_file_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"no database" * 100)
    with pytest.raises(KeyProblem, match="put a backup back"):
        KeyDatabase(damaged)
    newer = tmp_path / "newer.sqlite"
    KeyDatabase(newer)
    with sqlite3.connect(newer) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(KeyProblem, match="newer program"):
        KeyDatabase(newer)
    with pytest.raises(KeyProblem, match="can't be opened"):
        KeyDatabase(tmp_path / "nowhere" / "keys.sqlite")
