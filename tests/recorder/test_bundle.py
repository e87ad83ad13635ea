"""Evidence goes from one hand to another as one file, and can be checked there alone."""

import os
import stat
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.core.frames import Codec
from server.recorder.catalog.receipt import issue
from server.recorder.catalog.recordings import read_manifest
from server.recorder.evidence.archive import open_archive
from server.recorder.evidence.bundle import (
    CONTENTS,
    DERIVATION,
    KEY,
    LOG,
    PUBLIC_KEY,
    RECORDING,
    Evidence,
    write_archive,
)
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import MANIFEST_NAME
from server.recorder.keys import succession
from tests.recorder.conftest import Desk, feed
from tests.recorder.encoded import START_S, interview

MADE = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def silent(share: float) -> None:
    assert 0 <= share <= 1


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A recording that the log has seen begin, go on, and end."""
    made = Desk(tmp_path / "data")
    witness = made.witness()
    frames = interview(Codec.VP8, 12.0)
    writer = made.writer()
    for seconds, part in enumerate((frames[:300], frames[300:500], frames[500:])):
        feed(writer, part)
        witness.tell([writer], START_S + 10 * seconds)
    writer.finish()
    witness.closed(writer, START_S + 30)
    witness.tell([], START_S + 30)
    return made


def evidence(desk: Desk, key: bytes | None = None) -> Evidence:
    path = desk.path()
    pem = (desk.data_dir / "keys" / "signing.pub").read_bytes()
    data = (path / MANIFEST_NAME).read_bytes()
    receipt = issue(desk.data_dir, "iv", desk.keys.signer, desk.keys.public_key)
    return Evidence(path, data, pem, None, desk.keys.public_key, desk.log, receipt, None, key)


def recording_key(desk: Desk) -> bytes:
    manifest = read_manifest(desk.path(), desk.keys.public_key)
    return desk.keys.recording_key("iv", bytes.fromhex(manifest.recording))


def test_it_is_verified_as_it_is_with_its_log(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "out.zip"
    write_archive(path, evidence(desk), MADE, silent)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_archive(path) as archive:
        top = archive / "vivavoce-iv"
        assert {each.name for each in top.iterdir()} == CONTENTS - {
            KEY,
            DERIVATION,
            succession.FILE,
        }
        report = verify(top / RECORDING, desk.keys.public_key, top / LOG)
        assert (report.faults, report.segments) == ((), 2)
        proofs = {each.name for each in (top / LOG).iterdir()}
        ends = {"0.entry", "0.tlog-proof", "3.entry", "3.tlog-proof"}
        assert proofs == {"checkpoint", *ends}, "no heartbeats between"


def test_its_receiver_needs_python_alone(desk: Desk, tmp_path: Path) -> None:
    key = recording_key(desk)
    write_archive(tmp_path / "out.zip", evidence(desk, key), MADE, silent)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    top = tmp_path / "vivavoce-iv"
    reader = [sys.executable, "-I", "read_recording.py", "recording", "--public-key", PUBLIC_KEY]
    more = ["--key", (top / KEY).read_text().strip(), "-o", "recording.mp4"]
    done = subprocess.run([*reader, *more], cwd=top, capture_output=True, text=True, check=False)
    assert (done.returncode, "Intact: 2 segments." in done.stdout) == (0, True), done.stderr
    assert (top / "recording.mp4").read_bytes()[4:8] == b"ftyp"
    command = [*reader[:3], "receipt.json", *reader[4:]]
    done = subprocess.run(command, cwd=top, capture_output=True, text=True, check=False)
    assert (done.returncode, "Intact" in done.stdout) == (0, True), done.stderr
    assert " ".join(reader[2:]) in (top / "README.txt").read_text()


def test_a_compressed_recording_goes_with_what_it_was_made_of(desk: Desk, tmp_path: Path) -> None:
    given = replace(evidence(desk), derivation=b"a statement")
    write_archive(tmp_path / "out.zip", given, MADE, silent)
    with open_archive(tmp_path / "out.zip") as archive:
        assert (archive / "vivavoce-iv" / DERIVATION).read_bytes() == b"a statement"


def test_a_newer_state_of_the_log_than_the_manifests_is_told(desk: Desk, tmp_path: Path) -> None:
    """An archive of an older manifest, beside proofs that a newer one was made."""
    old = evidence(desk)
    witness = desk.witness()
    writer = desk.write(interview(Codec.VP8, 2.0, START_S + 60))
    witness.closed(writer, START_S + 70)
    witness.tell([], START_S + 70)
    write_archive(tmp_path / "out.zip", old, MADE, silent)
    with open_archive(tmp_path / "out.zip") as archive:
        top = archive / "vivavoce-iv"
        report = verify(top / RECORDING, desk.keys.public_key, top / LOG)
    assert [fault.kind for fault in report.faults] == ["rolled back"]


def test_one_cut_by_a_crash_goes_with_what_no_manifest_lists(desk: Desk, tmp_path: Path) -> None:
    desk.write(interview(Codec.VP8, 12.0), "iv2", finish=False)
    path = desk.path("iv2")
    data = (path / MANIFEST_NAME).read_bytes()
    given = Evidence(path, data, b"", None, desk.keys.public_key, None, None, None, None)
    write_archive(tmp_path / "out.zip", given, MADE, silent)
    with open_archive(tmp_path / "out.zip") as archive:
        report = verify(archive / "vivavoce-iv2" / RECORDING, desk.keys.public_key)
    assert (report.intact, report.segments) == (True, 2)


def test_there_is_a_whole_file_or_none(desk: Desk, tmp_path: Path) -> None:
    """A disk that fails when most of it is written: what was there before stays."""
    path = tmp_path / "there" / "out.zip"
    path.parent.mkdir()
    path.write_bytes(b"former")
    seen: list[float] = []

    def fail(share: float) -> None:
        seen.append(share)
        if share > 0.9:
            raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        write_archive(path, evidence(desk), MADE, fail)
    assert [each.name for each in path.parent.iterdir()] == ["out.zip"]
    assert path.read_bytes() == b"former"
    write_archive(path, evidence(desk), MADE, seen.append)
    assert (seen[-1], path.read_bytes()[:2]) == (1.0, b"PK")


def test_it_is_written_as_a_stream(desk: Desk, tmp_path: Path) -> None:
    """A segment of 40 MiB, most of it a hole: its content is not the point."""
    segment = desk.path() / "00001.seg"
    os.truncate(segment, 40 << 20)
    tracemalloc.start()
    write_archive(tmp_path / "out.zip", evidence(desk), MADE, silent)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 << 20
    with open_archive(tmp_path / "out.zip") as archive:
        report = verify(archive / "vivavoce-iv" / RECORDING, desk.keys.public_key)
    assert [(fault.file, fault.start_s) for fault in report.faults] == [("00001.seg", 12.0)]
