"""Whatever is done to a recording, `verify` says so; and it says nothing of intact ones."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from server.core.frames import Codec, TrackName
from server.recorder.catalog.recordings import read_manifest
from server.recorder.evidence.tlog import open_log, read_log
from server.recorder.evidence.verify import VerifyReport, verify
from server.recorder.format.manifest import EventEntry, Policy, State, encode_manifest
from server.recorder.format.sealing import FaultKind
from server.recorder.format.segments import index_records
from server.recorder.keys.key_ring import open_keys
from tests.recorder.conftest import POLICY, Desk, feed
from tests.recorder.encoded import START_S, interview


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Two finished recordings, each of two or three segments, and one that a crash cut."""
    desk = Desk(tmp_path_factory.mktemp("verify"))
    desk.write(interview(Codec.H264, 12.0), "iv")
    desk.write(interview(Codec.VP8, 2.0, START_S + 20), "iv")
    desk.write(interview(Codec.VP8, 12.0), "other")
    desk.write(interview(Codec.H264, 12.0), "cut", finish=False)
    return desk


@pytest.fixture
def copy(original: Desk, tmp_path: Path) -> Callable[[str], Path]:
    def copied(interview_id: str) -> Path:
        target = tmp_path / interview_id
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(original.path(interview_id), target))

    return copied


def _report(desk: Desk, path: Path) -> VerifyReport:
    return verify(path, desk.keys.public_key)


def test_intact_recordings_raise_no_alarm(original: Desk) -> None:
    for interview_id, state in [
        ("iv", State.FINISHED),
        ("other", State.FINISHED),
        ("cut", State.RECORDING),
    ]:
        report = _report(original, original.path(interview_id))
        assert (report.intact, report.state, report.faults) == (True, state, ())
        assert report.segments >= 2


def test_the_report_tells_what_was_verified(original: Desk) -> None:
    report = _report(original, original.path("iv"))
    assert report.interview_id == "iv"
    assert report.segments == 3
    assert report.duration_s == pytest.approx(22.0, abs=0.05)
    assert report.started_s == START_S
    assert report.gaps == 2


@pytest.mark.parametrize("interview_id", ["iv", "cut"])
def test_every_random_bit_flip_is_found_in_the_file_where_it_is(
    original: Desk, copy: Callable[[str], Path], interview_id: str
) -> None:
    path, chance = copy(interview_id), random.Random(interview_id)
    for file in sorted(path.iterdir()):
        data = file.read_bytes()
        for _ in range(60):
            at = chance.randrange(len(data))
            changed = bytearray(data)
            changed[at] ^= 1 << chance.randrange(8)
            file.write_bytes(changed)
            report = _report(original, path)
            torn = interview_id == "cut" and file.name == "00001.seg" and report.intact
            if torn:  # a changed length may look like a record that a crash cut off
                assert report.fragments < _report(original, original.path("cut")).fragments
                continue
            assert [fault.file for fault in report.faults][:1] == [file.name], at
        file.write_bytes(data)


def test_every_flip_of_a_header_byte_is_found(original: Desk, copy: Callable[[str], Path]) -> None:
    path = copy("iv")
    file = path / "00001.seg"
    data = file.read_bytes()
    for at in range(136 + 60):
        file.write_bytes(data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :])
        assert not _report(original, path).intact, at


def test_every_truncation_and_every_growth_is_found(
    original: Desk, copy: Callable[[str], Path]
) -> None:
    path, chance = copy("iv"), random.Random(5)
    for file in sorted(path.iterdir()):
        data = file.read_bytes()
        sizes = [0, 1, len(data) - 1, *(chance.randrange(len(data)) for _ in range(30))]
        for changed in [*(data[:size] for size in sizes), data + b"\0", data + data[-500:]]:
            file.write_bytes(changed)
            report = _report(original, path)
            assert [fault.file for fault in report.faults] == [file.name], len(changed)
        file.write_bytes(data)


