"""A file is not there after a power cut unless it was synced, and its folder since it got its name.

File systems mostly do more than they must, so that a disk whose power is cut (tests/loadtest) does
not show it: here, what was synced is noted call by call.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from server.core.frames import Codec
from server.data_dir import links_key, prepare_data_dir
from server.recorder.evidence.tlog import Entry, EntryKind, open_log
from server.recorder.export.export import export
from server.recorder.recorder import open_recorder
from server.recorder.stores.files import make_folder, sync_directory
from server.recorder.stores.store import LocalStore
from server.recorder.uploader import Uploader
from tests.recorder.conftest import POLICY, Desk
from tests.recorder.encoded import interview


class Names:
    """Which names each folder has had at its last sync, and of which inodes; files' sizes then."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._synced: defaultdict[Path, set[tuple[str, int]]] = defaultdict(set)
        self._sizes: dict[int, int] = {}  # by inode

    def sync(self, fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if path.is_dir():
            self._synced[path] = set(_inodes(path))
        else:
            self._sizes[os.fstat(fd).st_ino] = os.fstat(fd).st_size

    def lost(self, path: Path) -> list[str]:
        """Of what is there below ``path``: what a power cut takes away."""
        below = [each for each in (path, *path.rglob("*")) if not self._is_durable(each)]
        return sorted(str(each.relative_to(self._top)) for each in below)

    def _is_durable(self, path: Path) -> bool:
        if path == self._top:
            return True
        state = path.stat()
        there = (path.name, state.st_ino) in self._synced[path.parent]
        whole = path.is_dir() or self._sizes.get(state.st_ino) == state.st_size
        return there and whole and self._is_durable(path.parent)


def _inodes(folder: Path) -> Iterator[tuple[str, int]]:
    for each in folder.iterdir():
        with suppress(FileNotFoundError):  # of another thread, which was done with it
            yield each.name, each.stat().st_ino


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Names:
    noted = Names(tmp_path.resolve())

    def noting(sync: Callable[[int], None], fd: int) -> None:
        sync(fd)
        noted.sync(fd)

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, partial(noting, getattr(os, name)))
    return noted


def test_a_folder_and_those_above_it_that_were_missing_are_durable(
    names: Names, tmp_path: Path
) -> None:
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"content")
    sync_directory(tmp_path)
    assert names.lost(tmp_path) == ["a/b", "a/b/c", "file"], "else this would show nothing"
    make_folder(tmp_path / "d" / "e")
    make_folder(tmp_path / "d" / "e")
    assert names.lost(tmp_path / "d") == []


@pytest.mark.may_block("what is looked at here is on the disk already")
async def test_a_recording_its_key_and_its_log_are_where_nobody_looked_before(
    names: Names, tmp_path: Path
) -> None:
    data = tmp_path / "new" / "data"
    prepare_data_dir(data)
    links_key(data)
    async with open_recorder(data) as recorder:
        recording = recorder.record("iv", "t", POLICY, lambda _: None)
        for frame in interview(Codec.VP8, 12):
            recording.on_frame(frame)
        await recording.close()
    assert {path.name for path in (data / "recordings" / "iv").iterdir()} >= {"00001.seg"}
    # SQLite syncs by itself; the lock holds nothing; growing tiles are made anew at a start.
    others = re.compile(r"keys\.sqlite|\.lock|/tile/")
    lost = [each for each in names.lost(data) if not others.search(each)]
    assert lost == ["new/data/log/checkpoint"], "which follows from the entries"


def test_full_tiles_of_the_log_are_durable(names: Names, desk: Desk) -> None:
    log = open_log(desk.log, desk.keys.signer)
    for _ in range(2):
        log.append([Entry(EntryKind.BEGUN, "0a" * 16, "iv", 1, "", 1, 1, "", 1)] * 256)
    for tile in ("tile/entries/000", "tile/entries/001", "tile/0/000", "tile/0/001"):
        assert names.lost(desk.log / tile) == []


def test_an_export_is_durable(names: Names, desk: Desk, tmp_path: Path) -> None:
    desk.write(interview(Codec.H264, 1))
    export(desk.reader(), tmp_path / "out.mp4", lambda share: None)
    assert names.lost(tmp_path / "out.mp4") == []


def test_what_a_directory_has_stored_is_durable(names: Names, desk: Desk, tmp_path: Path) -> None:
    desk.write(interview(Codec.VP8, 2))
    store = LocalStore(tmp_path / "some" / "store")
    Uploader(desk.data_dir, store, desk.keys.public_key).round()
    assert [path.name for path in desk.path().iterdir()] == ["manifest.json"]
    assert names.lost(tmp_path / "some") == []
