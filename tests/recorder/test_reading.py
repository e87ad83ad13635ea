"""What is read whole is bounded, and a file."""

import os
from pathlib import Path

import pytest

from server.recorder.format import reading
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import SegmentError


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(b"all of it")
    assert read_whole(tmp_path / "it") == b"all of it"


def test_what_is_longer_than_any_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_WHOLE_BYTES", 8)
    (tmp_path / "it").write_bytes(b"too long.")
    with pytest.raises(SegmentError, match="longer than any"):
        read_whole(tmp_path / "it")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "nothing"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    with pytest.raises(FileNotFoundError):
        read_whole(path)