def test_a_segment_that_was_blown_up_is_not_read_to_its_end(
    original: Desk, copy: Callable[[str], Path]
) -> None:
    path = copy("iv")
    os.truncate(path / "00000.seg", 1 << 40)  # of holes
    (fault,) = _report(original, path).faults
    assert (fault.kind, fault.file) == (FaultKind.TAMPERED, "00000.seg")


def test_a_cut_segment_is_called_truncated_with_the_time_that_is_lost(
    original: Desk, copy: Callable[[str], Path]
) -> None:
    path = copy("iv")
    file = path / "00000.seg"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (fault,) = _report(original, path).faults
    assert fault.kind is FaultKind.TRUNCATED
    assert fault.start_s is not None
    assert fault.end_s is not None
    assert 2.0 < fault.start_s < 8.0
    assert fault.end_s == pytest.approx(10.0, abs=1.0)
    assert "00000.seg" in str(fault)


def test_the_time_range_of_a_flipped_byte_is_its_fragments(
    original: Desk, copy: Callable[[str], Path]
) -> None:
    path = copy("iv")
    file = path / "00000.seg"
    data = bytearray(file.read_bytes())
    data[3 * len(data) // 4] ^= 1
    file.write_bytes(data)
    (fault,) = _report(original, path).faults
    assert fault.kind is FaultKind.TAMPERED
    assert fault.start_s is not None
    assert 5.0 < fault.start_s < 9.0


def test_a_dropped_segment_is_missing(original: Desk, copy: Callable[[str], Path]) -> None:
    for name in ("00000.seg", "00001.seg", "00002.seg"):
        path = copy("iv")
        (path / name).unlink()
        (fault,) = _report(original, path).faults
        assert (fault.kind, fault.file) == (FaultKind.MISSING, name)


def test_a_dropped_manifest_is_missing(original: Desk, copy: Callable[[str], Path]) -> None:
    path = copy("iv")
    (path / "manifest.json").unlink()
    (fault,) = _report(original, path).faults
    assert (fault.kind, fault.file) == (FaultKind.MISSING, "manifest.json")


def test_swapped_segments_are_out_of_order(original: Desk, copy: Callable[[str], Path]) -> None:
    path = copy("iv")
    one, other = path / "00000.seg", path / "00001.seg"
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    faults = _report(original, path).faults
    assert {fault.kind for fault in faults} == {FaultKind.REORDERED}
    assert [fault.file for fault in faults] == ["00000.seg", "00001.seg"]


def test_a_segment_of_another_recording_is_foreign(
    original: Desk, copy: Callable[[str], Path]
) -> None:
    for interview_id in ("iv", "cut"):
        path = copy(interview_id)
        shutil.copy(original.path("other") / "00001.seg", path / "00001.seg")
        (fault,) = _report(original, path).faults
        assert (fault.kind, fault.file) == (FaultKind.FOREIGN, "00001.seg")


def test_swapped_records_within_a_segment_are_out_of_order(
    original: Desk, copy: Callable[[str], Path]
) -> None:
    path = copy("cut")
    file = path / "00000.seg"
    with file.open("rb") as opened:
        records = list(index_records(opened, 136, file.stat().st_size))
    data = file.read_bytes()
    first, second = records[2], records[3]
    swapped = data[second.offset : second.end] + data[first.offset : first.end]
    file.write_bytes(data[: first.offset] + swapped + data[second.end :])
    (fault,) = _report(original, path).faults
    assert (fault.kind, fault.file) == (FaultKind.REORDERED, "00000.seg")


def test_a_changed_header_is_not_taken_for_another_segments(
    original: Desk, copy: Callable[[str], Path]
) -> None:
    """Nor are records that change places, or others', for a changed header."""
    path = copy("iv")
    file = path / "00001.seg"
    whole = file.read_bytes()
    for at in range(16, 136):  # recording_id, salt, ..., previous
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        (fault,) = _report(original, path).faults
        assert (fault.kind, fault.file) == (FaultKind.TAMPERED, "00001.seg"), at
    with file.open("rb") as opened:
        first, second, *_ = index_records(opened, 136, len(whole))
    swapped = whole[second.offset : second.end] + whole[first.offset : first.end]
    file.write_bytes(whole[:136] + swapped + whole[second.end :])
    (fault,) = _report(original, path).faults
    assert (fault.kind, fault.file) == (FaultKind.REORDERED, "00001.seg")


def test_a_file_that_nobody_listed_is_named(original: Desk, copy: Callable[[str], Path]) -> None:
    for name in ("00003.seg", "note.txt"):
        path = copy("iv")
        shutil.copy(path / "00000.seg", path / name)
        (fault,) = _report(original, path).faults
        assert (fault.kind, fault.file) == (FaultKind.UNEXPECTED, name)


def test_a_manifest_of_another_recording_fits_nothing(
    original: Desk, copy: Callable[[str], Path]
) -> None:
    path = copy("iv")
    shutil.copy(original.path("other") / "manifest.json", path / "manifest.json")
    assert not _report(original, path).intact


def test_a_manifest_of_another_version_is_not_guessed_at(
    original: Desk, copy: Callable[[str], Path]
) -> None:
    path = copy("iv")
    file = path / "manifest.json"
    content = json.loads(file.read_bytes())
    content["manifest"]["version"] = 2
    file.write_text(json.dumps(content))
    (fault,) = _report(original, path).faults
    assert fault.kind is FaultKind.UNKNOWN_VERSION


def test_another_servers_key_verifies_nothing(original: Desk, tmp_path: Path) -> None:
    stranger = open_keys(tmp_path / "stranger")
    assert not verify(original.path("iv"), stranger.public_key).intact


def test_an_older_manifest_beside_newer_segments_is_rolled_back(desk: Desk) -> None:
    writer = desk.writer()
    writer.sync()
    older = (desk.path() / "manifest.json").read_bytes()
    feed(writer, interview(Codec.H264, 12.0))
    (desk.path() / "manifest.json").write_bytes(older)
    (fault,) = _report(desk, desk.path()).faults
    assert (fault.kind, fault.file) == (FaultKind.ROLLED_BACK, "manifest.json")


def _signed_anew(desk: Desk, path: Path, **changes: object) -> VerifyReport:
    manifest = read_manifest(path, desk.keys.public_key)
    changed = msgspec.structs.replace(manifest, **changes)
    (path / "manifest.json").write_bytes(encode_manifest(changed, desk.keys.signer))
    return _report(desk, path)


def test_a_root_or_a_policy_that_is_not_the_recordings_is_found_even_if_signed(
    original: Desk, copy: Callable[[str], Path]
) -> None:
    for change in ({"root": "00" * 32}, {"tree_size": 1}):
        (fault,) = _signed_anew(original, copy("iv"), **change).faults
        assert (fault.kind, fault.file) == (FaultKind.TAMPERED, "manifest.json")
    policy = Policy("1/en", (TrackName.CAMERA,), False)
    for interview_id in ("iv", "cut"):
        faults = _signed_anew(original, copy(interview_id), policies=(policy,)).faults
        assert {fault.kind for fault in faults} == {FaultKind.TAMPERED}
        assert faults[0].file == "00000.seg"
        assert "policy" in faults[0].message


def test_a_recording_goes_on_under_another_policy_in_one_tree(desk: Desk) -> None:
    desk.write(interview(Codec.VP8, 2.0))
    other = Policy("2/zh", (TrackName.MICROPHONE,), False)
    writer = desk.writer(policy=other)
    writer.sync()
    feed(writer, interview(Codec.VP8, 2.0, START_S + 5))
    writer.finish()
    report = _report(desk, desk.path())
    assert (report.intact, report.segments) == (True, 2), report.faults
    assert writer.manifest.policies == (POLICY, other)
    assert writer.manifest.tree_size == sum(each.records for each in writer.manifest.segments)


# ---- with the log -----------------------------------------------------------------------


def _against_log(desk: Desk, path: Path, log: Path | None = None) -> VerifyReport:
    return verify(path, desk.keys.public_key, log or desk.log)


def test_the_log_raises_no_alarm_of_intact_recordings(witnessed: Desk) -> None:
    for interview_id in ("iv", "cut"):
        report = _against_log(witnessed, witnessed.path(interview_id))
        assert (report.intact, report.faults) == (True, ())


def test_a_tail_cut_at_a_records_boundary_is_found_by_the_log(
    witnessed: Desk, moved: Callable[[str], Path]
) -> None:
    path = moved("cut")
    file = path / max(each.name for each in path.iterdir() if each.suffix == ".seg")
    with file.open("rb") as opened:
        records = list(index_records(opened, 136, file.stat().st_size))
    cut_to = records[2]
    file.write_bytes(file.read_bytes()[: cut_to.end])
    assert _report(witnessed, path).intact
    (fault,) = _against_log(witnessed, path).faults
    assert fault.kind is FaultKind.TRUNCATED
    assert fault.start_s == pytest.approx(cut_to.header.end_us / 1e6)
    assert fault.end_s == pytest.approx(13.5, abs=0.6)


def test_a_folder_put_back_to_an_older_state_is_found_by_the_log(desk: Desk) -> None:
    witness = desk.witness()
    states = []
    for start_s in (START_S, START_S + 5):
        writer = desk.writer()
        writer.sync()
        feed(writer, interview(Codec.VP8, 2.0, start_s))
        writer.finish()
        witness.closed(writer, start_s)
        witness.tell([], start_s)
        states.append(shutil.copytree(desk.path(), desk.data_dir / f"copy-{start_s}"))
    assert _against_log(desk, states[1]).intact
    assert _report(desk, states[0]).intact
    (fault,) = _against_log(desk, states[0]).faults
    assert (fault.kind, fault.file) == (FaultKind.ROLLED_BACK, "manifest.json")
    assert (fault.start_s, fault.end_s) == pytest.approx((2.0, 7.0), abs=0.1)


def test_a_log_put_back_cut_or_changed_is_found(
    witnessed: Desk, moved: Callable[[str], Path], tmp_path: Path
) -> None:
    older = open_log(tmp_path / "older", witnessed.keys.signer)
    older.append(read_log(witnessed.log, witnessed.keys.public_key).entries[:5])
    (fault,) = _against_log(witnessed, witnessed.path("iv"), tmp_path / "older").faults
    assert (fault.kind, fault.file) == (FaultKind.ROLLED_BACK, "log/checkpoint")
    (fault,) = _against_log(witnessed, witnessed.path("iv"), tmp_path).faults
    assert (fault.kind, fault.file) == (FaultKind.MISSING, "log/checkpoint")
    log = moved("log")
    for file in log.glob("tile/entries/*/*"):
        data = file.read_bytes()
        for changed in (data[:-1], data[:60] + b"\0" + data[61:]):
            file.write_bytes(changed)
            (fault,) = _against_log(witnessed, witnessed.path("iv"), log).faults
            assert fault.kind in (FaultKind.TRUNCATED, FaultKind.TAMPERED)


def test_another_history_under_the_same_key_is_found_by_the_log(
    witnessed: Desk, moved: Callable[[str], Path]
) -> None:
    path = moved("iv")
    manifest = read_manifest(path, witnessed.keys.public_key)
    renamed = msgspec.structs.replace(manifest, events=(EventEntry("forged", 1),))
    (path / "manifest.json").write_bytes(encode_manifest(renamed, witnessed.keys.signer))
    assert _report(witnessed, path).intact
    (fault,) = _against_log(witnessed, path).faults
    assert (fault.kind, fault.file) == (FaultKind.TAMPERED, "manifest.json")
