"""What is closed goes into the store, what is not there yet stays, and all of it is read."""

import asyncio
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, ClassVar

import pytest
from msgspec.structs import replace

from server.recorder import uploader as uploader_module
from server.recorder.catalog.listing import list_recordings
from server.recorder.catalog.recordings import recording_files
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import State, decode_manifest, encode_manifest
from server.recorder.recorder import open_recorder
from server.recorder.replay.reader import open_reader
from server.recorder.stores.s3 import S3Store, open_s3_folder
from server.recorder.stores.store import LocalStore, Readable, Store
from server.recorder.uploader import Uploader
from server.recorder.writing.repair import repair_all
from tests.recorder.conftest import POLICY, Desk, feed
from tests.recorder.encoded import interview
from tests.recorder.faulty_path import FaultyPath
from tests.recorder.test_store import bucket


class Listening(LocalStore):
    """Tells what was put, in order; refuses what it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.put_names: list[str] = []
        self.refuses: Callable[[str], bool] = lambda name: False
        self.on_finished: Callable[[], object] = lambda: None

    def put(self, recording: str, name: str, source: BinaryIO, size: int) -> None:
        if self.refuses(name):
            raise OSError(5, "the store is away")
        super().put(recording, name, source, size)
        self.put_names.append(name)
        if b'"state":"finished"' in (self.folder(recording) / name).read_bytes():
            self.on_finished()


@pytest.fixture
def store(tmp_path: Path) -> Listening:
    return Listening(tmp_path / "store")


def uploader(desk: Desk, store: Store) -> Uploader:
    return Uploader(desk.data_dir, store, desk.keys.public_key)


def here(desk: Desk) -> list[str]:
    return sorted(path.name for path in desk.path().iterdir())


def test_closed_segments_go_first_then_the_manifest_and_are_here_no_more(
    desk: Desk, store: Listening
) -> None:
    desk.write(interview(seconds=25))
    before = open_reader(desk.data_dir, "iv", desk.keys).describe()
    moved = uploader(desk, store)
    moved.round()
    assert store.put_names == ["00000.seg", "00001.seg", "00002.seg", "manifest.json"]
    assert here(desk) == ["manifest.json"]
    assert moved.metrics.waiting_bytes == 0
    reader = open_reader(desk.data_dir, "iv", desk.keys, store)
    assert replace(reader.describe(), revision=before.revision) == before
    assert reader.fragment(1)
    files = recording_files(desk.data_dir, "iv", store)
    assert verify(files, desk.keys.public_key).intact
    assert verify(store.folder("iv"), desk.keys.public_key).intact, "without the data directory"
    (summary,) = list_recordings(desk.data_dir, desk.keys)
    stored = sum(len(file.read_bytes()) for file in store.folder("iv").iterdir())
    assert summary.bytes == stored


def test_after_a_start_only_what_differs_is_sent(desk: Desk, store: Listening) -> None:
    for interview_id in ("one", "two", "iv"):
        desk.write(interview(seconds=3), interview_id=interview_id)
        (desk.path(interview_id) / "manifest.tsr").write_bytes(b"stamp")
    uploader(desk, store).round()
    store.put_names.clear()
    desk.write(interview(seconds=3, start_s=1_760_000_100))
    (desk.path("two") / "manifest.tsr").write_bytes(b"stam2")
    store.remove("one", "manifest.json")
    again = uploader(desk, store)
    again.round()
    again.round()
    assert store.put_names == ["00001.seg", "manifest.json", "manifest.json", "manifest.tsr"]
    assert again.metrics.files == 4
    for interview_id in ("one", "two", "iv"):
        assert verify(store.folder(interview_id), desk.keys.public_key).intact


def test_what_is_being_written_stays(desk: Desk, store: Listening) -> None:
    writer = desk.write(interview(seconds=15), finish=False)
    moved = uploader(desk, store)
    moved.round()
    assert store.put_names == ["00000.seg", "manifest.json"]
    assert here(desk) == ["00001.seg", "manifest.json"]
    reader = open_reader(desk.data_dir, "iv", desk.keys, store)
    assert reader.describe().state is State.RECORDING
    assert reader.describe().duration_s >= 14, "but for what may still change"
    writer.finish()
    moved.round()
    moved.round()
    assert store.put_names[2:] == ["00001.seg", "manifest.json"], "each once"
    assert verify(store.folder("iv"), desk.keys.public_key).intact


def test_a_recording_goes_on_after_its_segments_went(desk: Desk, store: Listening) -> None:
    desk.write(interview(seconds=3))
    moved = uploader(desk, store)
    moved.round()
    desk.write(interview(seconds=3, start_s=1_760_000_100))
    moved.round()
    assert verify(store.folder("iv"), desk.keys.public_key).segments == 2
    assert verify(store.folder("iv"), desk.keys.public_key).intact


def test_a_crash_is_repaired_after_segments_went(desk: Desk, store: Listening) -> None:
    writer = desk.writer()
    writer.sync()
    feed(writer, interview(seconds=15))
    uploader(desk, store).round()
    assert repair_all(desk.data_dir, desk.keys) == ["iv"]
    uploader(desk, store).round()
    report = verify(store.folder("iv"), desk.keys.public_key)
    assert (report.intact, report.state, report.segments) == (True, State.INTERRUPTED, 2)


@pytest.mark.parametrize("refused", ["00000.seg", "00001.seg", "manifest.json"])
def test_what_the_store_refuses_stays_here_and_is_caught_up(
    desk: Desk, store: Listening, refused: str
) -> None:
    desk.write(interview(seconds=25))
    names = here(desk)
    moved = uploader(desk, store)
    store.refuses = lambda name: name == refused
    with pytest.raises(OSError, match="away"):
        moved.round()
    assert here(desk) == names, "no manifest in the store lists them yet"
    assert moved.metrics.waiting_bytes > 1000
    files = recording_files(desk.data_dir, "iv", store)
    assert verify(files, desk.keys.public_key).intact
    store.refuses = lambda name: False
    moved.round()
    assert here(desk) == ["manifest.json"]
    assert verify(store.folder("iv"), desk.keys.public_key).intact


def test_bytes_that_a_failed_write_left_are_not_stored(desk: Desk, store: Listening) -> None:
    desk.write(interview(seconds=3))
    with (desk.path() / "00000.seg").open("ab") as file:
        file.write(b"torn")
    uploader(desk, store).round()
    assert verify(store.folder("iv"), desk.keys.public_key).intact


def test_a_recording_that_is_not_authentic_is_left_as_it_is(
    desk: Desk, store: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    desk.write(interview(seconds=3))
    manifest = desk.path() / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"finished", b"recording"))
    (desk.path() / "manifest.tsr").write_bytes(b"stamp")
    (desk.data_dir / "sources").mkdir()
    for doomed in ("iv", "removed"):
        (desk.data_dir / "sources" / f"{doomed}.doomed").touch()
    moved = uploader(desk, store)
    moved.round()
    moved.round()
    assert store.put_names == []
    assert caplog.text.count("is not stored") == 1


def test_after_a_start_no_more_than_one_manifest_is_in_memory(desk: Desk, store: Listening) -> None:
    desk.write(interview(seconds=1))
    path, key = desk.path() / "manifest.json", desk.keys.public_key
    one = decode_manifest(path.read_bytes(), key)
    three_hours = replace(one, segments=one.segments * 1000)
    for number in range(40):
        folder = desk.path(f"iv{number}")
        folder.mkdir()
        changed = replace(three_hours, interview=folder.name)
        (folder / path.name).write_bytes(encode_manifest(changed, desk.keys.signer))
    tracemalloc.start()
    try:
        uploader(desk, store).round()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(store.put_names) == 42
    size = (desk.path("iv0") / path.name).stat().st_size
    assert most < 10 * size, "in JSON, as structs, and in between"


def test_whatever_hinders_it_is_tried_again(
    desk: Desk, store: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    class Stop(threading.Event):
        pauses: ClassVar[list[float]] = []

        def wait(self, timeout: float | None = None) -> bool:
            self.pauses.append(timeout or 0)
            return len(self.pauses) == 4

    def confused(name: str) -> bool:
        if len(Stop.pauses) < 3:
            raise ValueError("nobody foresaw this")
        return False

    desk.write(interview(seconds=3))
    store.refuses = confused
    uploader(desk, store).run(Stop())
    assert Stop.pauses == [2, 4, 8, 2]
    assert store.put_names == ["00000.seg", "manifest.json"]
    assert "nobody foresaw this" in caplog.text


def test_stopping_does_not_wait_for_all_of_it(desk: Desk, store: Listening) -> None:
    desk.write(interview(seconds=25))
    answers = iter([False, True])
    uploader(desk, store).round(lambda: next(answers))
    assert store.put_names == ["00000.seg"]


def test_failures_are_waited_for_longer_and_longer_and_logged_once(
    desk: Desk, store: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    class Stop(threading.Event):
        def __init__(self) -> None:
            super().__init__()
            self.pauses: list[float] = []

        def wait(self, timeout: float | None = None) -> bool:
            self.pauses.append(timeout or 0)
            store.refuses = lambda name: len(self.pauses) < 8
            return len(self.pauses) == 10

    desk.write(interview(seconds=3))
    moved, stop = uploader(desk, store), Stop()
    caplog.set_level("INFO")
    moved.run(stop)
    assert stop.pauses == [2, 4, 8, 16, 32, 60, 60, 60, 2, 2]
    assert moved.metrics.failures == 7
    assert caplog.text.count("stay here") == caplog.text.count("again") == 1


def test_it_is_behind_until_the_store_has_all_that_was_closed(desk: Desk, store: Listening) -> None:
    behind: list[bool] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            behind.append(moved.behind_s() > 0)
            store.refuses = lambda name: name == "00001.seg" and len(behind) < 3
            return len(behind) == 4

    desk.write(interview(seconds=25))
    moved = uploader(desk, store)
    moved.run(Stop())
    assert behind == [False, True, True, False]


def test_it_is_behind_while_a_store_hangs(desk: Desk, store: Listening) -> None:
    desk.write(interview(seconds=3))
    moved, stop = uploader(desk, store), threading.Event()
    found: list[float] = []

    def hang(name: str) -> bool:
        stop.set()
        found.append(moved.behind_s())
        return False

    store.refuses = hang
    stop.wait = lambda timeout=None: stop.is_set()  # type: ignore[method-assign]
    moved.run(stop)
    assert found[0] > 0


def test_a_time_stamp_goes_after_its_manifest_whenever_it_comes(
    desk: Desk, store: Listening
) -> None:
    desk.write(interview(seconds=3))
    moved, stamp = uploader(desk, store), desk.path() / "manifest.tsr"
    moved.round()
    assert store.put_names == ["00000.seg", "manifest.json"]
    for number, content in enumerate((b"first", b"of what went on"), 1):
        stamp.write_bytes(content)
        os.utime(stamp, ns=(number, number))
        moved.round()
        moved.round()
        assert store.put_names[2:] == ["manifest.tsr"] * number, "each once"
        assert (store.folder("iv") / "manifest.tsr").read_bytes() == content
    assert stamp.is_file(), "it stays here beside its manifest"


def test_a_time_stamp_that_the_store_refuses_is_brought_later(desk: Desk, store: Listening) -> None:
    desk.write(interview(seconds=3))
    (desk.path() / "manifest.tsr").write_bytes(b"stamp")
    moved = uploader(desk, store)
    store.refuses = lambda name: name == "manifest.tsr"
    with pytest.raises(OSError, match="away"):
        moved.round()
    assert store.put_names == ["00000.seg", "manifest.json"]
    store.refuses = lambda name: False
    moved.round()
    assert store.put_names == ["00000.seg", "manifest.json", "manifest.tsr"]


# ---- S3 ---------------------------------------------------------------------------------


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyPath]:
    with bucket(monkeypatch) as made:
        yield made


def test_a_bucket_holds_ciphertext_and_manifests_alone(desk: Desk, path: FaultyPath) -> None:
    desk.write(interview(seconds=12))
    key = desk.keys.recording_key("iv", bytes.fromhex(desk.reader().manifest.recording))
    store = S3Store("recordings", "p")
    uploader(desk, store).round()
    content = {file.name: file.read_bytes() for file in store.folder("iv").iterdir()}
    assert list(content) == ["00000.seg", "00001.seg", "manifest.json"]
    for data in content.values():
        for secret in (key, key.hex().encode(), b"moof", b"avcC", b"A title"):
            assert secret not in data
    assert verify(open_s3_folder("recordings", "p/iv"), desk.keys.public_key).intact


def test_a_bucket_that_fails_at_random_gets_everything_once_it_does_not(
    desk: Desk, path: FaultyPath
) -> None:
    desk.write(interview(seconds=25))
    store = S3Store("recordings", "p")
    harms = iter(["500", "cut", None, "cut", "500", None, "500", "500", "cut", "cut"] * 3)
    path.harm = lambda request: next(harms, None)
    moved, failures = uploader(desk, store), 0
    while here(desk) != ["manifest.json"]:
        assert verify(recording_of(desk, path, store), desk.keys.public_key).intact
        try:
            moved.round()
        except OSError:
            failures += 1
    assert failures > 0
    assert verify(store.folder("iv"), desk.keys.public_key).intact


def recording_of(desk: Desk, path: FaultyPath, store: Store) -> Readable:
    """While the path does harm, what is here must do: no segment may have gone yet."""
    missing = [name for name in ("00000.seg", "00001.seg", "00002.seg") if name not in here(desk)]
    assert missing == []
    return desk.path()


async def test_a_server_records_replays_and_verifies_over_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader_module, "POLL_S", 0.05)
    store, data_dir = Listening(tmp_path / "store"), tmp_path / "data"
    loop, finished = asyncio.get_running_loop(), asyncio.Event()
    store.on_finished = lambda: loop.call_soon_threadsafe(finished.set)
    async with open_recorder(data_dir, store=store) as recorder:
        recording = recorder.record("iv", "t", POLICY, lambda message: pytest.fail(message))
        for frame in interview(seconds=15):
            recording.on_frame(frame)
        await recording.close()
        await finished.wait()
    folder = data_dir / "recordings" / "iv"
    assert await asyncio.to_thread(_names, folder) == ["manifest.json"]
    async with open_recorder(data_dir, store=store) as recorder:
        reader = await asyncio.to_thread(recorder.reader, "iv")
        assert (await asyncio.to_thread(reader.describe)).duration_s == pytest.approx(15, abs=0.1)
        assert await asyncio.to_thread(reader.fragment, 3)
        files = await asyncio.to_thread(recorder.files, "iv")
        assert (await asyncio.to_thread(verify, files, recorder.public_key)).intact


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
