"""The disk whose power can be cut: what was synced is there, what was not is gone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.power_cut import Disk, DiskError, open_disk
from server.data_dir import links_key, prepare_data_dir
from server.recorder.stores.files import LocalFolder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("only root mounts a disk")
    with open_disk(tmp_path) as disk:
        yield disk


def test_what_was_not_synced_is_gone(disk: Disk) -> None:
    folder = LocalFolder(disk.path)
    file = folder.create("one")
    file.write(b"kept")
    file.sync()
    file.write(b"lost")
    (disk.path / "two").write_bytes(b"lost with its name")
    disk.cut()
    with pytest.raises(OSError, match="Input/output error"):
        file.write(b"refused")
    file.close()
    disk.restore()
    assert (disk.path / "one").read_bytes() == b"kept"
    assert not (disk.path / "two").exists()


def test_links_that_were_given_away_survive(disk: Disk) -> None:
    data_dir = disk.path / "data"
    prepare_data_dir(data_dir)
    key = links_key(data_dir)
    disk.cut()
    disk.restore()
    prepare_data_dir(data_dir)
    assert links_key(data_dir) == key


def test_a_disk_that_cannot_be_made_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DiskError, match="No such file or directory"), open_disk(tmp_path):
        pass
