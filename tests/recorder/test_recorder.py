"""The recorder of a process: its thread, its queue, its promises to the event loop."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from server.core.frames import Codec, Gap, GapCause, TrackName
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import Manifest, State
from server.recorder.keys.key_database import KeyDatabase
from server.recorder.keys.key_services import VaultRootKey
from server.recorder.keys.root_key import KeyProblem, RootKey
from server.recorder.keys.root_keys import open_root_key
from server.recorder.recorder import REOPEN_S, Recorder, open_recorder
from server.recorder.stores.files import LocalFolder
from server.recorder.writing.recording import Recording
from server.recorder.writing.witness import Witness
from tests.recorder.conftest import POLICY
from tests.recorder.encoded import START_S, interview
from tests.recorder.open_bao import open_bao
from tests.recorder.soft_token import soft_token


def _recording_path(data_dir: Path, interview_id: str = "iv") -> Path:
    return data_dir / "recordings" / interview_id


def _refuse_faults(message: str) -> None:
    raise AssertionError(message)


async def _until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the writer thread has made ``condition`` true."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.to_thread(lambda: None)


async def test_what_is_recorded_is_listed_read_and_verified(tmp_path: Path) -> None:
    async with open_recorder(tmp_path) as recorder:
        recording = recorder.record("iv", "Ada", POLICY, _refuse_faults)
        recording.mark("joined", START_S)
        for frame in interview(seconds=2):
            recording.on_frame(frame)
        recording.on_gap(Gap(TrackName.CAMERA, START_S, START_S + 1, GapCause.PACKETS_LOST, 3))
        recording.mark("left", START_S + 2)
        await recording.close()
        (summary,) = await asyncio.to_thread(recorder.list)
        assert (summary.interview_id, summary.title, summary.state) == ("iv", "Ada", "finished")
        assert (summary.started_s, summary.gaps) == (START_S, 1)
        assert summary.duration_s == pytest.approx(2.0, abs=0.001)
        index = await asyncio.to_thread(lambda: recorder.reader("iv").describe())
        assert [(event.event, event.at_s) for event in index.events] == [("joined", 0), ("left", 2)]
        assert recorder.metrics.fragments_written == len(index.fragments)
        assert (
            recorder.metrics.bytes_written
            == (_recording_path(tmp_path) / "00000.seg").stat().st_size
        )
        assert recorder.metrics.fsyncs >= 2
        report = await asyncio.to_thread(verify, _recording_path(tmp_path), recorder.public_key)
        assert report.intact


async def test_many_recordings_share_the_thread(tmp_path: Path) -> None:
    async with open_recorder(tmp_path) as recorder:
        recordings = [recorder.record(f"iv{n}", "t", POLICY, _refuse_faults) for n in range(10)]
        for frame in interview(Codec.VP8, seconds=1):
            for recording in recordings:
                recording.on_frame(frame)
        await asyncio.gather(*(recording.close() for recording in recordings))
        summaries = await asyncio.to_thread(recorder.list)
    assert [summary.duration_s for summary in summaries] == pytest.approx([1.0] * 10, abs=0.001)


async def test_a_running_recording_reads_up_to_its_last_fragment(tmp_path: Path) -> None:
    async with open_recorder(tmp_path) as recorder:
        recording = recorder.record("iv", "t", POLICY, _refuse_faults)
        for frame in interview(seconds=2):
            recording.on_frame(frame)
        await _until(lambda: recorder.metrics.fsyncs >= 2)  # the manifest, the first fragments
        reader = await asyncio.to_thread(recorder.reader, "iv")
        index = await asyncio.to_thread(reader.describe)
        assert index.state is State.RECORDING
        assert index.duration_s >= 1.0, "all but the last, which may still be filled"
        assert len(await asyncio.to_thread(reader.fragment, 1)) > 1000
        (summary,) = await asyncio.to_thread(recorder.list)
        assert summary.state is State.RECORDING
        await recording.close()
        after = await asyncio.to_thread(reader.describe)
        assert after.state is State.FINISHED
        assert after.duration_s == pytest.approx(2.0, abs=0.001)


async def test_what_no_further_frame_completes_is_on_the_disk_soon_all_the_same(
    tmp_path: Path,
) -> None:
    """A candidate whose line is cut off has nothing at stake for as long as it takes."""
    async with open_recorder(tmp_path) as recorder:
        recording = recorder.record("iv", "t", POLICY, _refuse_faults)
        for frame in interview(seconds=0.25):
            recording.on_frame(frame)
        await _until(lambda: recorder.metrics.fragments_written > 0)
        await _until(lambda: recorder.metrics.fsyncs >= 2)
        (summary,) = await asyncio.to_thread(recorder.list)
        assert summary.duration_s == pytest.approx(0.25, abs=0.04)
        await recording.close()


async def test_verifying_and_reading_while_it_runs_raise_no_false_alarm(tmp_path: Path) -> None:
    frames = iter(interview(Codec.VP8, 12))
    async with open_recorder(tmp_path) as recorder:
        recording = recorder.record("iv", "t", POLICY, _refuse_faults)
        recording.on_frame(next(frames))
        await _until((_recording_path(tmp_path) / "manifest.json").exists)
        seen_s = 0.0
        while batch := list(islice(frames, 20)):
            for frame in batch:
                recording.on_frame(frame)
            report = await asyncio.to_thread(verify, _recording_path(tmp_path), recorder.public_key)
            assert report.intact, report.faults
            index = await asyncio.to_thread(lambda: recorder.reader("iv").describe())
            assert index.duration_s >= seen_s
            seen_s = index.duration_s
        await recording.close()


async def test_leaving_the_context_closes_what_is_open(tmp_path: Path) -> None:
    async with open_recorder(tmp_path) as recorder:
        recording = recorder.record("iv", "t", POLICY, _refuse_faults)
        for frame in interview(seconds=1):
            recording.on_frame(frame)
    async with open_recorder(tmp_path) as recorder:
        (summary,) = await asyncio.to_thread(recorder.list)
    assert summary.state is State.FINISHED
    await recording.close()  # idempotent


async def test_a_second_recording_of_a_running_interview_is_refused(tmp_path: Path) -> None:
    async with open_recorder(tmp_path) as recorder:
        first = recorder.record("iv", "t", POLICY, _refuse_faults)
        with pytest.raises(ValueError, match="already"):
            recorder.record("iv", "t", POLICY, _refuse_faults)
        closing = asyncio.create_task(first.close())
        await asyncio.sleep(0)
        second = recorder.record("iv", "t", POLICY, _refuse_faults)  # waits for the first one's end
        for frame in interview(seconds=1):
            second.on_frame(frame)
        await asyncio.gather(closing, second.close())
        assert (await asyncio.to_thread(recorder.list))[0].state is State.FINISHED


async def test_an_interview_that_goes_on_waits_for_a_recording_that_is_still_being_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a key service answers late: two writers would make two recordings of one folder."""
    prepare, answers = Recorder._prepare, threading.Event()

    def late(recorder: Recorder, recording: Recording) -> tuple[Manifest, bytes]:
        if recording.title == "first":
            answers.wait()
        return prepare(recorder, recording)

    monkeypatch.setattr(Recorder, "_prepare", late)
    async with open_recorder(tmp_path) as recorder:
        try:
            first = recorder.record("iv", "first", POLICY, _refuse_faults)
            for frame in interview(seconds=1):
                first.on_frame(frame)
            closing = asyncio.create_task(first.close())
            await asyncio.sleep(0)
            second = recorder.record("iv", "second", POLICY, _refuse_faults)
            for frame in interview(seconds=1, start_s=START_S + 5):
                second.on_frame(frame)
            await _record_a_second(recorder, "other")  # the writer's thread has looked at all
        finally:
            answers.set()
        await asyncio.gather(closing, second.close())
        report = await asyncio.to_thread(verify, _recording_path(tmp_path), recorder.public_key)
    assert (report.intact, report.segments) == (True, 2), report.faults
    assert report.duration_s == pytest.approx(6.0, abs=0.001)


