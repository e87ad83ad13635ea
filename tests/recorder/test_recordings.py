"""The list of recordings, and titles that nobody reads without the key."""

import pytest

from server.core.frames import Gap, GapCause, TrackName
from server.recorder.catalog.listing import list_recordings
from server.recorder.catalog.recordings import lock_recordings, open_title
from server.recorder.format.manifest import State
from server.recorder.keys.root_key import KeyProblem
from server.recorder.replay.reader import open_reader
from tests.recorder.conftest import Desk
from tests.recorder.encoded import BOTH, START_S, interview, microphone


def test_recordings_are_listed_oldest_first_with_what_they_hold(desk: Desk) -> None:
    desk.write(microphone(1, START_S + 100), "b")
    desk.write(interview(seconds=2), "z")
    first, second = list_recordings(desk.data_dir, desk.keys)
    assert (first.interview_id, second.interview_id) == ("z", "b")
    assert (first.tracks, second.tracks) == (BOTH, (TrackName.MICROPHONE,))
    assert (first.title, first.state, first.started_s) == ("A title", State.FINISHED, START_S)
    assert first.duration_s == pytest.approx(2.0, abs=0.001)
    assert first.bytes == sum(file.stat().st_size for file in desk.path("z").iterdir())


def test_what_is_missing_of_several_tracks_at_once_is_told_as_one_gap(desk: Desk) -> None:
    writer = desk.writer()
    for frame in interview(seconds=2):
        writer.write(frame)
    for track, start_s, end_s in (
        (TrackName.CAMERA, 0.2, 0.6),
        (TrackName.MICROPHONE, 0.5, 0.8),
        (TrackName.SCREEN, 1.2, 1.4),
    ):
        gap = Gap(track, START_S + start_s, START_S + end_s, GapCause.PACKETS_LOST, 3)
        writer.note_gap(gap)
    writer.finish()
    (summary,) = list_recordings(desk.data_dir, desk.keys)
    assert (len(desk.reader().describe().gaps), summary.gaps) == (3, 2)


def test_an_open_recording_is_running_while_its_server_does(desk: Desk) -> None:
    desk.write(interview(seconds=2), finish=False)
    (cut,) = list_recordings(desk.data_dir, desk.keys)
    assert cut.state is State.INTERRUPTED
    assert cut.duration_s >= 1.5, "what the open segment holds counts"
    assert cut.tracks == BOTH
    with lock_recordings(desk.data_dir):
        assert list_recordings(desk.data_dir, desk.keys)[0].state is State.RECORDING


def test_a_manifest_that_is_not_authentic_is_not_listed(desk: Desk) -> None:
    desk.write(interview(seconds=1))
    manifest = desk.path() / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"finished", b"recording"))
    assert list_recordings(desk.data_dir, desk.keys) == []


def test_a_title_opens_with_its_recordings_key_alone(desk: Desk) -> None:
    manifest = desk.write(interview(seconds=1)).manifest
    key = desk.keys.recording_key("iv", bytes.fromhex(manifest.recording))
    assert open_title(key, manifest) == "A title"
    with pytest.raises(KeyProblem):
        open_title(bytes(32), manifest)


def test_an_unknown_or_impossible_id_has_no_reader(desk: Desk) -> None:
    with pytest.raises(KeyError):
        open_reader(desk.data_dir, "nobody", desk.keys)
    with pytest.raises(ValueError, match="interview id"):
        open_reader(desk.data_dir, "../keys", desk.keys)
