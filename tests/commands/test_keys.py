"""`vivavoce keys`, as a person types it."""

import io
import sys
from pathlib import Path

import pytest

from server.cli import main
from server.recorder.catalog.recordings import lock_recordings
from server.recorder.keys.key_ring import open_keys
from tests.commands.conftest import record
from tests.recorder.conftest import Desk
from tests.recorder.encoded import camera
from tests.recorder.soft_token import soft_token

ID = b"i" * 16


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SOME_KEY", "0f" * 32)
    for interview in ("one", "two"):
        open_keys(tmp_path / "keys").create_recording_key(interview, ID)
    return tmp_path


def keys(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    status = main(("keys", *argv))
    said = capsys.readouterr()
    return status, said.out + said.err


def test_status_tells_what_wraps_the_keys(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = keys(capsys, "status")
    assert status == 0
    assert "2 keys by file" in said
    status, said = keys(capsys, "status", "--root-key", "env:SOME_KEY")
    assert status == 1
    assert "to be rotated" in said


def test_status_says_that_a_root_key_is_not_the_one(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data_dir / "keys" / "root.key").write_text("ab" * 32)
    status, said = keys(capsys, "status")
    assert (status, "which wrapped this: restore that file" in said) == (2, True)


def test_keys_move_to_another_root_key_while_no_server_runs(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = open_keys(data_dir / "keys").recording_key("one", ID)
    monkeypatch.setenv("VIVAVOCE_ROOT_KEY", "env:SOME_KEY")
    with lock_recordings(data_dir):
        status, said = keys(capsys, "rotate", "--from", "file")
        assert status == 2
        assert "stop it first" in said
    status, said = keys(capsys, "rotate")
    assert status == 2
    assert "--from file" in said
    status, said = keys(capsys, "rotate", "--from", "file")
    assert (status, said.splitlines()[0]) == (
        0,
        "Wrapped by the newest version of env:SOME_KEY: 2 keys.",
    )
    assert "Nothing to do" in keys(capsys, "rotate")[1]
    monkeypatch.delenv("VIVAVOCE_ROOT_KEY")
    assert keys(capsys, "rotate", "--from", "env:SOME_KEY")[0] == 0
    assert open_keys(data_dir / "keys").recording_key("one", ID) == key


def test_keys_move_to_a_token_and_back_without_a_byte_of_media_touched(
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    record(data, "iv")

    def media() -> dict[Path, tuple[int, bytes]]:
        files = [path for path in (data / "recordings" / "iv").rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = media()
    assert before
    with soft_token(tmp_path, monkeypatch) as token:
        for name, value in token.env.items():
            monkeypatch.setenv(name, value)
        assert keys(capsys, "status", "--root-key", token.name)[0] == 2, "there is no key yet"
        token.make_key()
        assert keys(capsys, "rotate", "--root-key", token.name, "--from", "file")[0] == 0
        (data / "keys" / "root.key").unlink()
        monkeypatch.setenv("VIVAVOCE_ROOT_KEY", token.name)
        token.make_key()
        said = keys(capsys, "rotate", "--root-key", "file:other")[1]
        assert f"--from '{token.name}'" in said, "its label has a space"
        status, said = keys(capsys, "status")
        assert (status, "version 01: to be rotated" in said) == (1, True)
        with lock_recordings(data):
            assert keys(capsys, "rotate")[0] == 0, "a new version, while a server runs"
        assert main(["recordings"]) == 0
        assert "A title" in capsys.readouterr().out
        assert keys(capsys, "rotate", "--root-key", "file", "--from", token.name)[0] == 0
    monkeypatch.delenv("VIVAVOCE_ROOT_KEY")
    assert main(["recordings"]) == 0
    assert "A title" in capsys.readouterr().out
    assert media() == before


def test_a_new_version_of_the_file_is_made_while_a_server_runs(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (data_dir / "keys" / "root.key").read_text()
    with lock_recordings(data_dir):
        assert keys(capsys, "rotate")[0] == 0
    assert (data_dir / "keys" / "root.key").read_text() != before
    assert keys(capsys, "status")[0] == 0


def test_a_key_is_destroyed_once_its_id_is_typed(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir / "keys" / "root.key").unlink()  # destroying does without
    for typed, status in (("no", 1), ("", 1), ("one", 0)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{typed}\n"))
        assert keys(capsys, "destroy", "one")[0] == status, typed
    status, said = keys(capsys, "destroy", "--yes", "one")
    assert status == 0
    assert "destroyed before" in said
    status, said = keys(capsys, "destroy", "--yes", "nobody")
    assert status == 2
    assert "no key of interview nobody" in said


def test_nobody_is_asked_for_the_key_of_what_is_being_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(tmp_path))
    Desk(tmp_path).write(camera(), "one", finish=False)
    monkeypatch.setattr(sys, "stdin", None)  # who asks fails
    with lock_recordings(tmp_path):
        status, said = keys(capsys, "destroy", "one")
    assert (status, "is being recorded: end it first" in said) == (2, True)


def test_a_backup_opens_with_the_same_root_key(
    data_dir: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key = open_keys(data_dir / "keys").recording_key("one", ID)
    copy = tmp_path / "copy.sqlite"
    assert keys(capsys, "backup", str(copy))[0] == 0
    copy.replace(data_dir / "keys" / "keys.sqlite")
    assert open_keys(data_dir / "keys").recording_key("one", ID) == key
    assert keys(capsys, "backup", str(tmp_path / "nowhere" / "copy"))[0] == 2