@pytest.mark.parametrize("interview_id", ["", "../x", "a/b", ".hidden", "x" * 65])
async def test_an_id_that_is_no_file_name_is_refused(tmp_path: Path, interview_id: str) -> None:
    async with open_recorder(tmp_path) as recorder:
        with pytest.raises(ValueError, match="interview id"):
            recorder.record(interview_id, "t", POLICY, _refuse_faults)


class _Broken(LocalFolder):
    def replace(self, name: str, data: bytes) -> None:
        raise RuntimeError("a bug")


async def test_a_bug_in_one_recording_is_told_and_stops_no_other(tmp_path: Path) -> None:
    faults: list[str] = []

    def folder_at(path: Path) -> LocalFolder:
        return _Broken(path) if path.name == "bad" else LocalFolder(path)

    async with open_recorder(tmp_path, folder_at=folder_at) as recorder:
        bad = recorder.record("bad", "t", POLICY, faults.append)
        good = recorder.record("good", "t", POLICY, _refuse_faults)
        for frame in interview(seconds=1):
            bad.on_frame(frame)
            good.on_frame(frame)
        await asyncio.gather(bad.close(), good.close())
    assert faults == ["recording failed: a bug"]
    report = await asyncio.to_thread(verify, _recording_path(tmp_path, "good"), recorder.public_key)
    assert report.intact


