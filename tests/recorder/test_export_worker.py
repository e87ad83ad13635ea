import hashlib
import tempfile
from collections.abc import Iterator

import pytest

from server.core.frames import Codec
from server.recorder import export_worker
from server.recorder.export_job import Failed, Fault, Job, Written
from server.recorder.sealed_file import SealedFile, Turned
from tests.recorder.conftest import Desk
from tests.recorder.encoded import interview

FILE_KEY = bytes(range(32))


@pytest.fixture
def fd() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def job(desk: Desk, start_us: int, end_us: int) -> Job:
    manifest = desk.reader().manifest
    key = desk.keys.recording_key("iv", bytes.fromhex(manifest.recording))
    public_key = desk.keys.public_key.hex()
    span_us = start_us, end_us
    return Job(str(desk.path()), "", key.hex(), public_key, *span_us, False, FILE_KEY.hex())


def test_what_it_says_is_what_it_has_written(desk: Desk, fd: int) -> None:
    desk.write(interview(Codec.H264, 2))
    written = export_worker.run(job(desk, 0, 2_000_000), fd)
    assert isinstance(written, Written)
    file = Turned(SealedFile(fd, FILE_KEY), written.head)
    assert file.size == written.size
    assert file.read_at(4, 4) == b"ftyp"
    data = b""
    while part := file.read_at(len(data), 1 << 16):
        data += part
    assert (len(data), hashlib.sha256(data).hexdigest()) == (written.size, written.sha256)


def test_where_nothing_was_recorded_there_is_nothing_to_export(desk: Desk, fd: int) -> None:
    desk.write(interview(Codec.H264, 2))
    failed = export_worker.run(job(desk, 60_000_000, 61_000_000), fd)
    assert isinstance(failed, Failed)
    assert failed.fault is Fault.EMPTY


def test_it_stops_where_what_is_left_of_the_disk_is_for_recordings(
    desk: Desk, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write(interview(Codec.H264, 2))
    monkeypatch.setattr(export_worker, "FREE_BYTES", 1 << 62)
    failed = export_worker.run(job(desk, 0, 2_000_000), fd)
    assert isinstance(failed, Failed)
    assert failed.fault is Fault.DISK_FULL


def test_files_that_cannot_be_read_are_told(desk: Desk, fd: int) -> None:
    desk.write(interview(Codec.H264, 2))
    asked = job(desk, 0, 2_000_000)
    next(desk.path().glob("*.seg")).unlink()
    failed = export_worker.run(asked, fd)
    assert isinstance(failed, Failed)
    assert failed.fault is Fault.UNREADABLE
