"""The readers that the process of replays keeps; the process itself is in `test_replay_process`."""

from pathlib import Path
from typing import Any

import pytest

from server.core.frames import Codec
from server.recorder.catalog.recordings import recording_key
from server.recorder.format.sealing import SegmentError
from server.recorder.replay import worker
from server.recorder.replay.reader import RecordingReader
from server.recorder.replay.wire import Place
from tests.recorder.conftest import Desk
from tests.recorder.encoded import interview


def nobody() -> Any:
    raise AssertionError("nothing is signed")


def test_who_is_forgotten_while_it_is_opened_is_not_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write(interview(Codec.VP8, 1.0))
    key = recording_key(desk.data_dir, "iv", desk.keys)
    place = Place(
        str(desk.path()), "", str(desk.data_dir / "keys"), key, desk.keys.public_key.hex()
    )
    readers = worker._Readers(nobody)

    def opened(path: Path, *others: Any) -> RecordingReader:
        readers.forget(str(path))
        return RecordingReader(path, *others)

    with monkeypatch.context() as slow:
        slow.setattr(worker, "RecordingReader", opened)
        assert len(readers.of(place).reader)
    manifest = desk.path() / "manifest.json"
    manifest.write_bytes(b"{}")
    with pytest.raises(SegmentError):
        readers.of(place)


def test_who_is_known_is_not_opened_again(desk: Desk) -> None:
    desk.write(interview(Codec.VP8, 1.0))
    key = recording_key(desk.data_dir, "iv", desk.keys)
    place = Place(
        str(desk.path()), "", str(desk.data_dir / "keys"), key, desk.keys.public_key.hex()
    )
    readers = worker._Readers(nobody)
    first = readers.of(place)
    assert readers.of(place) is first
    readers.forget(place.folder)
    assert readers.of(place) is not first
