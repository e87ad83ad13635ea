"""What was made takes its source's place, whole or not at all, and says of what it was made."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.catalog import derived
from server.recorder.catalog.derived import (
    Compressed,
    Left,
    NotAdopted,
    adopt,
    check_ready,
    check_statement,
    due,
    making_path,
    ready,
    recover,
    refuse,
    settle,
    source_path,
)
from server.recorder.catalog.recordings import is_compressed, read_manifest
from server.recorder.compression.recoder import Recoder
from server.recorder.compressor import (
    CompressMetrics,
    Compressor,
    Policy,
    open_compressor,
)
from server.recorder.evidence.derivation import decode_statement, statement_of
from server.recorder.evidence.tlog import EntryKind, read_log
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import MANIFEST_NAME, Manifest
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.recorder import open_recorder
from server.recorder.stores.files import sync_directory
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, interview
from tests.recorder.test_compression import make, recoder, small
from tests.recorder.test_derivation import KEY

__all__ = ["recoder", "small"]
NEVER = float("inf")


class PowerCut(BaseException):
    pass


def serve(desk: Desk, *interview_ids: str) -> None:
    """A server runs for a moment, and is asked to adopt these."""

    async def run() -> None:
        async with open_recorder(desk.data_dir) as recorder:
            for interview_id in interview_ids:
                await recorder.adopt(interview_id)

    asyncio.run(run())


def recorded(desk: Desk, interview_id: str = "iv") -> Manifest:
    """A finished recording that the log knows."""
    witness = desk.witness()
    witness.closed(desk.write(interview(), interview_id), START_S)
    witness.tell((), START_S)
    return desk.reader(interview_id).manifest


def test_what_is_ready_takes_its_place_and_the_source_moves(desk: Desk, recoder: Recoder) -> None:
    source = recorded(desk)
    statement = make(desk, recoder)
    assert ready(desk.data_dir) == ["iv"]
    check_ready(desk.data_dir, "iv", desk.keys.public_key)
    manifest = adopt(desk.data_dir, "iv", desk.keys.public_key)
    settle(desk.data_dir, "iv", desk.keys.public_key, stored=False)
    assert is_compressed(manifest)
    assert check_statement(desk.path(), desk.keys.public_key) == statement
    kept = source_path(desk.data_dir, "iv")
    assert read_manifest(kept, desk.keys.public_key) == source
    assert verify(kept, desk.keys.public_key, desk.log).intact
    assert ready(desk.data_dir) == []


def test_a_server_puts_it_in_its_place_and_tells_the_log(desk: Desk, recoder: Recoder) -> None:
    recorded(desk)
    make(desk, recoder, keep_source=False)
    serve(desk, "iv")
    assert [each.name for each in source_path(desk.data_dir, "iv").iterdir()] == [MANIFEST_NAME]
    report = verify(desk.path(), desk.keys.public_key, desk.log)
    assert report.intact, report.faults
    manifest = desk.reader().manifest
    entries = read_log(desk.log, desk.keys.public_key, manifest.recording).entries
    assert [entry.kind for entry in entries] == [EntryKind.DERIVED]


class ReadMeanwhile:
    """Somebody begins to replay it while what was made of it is being checked."""

    def __init__(self) -> None:
        self.asked = 0
        self.forgotten: list[str] = []
        self.done = asyncio.Event()

    def last_read_s(self, interview_id: str) -> float:
        self.asked += 1
        if self.asked == 1:
            return 0.0
        self.done.set()
        return START_S

    def forget(self, interview_id: str) -> None:
        self.forgotten.append(interview_id)
        self.done.set()


async def test_who_began_to_play_the_source_gets_all_of_it(desk: Desk, recoder: Recoder) -> None:
    await asyncio.to_thread(recorded, desk)
    await asyncio.to_thread(make, desk, recoder)
    readers = ReadMeanwhile()
    async with open_recorder(desk.data_dir) as recorder:
        parts = recorder, "file", "", Policy.OFF, lambda: False, readers, lambda: START_S + 1
        async with open_compressor(Compressor(*parts, CompressMetrics())):
            await readers.done.wait()
    assert readers.forgotten == []
    assert await asyncio.to_thread(ready, desk.data_dir) == ["iv"]


def test_a_recording_that_goes_on_meanwhile_keeps_its_place(desk: Desk, recoder: Recoder) -> None:
    recorded(desk)
    make(desk, recoder)
    desk.write(interview(start_s=START_S + 100))
    check_ready(desk.data_dir, "iv", desk.keys.public_key)
    with pytest.raises(NotAdopted, match="has changed since"):
        adopt(desk.data_dir, "iv", desk.keys.public_key)
    serve(desk, "iv")
    assert not is_compressed(desk.reader().manifest)
    assert ready(desk.data_dir) == []  # and is made anew
    assert due(desk.data_dir, desk.keys.public_key, NEVER) == ["iv"]


def test_an_interview_goes_on_in_what_was_made_of_it(desk: Desk, recoder: Recoder) -> None:
    recorded(desk)
    statement = make(desk, recoder, keep_source=False)
    serve(desk, "iv")
    desk.write(interview(start_s=START_S + 100))
    assert verify(desk.path(), desk.keys.public_key).intact
    assert check_statement(desk.path(), desk.keys.public_key) == statement
    reader = desk.reader()
    assert reader.duration_us == 102_000_000
    for index in range(len(reader)):
        reader.fragment(index + 1)


@pytest.mark.parametrize("keep_source", [True, False])
@pytest.mark.parametrize("step", range(1, 9))
def test_a_crash_between_any_two_steps_is_made_good_at_the_next_start(
    desk: Desk, recoder: Recoder, monkeypatch: pytest.MonkeyPatch, step: int, keep_source: bool
) -> None:
    recorded(desk)
    make(desk, recoder, keep_source=keep_source)
    left = [step]

    def failing(call: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: Path) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise PowerCut
            call(*arguments)

        return counted

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", failing(os.rename))
        patched.setattr(derived, "sync_directory", failing(sync_directory))
        try:
            adopt(desk.data_dir, "iv", desk.keys.public_key)
            settle(desk.data_dir, "iv", desk.keys.public_key, stored=False)
        except PowerCut:
            pass
    serve(desk)
    serve(desk, *ready(desk.data_dir))
    assert is_compressed(desk.reader().manifest)
    report = verify(desk.path(), desk.keys.public_key, desk.log)
    assert report.intact, report.faults
    assert check_statement(desk.path(), desk.keys.public_key).source_kept == keep_source
    assert bool(list(source_path(desk.data_dir, "iv").glob("*.seg"))) == keep_source
    assert recover(desk.data_dir) == []


def test_what_was_changed_is_not_adopted(desk: Desk, recoder: Recoder) -> None:
    recorded(desk)
    make(desk, recoder)
    segment = making_path(desk.data_dir, "iv") / "00000.seg"
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    with pytest.raises(NotAdopted, match="not intact"):
        check_ready(desk.data_dir, "iv", desk.keys.public_key)


def test_a_statement_of_another_recording_is_foreign(desk: Desk, recoder: Recoder) -> None:
    recorded(desk)
    make(desk, recoder)
    statement = statement_of(making_path(desk.data_dir, "iv"))
    os.rename(statement, statement_of(desk.path()))
    with pytest.raises(SegmentError) as raised:
        check_statement(desk.path(), desk.keys.public_key)
    assert raised.value.kind is FaultKind.FOREIGN


def test_each_changed_byte_of_a_statement_is_found(desk: Desk, recoder: Recoder) -> None:
    recorded(desk)
    make(desk, recoder)
    path = making_path(desk.data_dir, "iv")
    signed = statement_of(path).read_bytes()
    for place in range(len(signed)):
        flipped = bytes([signed[place] ^ 1 << place % 8])
        statement_of(path).write_bytes(signed[:place] + flipped + signed[place + 1 :])
        with pytest.raises(SegmentError):
            check_statement(path, desk.keys.public_key)


@given(st.binary(max_size=200))
def test_no_statement_at_all_is_a_fault(data: bytes) -> None:
    with pytest.raises(SegmentError):
        decode_statement(data, msgspec.json.Decoder(Compressed), derived.VERSION, KEY)


def test_due_is_what_is_finished_and_neither_made_nor_refused(desk: Desk) -> None:
    refused = recorded(desk, "refused")
    recorded(desk, "fresh")
    desk.write(interview(), "open", finish=False)
    key = desk.keys.public_key
    assert due(desk.data_dir, key, NEVER) == ["fresh", "refused"]
    assert due(desk.data_dir, key, 0.0) == []
    (desk.data_dir / "compressing").mkdir()
    refuse(desk.data_dir, refused, Left.LARGE, "it would be large")
    assert due(desk.data_dir, key, NEVER) == ["fresh"]
    desk.write(interview(start_s=START_S + 100), "refused")  # another one now
    assert due(desk.data_dir, key, NEVER) == ["fresh", "refused"]
