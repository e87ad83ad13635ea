"""What was made of a recording whose segments a store has lies beside it there, and whatever stops
whoever brings it, nothing is lost and no source is destroyed too early."""

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from server.recorder.catalog.derived import check_statement, doomed, making_path, source_path
from server.recorder.catalog.recordings import is_compressed, recording_files
from server.recorder.compression.job import compress
from server.recorder.evidence.derivation import statement_of
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import MANIFEST_NAME
from server.recorder.recorder import Recorder, open_recorder
from server.recorder.replay.reader import open_reader
from server.recorder.stores.store import LocalStore, Store, StoredFolder
from server.recorder.uploader import Uploader
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, interview
from tests.recorder.test_compression import MADE_US, small
from tests.recorder.test_derived import recorded
from tests.recorder.test_store import local_store, s3_store

__all__ = ["small"]


@pytest.fixture(params=[local_store, s3_store], ids=lambda make: make.__name__)
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    with request.param(tmp_path, monkeypatch) as made:
        yield made()


def bring(desk: Desk, store: Store) -> None:
    """As a server does that was started since."""
    Uploader(desk.data_dir, store, desk.keys.public_key).round()


def make(desk: Desk, store: Store, *, keep_source: bool) -> None:
    compress(
        desk.data_dir,
        "iv",
        desk.keys,
        lambda done: None,
        lambda: MADE_US / 1e6,
        keep_source=keep_source,
        store=store,
    )


def adopt(desk: Desk, store: Store) -> None:
    """By a server that does nothing else: its uploader has not looked yet."""

    async def run() -> None:
        async with open_recorder(desk.data_dir, store=store) as recorder:
            assert await recorder.adopt("iv")

    asyncio.run(run())


def names(store: Store, folder: str) -> list[str]:
    try:
        return sorted(file.name for file in store.folder(folder).iterdir())
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("keep_source", [True, False])
def test_it_lies_beside_its_source_which_goes_if_the_policy_says_so(
    desk: Desk, store: Store, keep_source: bool
) -> None:
    source = recorded(desk)
    bring(desk, store)
    assert [path.name for path in desk.path().iterdir()] == [MANIFEST_NAME]
    make(desk, store, keep_source=keep_source)
    adopt(desk, store)
    before = names(store, "iv")
    assert before == ["00000.seg", MANIFEST_NAME]
    bring(desk, store)
    assert names(store, "iv.compressed") == ["00000.seg", MANIFEST_NAME]
    assert names(store, "iv") == (before if keep_source else [])
    assert doomed(desk.data_dir) == []
    assert [path.name for path in desk.path().iterdir()] == [MANIFEST_NAME]
    key = desk.keys.public_key
    for files in (store.folder("iv.compressed"), recording_files(desk.data_dir, "iv", store)):
        assert verify(files, key, desk.log).intact
    reader = open_reader(desk.data_dir, "iv", desk.keys, store)
    assert is_compressed(reader.manifest)
    assert reader.fragment(1)
    assert check_statement(desk.path(), key).source_root == source.root
    if keep_source:
        kept = StoredFolder(source_path(desk.data_dir, "iv"), store.folder("iv"))
        assert verify(kept, key, desk.log).intact


def test_an_interview_goes_on_in_what_was_made(desk: Desk, store: Store) -> None:
    recorded(desk)
    bring(desk, store)
    make(desk, store, keep_source=False)
    adopt(desk, store)
    bring(desk, store)
    desk.write(interview(start_s=START_S + 100))
    bring(desk, store)
    assert names(store, "iv.compressed") == ["00000.seg", "00001.seg", MANIFEST_NAME]
    assert verify(store.folder("iv.compressed"), desk.keys.public_key).intact
    assert open_reader(desk.data_dir, "iv", desk.keys, store).duration_us == 102_000_000


class Killed(BaseException):
    """Whoever brings files ends before the next step, or in the midst of it."""


