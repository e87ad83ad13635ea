"""Durable files: whole or not at all, and never over another."""

import errno
import io
import os
import stat
from pathlib import Path

import pytest

from server.recorder.stores import files
from server.recorder.stores.files import LocalFolder, copy_durably, write_durably


def test_a_segment_file_never_writes_over_another(tmp_path: Path) -> None:
    (tmp_path / "a.seg").write_bytes(b"evidence")
    with pytest.raises(FileExistsError):
        LocalFolder(tmp_path).create("a.seg")
    assert (tmp_path / "a.seg").read_bytes() == b"evidence"


def test_a_segment_file_grows_and_is_cut_back(tmp_path: Path) -> None:
    file = LocalFolder(tmp_path).create("a.seg")
    file.write(b"12345")
    file.sync()
    file.write(b"678")
    file.truncate(5)
    file.close()
    file.close()
    assert (tmp_path / "a.seg").read_bytes() == b"12345"
    assert stat.S_IMODE((tmp_path / "a.seg").stat().st_mode) == 0o600


def test_a_new_files_name_is_synced_with_its_first_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_directory", synced.append)
    file = LocalFolder(tmp_path).create("a.seg")
    for _ in range(3):
        file.write(b"x")
        file.sync()
    file.close()
    assert synced == [tmp_path]


def test_a_failed_replacement_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    LocalFolder(folder).replace("m", b"old")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        LocalFolder(folder).replace("m", b"new")
    assert (folder / "m").read_bytes() == b"old"
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "m"]


def test_a_copy_is_what_the_disk_gives_back_or_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"former")
    fsync = os.fsync

    def damaging(fd: int) -> None:
        os.pwrite(fd, b"X", 3)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", damaging)
    with pytest.raises(OSError, match="not what was written"):
        copy_durably(io.BytesIO(b"content"), 7, tmp_path / "a", tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"former"]


def test_a_replacement_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    write_durably(tmp_path / "key", b"secret")
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
