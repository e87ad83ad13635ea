import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.core.frames import Codec
from server.recorder.export import movie, worker
from server.recorder.export.content_credentials import Credentials, made_of
from server.recorder.export.job import Bound, Failed, Fault, Job, Written
from server.recorder.format.sealed_file import SealedFile, Turned
from tests.recorder.c2pa_readers import by_encypher, by_the_consortium
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, camera, in_order, interview

FILE_KEY = bytes(range(32))


@pytest.fixture
def fd() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def job(desk: Desk, start_us: int, end_us: int, reserved: int = 0) -> Job:
    manifest = desk.reader().manifest
    key = desk.keys.recording_key("iv", bytes.fromhex(manifest.recording))
    public_key = desk.keys.public_key.hex()
    return Job(
        str(desk.path()),
        "",
        key.hex(),
        public_key,
        start_us,
        end_us,
        False,
        FILE_KEY.hex(),
        reserved,
    )


def unsigned(bound: Bound) -> bytes:
    raise AssertionError("nothing is reserved")


def file_of(fd: int, written: Written) -> bytes:
    file, data = Turned(SealedFile(fd, FILE_KEY), written.head), b""
    while part := file.read_at(len(data), 1 << 16):
        data += part
    assert (len(data), hashlib.sha256(data).hexdigest()) == (written.size, written.sha256)
    return data


def test_what_it_says_is_what_it_has_written(desk: Desk, fd: int) -> None:
    desk.write(interview(Codec.H264, 2))
    written = worker.run(job(desk, 0, 2_000_000), fd, unsigned)
    assert isinstance(written, Written)
    assert file_of(fd, written)[4:8] == b"ftyp"


def test_what_is_signed_is_the_file(desk: Desk, fd: int, tmp_path: Path) -> None:
    desk.write(interview(Codec.H264, 2))
    signer = desk.keys.claim_signer(START_S)
    credentials = Credentials(made_of(desk.reader(), (0, 2_000_000)), signer, START_S)

    def sign(bound: Bound) -> bytes:
        return credentials.box(bound.digest, encoded=bound.encoded)

    written = worker.run(job(desk, 0, 2_000_000, credentials.size), fd, sign)
    assert isinstance(written, Written)
    path = tmp_path / "out.mp4"
    path.write_bytes(file_of(fd, written))
    with path.open("rb") as file:
        assert by_the_consortium(file, signer.anchor) == ("Trusted", set())
    assert by_encypher(path, signer.anchor)["integrity"] == "valid"


def test_where_nothing_was_recorded_there_is_nothing_to_export(desk: Desk, fd: int) -> None:
    desk.write(interview(Codec.H264, 2))
    failed = worker.run(job(desk, 60_000_000, 61_000_000), fd, unsigned)
    assert isinstance(failed, Failed)
    assert failed.fault is Fault.EMPTY


def test_pictures_that_pause_too_long_to_be_copied_are_told_apart(
    desk: Desk, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movie, "LONGEST_STEP", 90_000)
    desk.write(in_order([*camera(seconds=1), *camera(seconds=1, start_s=START_S + 3)]))
    failed = worker.run(job(desk, 0, 4_000_000), fd, unsigned)
    assert isinstance(failed, Failed)
    assert failed.fault is Fault.PAUSE_TOO_LONG


def test_it_stops_where_what_is_left_of_the_disk_is_for_recordings(
    desk: Desk, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write(interview(Codec.H264, 2))
    monkeypatch.setattr(worker, "FREE_BYTES", 1 << 62)
    failed = worker.run(job(desk, 0, 2_000_000), fd, unsigned)
    assert isinstance(failed, Failed)
    assert failed.fault is Fault.DISK_FULL


def test_files_that_cannot_be_read_are_told(desk: Desk, fd: int) -> None:
    desk.write(interview(Codec.H264, 2))
    asked = job(desk, 0, 2_000_000)
    next(desk.path().glob("*.seg")).unlink()
    failed = worker.run(asked, fd, unsigned)
    assert isinstance(failed, Failed)
    assert failed.fault is Fault.UNREADABLE
