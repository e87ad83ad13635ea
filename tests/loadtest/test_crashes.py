"""Crashes of a real server; and whether what they cost would be noticed."""

import os
import random
from pathlib import Path

import pytest

from loadtest.crashes import Result, add, campaign
from loadtest.packets import packetise
from loadtest.recording import SentTrack
from loadtest.results import RecordingResult
from tests.loadtest.conftest import short_clip

SENT = {7: SentTrack("camera", 90), 8: SentTrack("microphone", 150)}
CRASHED_S = 1_760_000_000.0


def added(found: RecordingResult) -> Result:
    result = Result()
    add(result, "one", found, SENT, dict.fromkeys(SENT, CRASHED_S))
    return result


@pytest.mark.timeout(180)
@pytest.mark.may_block("reads the server's log, mounts a disk")
async def test_crashes_cost_at_most_a_second_each(tmp_path: Path) -> None:
    power_cut = os.geteuid() == 0  # only root mounts a disk for it
    said: list[str] = []
    clips = [packetise(short_clip("h264"))]
    result = await campaign(clips, 2, 2, tmp_path, random.Random(3), power_cut, said.append)
    assert result.faults == []
    assert (result.crashes, len(said), result.start_s.count) == (2, 2, 3)
    assert result.lost_s.count == 2 * 2 * 2
    assert 0 < result.lost_s.max < 1.02
    assert result.frames_missing < result.frames_sent / 2


def test_more_than_a_second_is_a_fault() -> None:
    result = added(RecordingResult(newest_s={7: CRASHED_S - 1.5, 8: CRASHED_S - 0.5}))
    assert result.faults == ["a crash cost 1.50 s of camera"]
    assert result.lost_s.max == pytest.approx(1.5)


def test_a_track_of_which_nothing_is_left_is_a_fault() -> None:
    result = added(RecordingResult(newest_s={7: CRASHED_S}))
    assert result.faults == ["a crash cost all of microphone"]


def test_an_undeclared_hole_is_a_fault() -> None:
    newest_s = dict.fromkeys(SENT, CRASHED_S)
    result = added(RecordingResult(newest_s=newest_s, frames_missing=3, frames_undeclared=3))
    assert result.faults == ["recording one: 3 frames are missing, and no gap tells of them"]


def test_a_recording_that_cannot_be_read_is_a_fault() -> None:
    assert added(RecordingResult(error="HTTP 500")).faults == ["recording one: HTTP 500"]