async def test_a_bug_in_the_log_stops_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_recorder(tmp_path) as recorder:
        monkeypatch.setattr(Witness, "tell", lambda *_: 1 / 0)
        await _record_a_second(recorder)
        (summary,) = await asyncio.to_thread(recorder.list)
    assert summary.state is State.FINISHED
    assert "the log of recordings failed" in caplog.text


async def test_a_folder_that_cant_be_made_is_told_once_and_when_it_can(tmp_path: Path) -> None:
    faults: list[str] = []
    async with open_recorder(tmp_path) as recorder:
        _recording_path(tmp_path).write_text("in the way")
        recording = recorder.record(
            "iv", "t", POLICY, faults.append, lambda: faults.append("mended")
        )
        await _until(lambda: recorder.metrics.write_failures >= 2)
        assert len(faults) == 1
        _recording_path(tmp_path).unlink()  # now it can
        await _until(lambda: faults[1:] == ["mended"])
        for frame in interview(seconds=1):
            recording.on_frame(frame)
        await recording.close()
        assert (await asyncio.to_thread(recorder.list))[0].state is State.FINISHED


async def test_what_can_not_be_opened_is_tried_again_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key service is asked each time, of each recording."""
    tried: list[float] = []

    def refuse(recorder: Recorder, recording: Recording) -> None:
        tried.append(time.monotonic())
        raise KeyProblem("no")

    async with open_recorder(tmp_path) as recorder:
        monkeypatch.setattr(Recorder, "_prepare", refuse)
        faults: list[str] = []
        recording = recorder.record("iv", "t", POLICY, faults.append)
        await _until(lambda: len(tried) >= 3)
        await recording.close()
    assert faults[0] == "the recording can't be opened: no"
    assert min(after - before for before, after in pairwise(tried)) >= REOPEN_S


class _RefusesTheLast(LocalFolder):
    def replace(self, name: str, data: bytes) -> None:
        if b'"state":"finished"' in data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().replace(name, data)


async def test_an_interview_goes_on_after_its_last_manifest_was_refused(tmp_path: Path) -> None:
    faults: list[str] = []
    folders = iter([_RefusesTheLast, LocalFolder])
    async with open_recorder(tmp_path, folder_at=lambda path: next(folders)(path)) as recorder:
        for start_s in (START_S, START_S + 1):
            recording = recorder.record("iv", "t", POLICY, faults.append)
            for frame in interview(seconds=1, start_s=start_s):
                recording.on_frame(frame)
            await recording.close()
        report = await asyncio.to_thread(verify, _recording_path(tmp_path), recorder.public_key)
    assert faults == ["writing the manifest failed: No space left on device"]
    assert (report.intact, report.state) == (True, State.FINISHED)
    assert report.duration_s == pytest.approx(2.0, abs=0.001)


async def test_two_processes_cant_record_into_one_directory(tmp_path: Path) -> None:
    async with open_recorder(tmp_path):
        with pytest.raises(RuntimeError, match="another process"):
            async with open_recorder(tmp_path):
                pass


async def test_a_destroyed_key_leaves_evidence_and_nothing_else(tmp_path: Path) -> None:
    async with open_recorder(tmp_path) as recorder:
        await _record_a_second(recorder)
        database = await asyncio.to_thread(KeyDatabase, tmp_path / "keys" / "keys.sqlite")
        assert await asyncio.to_thread(database.destroy, "iv", 1)
        with pytest.raises(KeyProblem, match="destroyed"):
            await asyncio.to_thread(recorder.reader, "iv")
        (summary,) = await asyncio.to_thread(recorder.list)
        assert summary.title == ""
        report = await asyncio.to_thread(verify, _recording_path(tmp_path), recorder.public_key)
        assert report.intact, "no content key is needed to verify"


class Service(NamedTuple):
    """A root key elsewhere, and how it goes away and comes back."""

    root: RootKey
    leave: Callable[[], object]
    return_: Callable[[], object]


@contextmanager
def _vault(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Service]:
    with open_bao(folder) as bao:
        patch.setenv("VAULT_TOKEN", bao.token)
        yield Service(VaultRootKey("interviews", bao.address), bao.seal, bao.unseal)


@contextmanager
def _token(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Service]:
    with soft_token(folder, patch) as token:
        token.make_key()
        root = open_root_key(token.name, folder, token.env)
        yield Service(root, token.take_out, token.put_back)


@pytest.mark.parametrize("service", [_vault, _token])
@pytest.mark.may_block("it starts and stops the key service")
async def test_a_key_service_that_is_away_delays_a_recording_and_loses_nothing_of_it(
    service: Callable[..., AbstractContextManager[Service]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults: list[str] = []
    mended = asyncio.Event()
    with service(tmp_path, monkeypatch) as (root, leave, return_):
        async with open_recorder(tmp_path, root) as recorder:
            await _record_a_second(recorder, "other")
            leave()
            failed = asyncio.Event()

            def on_fault(message: str) -> None:
                faults.append(message)
                failed.set()

            recording = recorder.record("iv", "t", POLICY, on_fault, mended.set)
            for frame in interview(seconds=1):
                recording.on_frame(frame)
            await failed.wait()
            (other,) = await asyncio.to_thread(recorder.list)
            assert other.title == "t", "whose key is known already"
            return_()
            await mended.wait()
            await recording.close()
            reader = await asyncio.to_thread(recorder.reader, "iv")
            assert reader.describe().duration_s == pytest.approx(1.0, abs=0.001)
            assert reader.describe().gaps == ()
    assert [message[:31] for message in faults] == ["the recording can't be opened: "]


async def test_a_key_database_that_is_away_delays_a_recording_and_is_not_made_anew(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    database, kept = tmp_path / "keys" / "keys.sqlite", tmp_path / "kept.sqlite"
    async with open_recorder(tmp_path) as recorder:
        await _record_a_second(recorder, "other")
        database.rename(kept)
        recording = recorder.record("iv", "t", POLICY, told.append, lambda: told.append("mended"))
        for frame in interview(seconds=1):
            recording.on_frame(frame)
        await _until(lambda: told != [])
        assert "keys.sqlite is missing: put its newest backup back" in told[0]
        assert not database.exists()
        kept.rename(database)
        await _until(lambda: told[1:] == ["mended"])
        await recording.close()
        summaries = await asyncio.to_thread(recorder.list)
    assert [summary.title for summary in summaries] == ["t", "t"], "both keys open"
    assert [each.duration_s for each in summaries] == pytest.approx([1.0] * 2, abs=0.001)
    assert [each.gaps for each in summaries] == [0, 0]


async def _record_a_second(recorder: Recorder, interview_id: str = "iv") -> None:
    recording = recorder.record(interview_id, "t", POLICY, _refuse_faults)
    for frame in interview(seconds=1):
        recording.on_frame(frame)
    await recording.close()


async def test_a_recording_that_does_not_exist_is_a_key_error(tmp_path: Path) -> None:
    async with open_recorder(tmp_path) as recorder:
        with pytest.raises(KeyError):
            await asyncio.to_thread(recorder.reader, "nobody")
