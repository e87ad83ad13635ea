"""What a recording promises to the event loop, whatever becomes of the disk."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace

from server.core.frames import Codec, EncodedFrame, GapCause
from server.recorder.recorder import open_recorder
from server.recorder.writing import recording as recording_module
from server.recorder.writing.recording import Recording
from tests.recorder.conftest import POLICY
from tests.recorder.encoded import START_S, camera, microphone
from tests.recorder.failing_disk import Disk


async def test_a_full_queue_drops_declares_and_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_module, "QUEUE_BYTES", 4_000)
    faults: list[str] = []
    async with open_recorder(tmp_path) as recorder:
        recording = recorder.record(
            "iv", "t", POLICY, faults.append, lambda: faults.append("mended")
        )
        for frame in camera(Codec.VP8, 1):  # all at once: more than the queue holds
            recording.on_frame(frame)
        await recording.close()
        index = await asyncio.to_thread(lambda: recorder.reader("iv").describe())
        assert recorder.metrics.frames_dropped > 0
    # Once for each time that the queue fills up anew, and once for each that it goes on.
    told = ["more comes than can be written: frames are being dropped", "mended"]
    assert faults == told * (len(faults) // 2)
    lost = [gap.lost for gap in index.gaps if gap.cause is GapCause.QUEUE_FULL]
    assert sum(lost) == recorder.metrics.frames_dropped


async def test_a_full_disk_that_gets_room_again_ends_the_fault(tmp_path: Path) -> None:
    disk, told = Disk(), list[str]()
    frames = _sound(count())
    async with open_recorder(tmp_path, folder_at=disk.folder) as recorder:
        recording = recorder.record("iv", "t", POLICY, told.append, lambda: told.append("mended"))
        await _feed_until(recording, frames, lambda: recorder.metrics.fragments_written > 0)
        disk.room = 0
        await _feed_until(recording, frames, lambda: told != [])
        assert told == ["writing the recording failed: No space left on device"]
        disk.room = None
        await _feed_until(recording, frames, lambda: len(told) > 1)
        await recording.close()
    assert told[1:] == ["mended"]


async def test_a_disk_that_hangs_is_told_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_module, "SLOW_S", 0.2)
    disk, told, fed = Disk(), list[str](), count()
    frames = _sound(fed)
    async with open_recorder(tmp_path, folder_at=disk.folder) as recorder:
        recording = recorder.record("iv", "t", POLICY, told.append, lambda: told.append("mended"))
        disk.takes.clear()
        try:
            await _feed_until(recording, frames, lambda: told != [])
        finally:
            disk.takes.set()
        await _feed_until(recording, frames, lambda: len(told) > 1)
        await recording.close()
        assert told[:2] == ["what comes has waited for 0 s to be written", "mended"]
        reader = await asyncio.to_thread(recorder.reader, "iv")
        kept = await asyncio.to_thread(lambda: [f.audio for _, f in reader.all_samples()])
    assert (sum(map(len, kept)), reader.manifest.gaps) == (next(fed), ())


def _sound(numbers: Iterator[int]) -> Iterator[EncodedFrame]:
    """Without an end, however long what is waited for takes."""
    sound = microphone(0.02)[0]
    for at_s in (START_S + number / 50 for number in numbers):
        yield replace(sound, capture_s=at_s, arrived_s=at_s)


async def _feed_until(
    recording: Recording, frames: Iterator[EncodedFrame], condition: Callable[[], bool]
) -> None:
    """At a pace with which neither queue nor writer is overrun in that time."""
    async with asyncio.timeout(30):
        while not condition():
            recording.on_frame(next(frames))
            for _ in range(20):
                await asyncio.to_thread(lambda: None)
