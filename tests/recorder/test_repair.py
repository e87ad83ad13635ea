"""`kill -9`, torn files and power cuts: what the next start makes of them."""

import fcntl
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from server.core.frames import Codec, Gap, GapCause, TrackName
from server.recorder.catalog.listing import list_recordings
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import State
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.keys.key_ring import open_keys
from server.recorder.replay.reader import open_reader
from server.recorder.stores.files import LocalFile, LocalFolder
from server.recorder.writing.repair import remove_leftovers, repair, repair_all
from tests.recorder.conftest import Desk, feed
from tests.recorder.encoded import BOTH, START_S, held_back, interview

ROOT = Path(__file__).parents[2]
#: What a kill may cost, by PRODUCT's R1.
LOST_S = 1.0


def _killed_after(lines: int, data_dir: Path, codec: Codec) -> float:
    """Record in a process, kill it after that many frames; capture time of the last one."""
    command = [sys.executable, "-m", "tests.recorder.kill_target", str(data_dir), codec.value]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        fed = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        fed += process.stdout.read().splitlines()
    return float(fed[-1])


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_loses_at_most_a_second(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    codec = chance.choice([Codec.H264, Codec.VP8])
    last_s = _killed_after(chance.randrange(100, 250), tmp_path, codec)
    keys = open_keys(tmp_path / "keys")
    path = tmp_path / "recordings" / "iv"
    before = verify(path, keys.public_key)
    assert (before.intact, before.state) == (True, State.RECORDING)
    assert list_recordings(tmp_path, keys)[0].state is State.INTERRUPTED
    assert repair_all(tmp_path, keys) == ["iv"]
    after = verify(path, keys.public_key)
    assert (after.intact, after.state) == (True, State.INTERRUPTED), after.faults
    assert after.started_s is not None
    assert last_s - (after.started_s + after.duration_s) < LOST_S
    reader = open_reader(tmp_path, "iv", keys)
    assert all(fragment.video or fragment.audio for _, fragment in reader.all_samples())


def test_repair_is_idempotent(desk: Desk) -> None:
    desk.write(interview(seconds=2), finish=False)
    assert repair(desk.path(), desk.keys)
    once = {file.name: file.read_bytes() for file in desk.path().iterdir()}
    assert not repair(desk.path(), desk.keys)
    assert {file.name: file.read_bytes() for file in desk.path().iterdir()} == once


def test_a_tail_torn_anywhere_is_cut_to_the_last_whole_fragment(desk: Desk, tmp_path: Path) -> None:
    desk.write(interview(seconds=2), finish=False)
    segment, manifest = desk.path() / "00000.seg", desk.path() / "manifest.json"
    whole, unrepaired = segment.read_bytes(), manifest.read_bytes()
    chance = random.Random(3)
    for size in [0, 1, 135, 136, 137, *(chance.randrange(len(whole)) for _ in range(40))]:
        segment.write_bytes(whole[:size])
        manifest.write_bytes(unrepaired)
        before = verify(desk.path(), desk.keys.public_key)
        assert before.intact, (size, before.faults)
        assert repair(desk.path(), desk.keys)
        after = verify(desk.path(), desk.keys.public_key)
        assert after.intact, (size, after.faults)
        assert after.fragments == before.fragments


def test_a_tail_of_zeros_after_a_power_cut_is_cut_off(desk: Desk) -> None:
    desk.write(interview(seconds=2), finish=False)
    segment = desk.path() / "00000.seg"
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-1000] + bytes(1000))
    assert repair(desk.path(), desk.keys)
    assert verify(desk.path(), desk.keys.public_key).intact