class Mortal(LocalStore):
    """Ends its user at a step."""

    def __init__(self, path: Path, steps: int, *, after: bool) -> None:
        super().__init__(path)
        self._left, self._after = steps, after

    def put(self, recording: str, name: str, source: BinaryIO, size: int) -> None:
        self._step(lambda: LocalStore.put(self, recording, name, source, size))

    def remove(self, recording: str, name: str) -> None:
        self._step(lambda: LocalStore.remove(self, recording, name))

    def _step(self, call: Callable[[], None]) -> None:
        self._left -= 1
        if self._left or self._after:
            call()
        if not self._left:
            raise Killed


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory and a store, from where what was made has taken its place."""
    path = tmp_path_factory.mktemp("adopted")
    with pytest.MonkeyPatch.context() as patch:
        small.__wrapped__(patch)  # type: ignore[attr-defined]
        desk, store = Desk(path / "data"), LocalStore(path / "store")
        recorded(desk)
        bring(desk, store)
        make(desk, store, keep_source=False)
        adopt(desk, store)
    return path


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("steps", range(1, 5))
def test_a_kill_at_any_step_loses_nothing_and_the_next_one_goes_on(
    adopted: Path, tmp_path: Path, steps: int, after: bool
) -> None:
    for name in ("data", "store"):
        shutil.copytree(adopted / name, tmp_path / name)
    desk, store = Desk(tmp_path / "data"), LocalStore(tmp_path / "store")
    key = desk.keys.public_key
    with pytest.raises(Killed):
        bring(desk, Mortal(tmp_path / "store", steps, after=after))
    assert verify(recording_files(desk.data_dir, "iv", store), key, desk.log).intact
    if names(store, "iv") != ["00000.seg", MANIFEST_NAME]:
        assert verify(store.folder("iv.compressed"), key).intact, "the store has the other one"
    bring(desk, store)
    assert names(store, "iv") == []
    assert doomed(desk.data_dir) == []
    assert verify(store.folder("iv.compressed"), key, desk.log).intact


def test_nothing_takes_a_place_that_is_being_brought(desk: Desk, tmp_path: Path) -> None:
    """Else what the store gets as the source's segment would be another file of that name."""
    store = LocalStore(tmp_path / "store")
    recorded(desk)
    make(desk, store, keep_source=False)
    reached, go = threading.Event(), threading.Event()

    class Waiting(LocalStore):
        def put(self, recording: str, name: str, source: BinaryIO, size: int) -> None:
            reached.set()
            assert go.wait(30)
            super().put(recording, name, source, size)

    async def run(recorder: Recorder) -> None:
        assert recorder.uploader is not None
        bringing = asyncio.create_task(asyncio.to_thread(recorder.uploader.round))
        await asyncio.to_thread(reached.wait, 30)
        assert not await recorder.adopt("iv")
        go.set()
        await bringing
        assert await recorder.adopt("iv")

    async def served() -> None:
        async with open_recorder(desk.data_dir, store=Waiting(tmp_path / "store")) as recorder:
            await run(recorder)

    asyncio.run(served())
    bring(desk, store)
    assert names(store, "iv") == []
    assert verify(store.folder("iv.compressed"), desk.keys.public_key, desk.log).intact


def test_a_store_that_does_not_part_with_a_source_takes_recordings_all_the_same(
    adopted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("data", "store"):
        shutil.copytree(adopted / name, tmp_path / name)

    class Locked(LocalStore):
        def remove(self, recording: str, name: str) -> None:
            raise PermissionError("object lock")

    desk, store = Desk(tmp_path / "data"), Locked(tmp_path / "store")
    uploader = Uploader(desk.data_dir, store, desk.keys.public_key)
    for _ in range(2):
        uploader.round()
    assert names(store, "iv.compressed") == ["00000.seg", MANIFEST_NAME]
    assert names(store, "iv") == ["00000.seg", MANIFEST_NAME]
    assert caplog.text.count("object lock") == 1
    bring(desk, LocalStore(tmp_path / "store"))
    assert (names(store, "iv"), doomed(desk.data_dir)) == ([], [])


def test_a_source_stays_until_the_log_was_told_of_what_was_made(
    adopted: Path, tmp_path: Path
) -> None:
    for name in ("data", "store"):
        shutil.copytree(adopted / name, tmp_path / name)
    desk, store = Desk(tmp_path / "data"), LocalStore(tmp_path / "store")
    place = statement_of(desk.path())
    waiting = place.rename(statement_of(making_path(desk.data_dir, "iv")))  # as before that
    bring(desk, store)
    assert names(store, "iv.compressed") == ["00000.seg", MANIFEST_NAME]
    assert names(store, "iv") == ["00000.seg", MANIFEST_NAME]
    waiting.rename(place)
    bring(desk, store)
    assert (names(store, "iv"), doomed(desk.data_dir)) == ([], [])