class _Volatile(LocalFolder):
    """A disk that remembers what was synced; the rest is lost with the power."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._at = path
        self.files: list[_VolatileFile] = []

    def create(self, name: str) -> "_VolatileFile":
        self.files.append(_VolatileFile(self._at / name))
        return self.files[-1]

    def lose_power(self) -> None:
        for file in self.files:
            if file.synced is None:
                file.at.unlink()
            else:
                os.truncate(file.at, file.synced)


class _VolatileFile(LocalFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.at = path
        self.synced: int | None = None

    def sync(self) -> None:
        super().sync()
        self.synced = self.at.stat().st_size


@pytest.mark.parametrize("seed", range(8))
def test_a_power_cut_costs_nothing_that_was_synced(seed: int, desk: Desk) -> None:
    frames = interview(Codec.VP8, 12)
    stop = random.Random(seed).randrange(len(frames))
    disks: list[_Volatile] = []

    def folder_at(path: Path) -> LocalFolder:
        disks.append(_Volatile(path))
        return disks[0]

    writer = desk.writer(folder_at=folder_at)
    writer.sync()
    acknowledged = 0
    for index, frame in enumerate(frames[:stop]):
        writer.write(frame)
        if index % 23 == 22:
            writer.sync()
            acknowledged = desk.metrics.fragments_written
    disks[0].lose_power()
    repair(desk.path(), desk.keys)
    report = verify(desk.path(), desk.keys.public_key)
    assert report.intact, report.faults
    assert report.fragments >= acknowledged
    assert len(list(desk.reader().all_samples())) == report.fragments


def test_a_change_in_the_middle_is_kept_as_evidence_instead_of_cut_off(desk: Desk) -> None:
    desk.write(interview(seconds=3), finish=False)
    segment = desk.path() / "00000.seg"
    data = bytearray(segment.read_bytes())
    data[2000] ^= 1
    segment.write_bytes(data)
    with pytest.raises(SegmentError) as caught:
        repair(desk.path(), desk.keys)
    assert caught.value.kind is FaultKind.TAMPERED
    assert segment.read_bytes() == data
    assert repair_all(desk.data_dir, desk.keys) == []


def test_gaps_and_events_written_before_the_crash_survive_it(desk: Desk) -> None:
    writer = desk.writer()
    writer.note_event("joined", 1_760_000_000_000_000)
    writer.sync()
    feed(writer, interview(seconds=1))
    gap = Gap(TrackName.CAMERA, START_S + 1.0, START_S + 1.2, GapCause.PACKETS_LOST, 7)
    writer.note_gap(gap)
    writer.note_event("disconnected", 1_760_000_001_200_000)
    feed(writer, interview(seconds=2, start_s=START_S + 1.2))
    assert repair(desk.path(), desk.keys)
    index = desk.reader().describe()
    assert [event.event for event in index.events] == ["joined", "disconnected"]
    assert [(gap.track, gap.cause, gap.lost) for gap in index.gaps] == [
        (TrackName.CAMERA, GapCause.PACKETS_LOST, 7)
    ]


def test_the_interview_goes_on_in_the_same_recording_with_the_gap_declared(desk: Desk) -> None:
    desk.write(interview(seconds=2), finish=False)
    repair(desk.path(), desk.keys)
    kept_s = desk.reader().describe().duration_s
    desk.write(interview(seconds=2, start_s=START_S + 9))
    index = desk.reader().describe()
    assert index.state is State.FINISHED
    assert index.duration_s == pytest.approx(11.0, abs=0.001)
    assert [gap.track for gap in index.gaps] == list(BOTH)
    for gap in index.gaps:
        assert (gap.start_s, gap.end_s) == pytest.approx((kept_s, 9.0), abs=0.001)
        assert gap.cause is GapCause.SERVER_RESTART
    assert verify(desk.path(), desk.keys.public_key).intact


@pytest.mark.parametrize("goes_on", [True, False])
def test_sound_that_was_waited_for_is_in_the_gap(goes_on: bool, desk: Desk) -> None:
    """A packet was lost at 2.2 s, and a crash comes before the sound behind it can be written."""
    frames = [
        frame
        for frame in held_back(interview(Codec.VP8, 6.0), 2.2, 2.0)
        if frame.capture_s < START_S + (2.2 if frame.track.is_sound else 3.9)
    ]
    desk.write(frames, finish=False)
    assert repair(desk.path(), desk.keys)
    if goes_on:
        desk.write(interview(Codec.VP8, 2.0, START_S + 9))
    index = desk.reader().describe()
    told = {gap.track: (gap.cause, gap.start_s, gap.end_s) for gap in index.gaps}
    assert len(told) == len(index.gaps) == (2 if goes_on else 1)
    cause, start_s, end_s = told[TrackName.MICROPHONE]
    assert cause is GapCause.SERVER_RESTART
    assert start_s == pytest.approx(2.2, abs=0.03)
    assert end_s == pytest.approx(9.0 if goes_on else index.duration_s, abs=0.001)
    assert end_s > 3.0
    assert verify(desk.path(), desk.keys.public_key).intact


def test_what_was_half_written_is_removed_unless_somebody_writes_it(desk: Desk) -> None:
    desk.seal()
    places = ("recordings/.iv.manifest.json", "keys/.keys.signing-next.key", "log/.checkpoint")
    leftovers = [desk.data_dir / f"{name}.tmp" for name in (*places, "log/tile/0/000.p/.7")]
    for path in leftovers:
        path.write_bytes(b"half")
    with leftovers[0].open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        remove_leftovers(desk.data_dir)
        assert [path.exists() for path in leftovers] == [True, False, False, False]
    remove_leftovers(desk.data_dir)
    assert not leftovers[0].exists()
