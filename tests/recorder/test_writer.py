"""One recording's writer: segments, the ledger, and a disk that refuses."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from server.core.frames import (
    OF_CANDIDATE,
    OF_INTERVIEWER,
    Codec,
    EncodedFrame,
    Gap,
    GapCause,
    TrackName,
)
from server.core.interviews import SERVER_STOPPED
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import State
from server.recorder.replay.index import ReplayIndex
from server.recorder.writing import writer as writer_module
from server.recorder.writing.repair import repair
from tests.recorder.conftest import Desk, feed
from tests.recorder.encoded import (
    BOTH,
    START_S,
    VIDEO_CODECS,
    camera,
    in_order,
    interview,
    interviewer,
    microphone,
    screen,
)
from tests.recorder.failing_disk import Disk


def _index(desk: Desk) -> ReplayIndex:
    return desk.reader().describe()


def _kept(desk: Desk) -> tuple[int, int]:
    fragments = [fragment for _, fragment in desk.reader().all_samples()]
    return sum(len(f.video) for f in fragments), sum(len(f.audio) for f in fragments)


def _declared_s(index: ReplayIndex, cause: GapCause) -> float:
    spans = [
        gap.end_s - gap.start_s
        for gap in index.gaps
        if gap.cause is cause and gap.track is TrackName.CAMERA
    ]
    return sum(spans)


def test_segments_change_at_a_keyframe_after_ten_seconds(desk: Desk) -> None:
    desk.write(interview(seconds=12))
    reader = desk.reader()
    first, second = reader.manifest.segments
    assert (first.complete, second.complete) == (True, True)
    assert second.start_us == pytest.approx(10_000_000, abs=100)
    assert _kept(desk) == (360, 600)
    starts = [fragment.start_s for fragment in reader.describe().fragments if fragment.keyframe]
    assert pytest.approx(10.0, abs=0.001) in starts


def test_sync_is_due_when_a_fragment_ends_in_time_and_not_at_each_keyframe(desk: Desk) -> None:
    writer = desk.writer()
    writer.sync()
    waited_s, since_s = 0.0, START_S + 0.3
    for frame in camera(Codec.VP8, 8, START_S + 0.3, keyframe_s=0.5, width=64, height=48):
        writer.write(frame)
        if writer.sync_due:
            writer.sync()
            assert not writer.sync_due
            since_s = frame.capture_s
        waited_s = max(waited_s, frame.capture_s - since_s)
    assert desk.metrics.fragments_written >= 20, "those that keyframes begin, too"
    assert desk.metrics.fsyncs <= 8 / 0.75 + 3
    assert waited_s < 0.8


def test_a_camera_without_keyframes_gets_a_new_segment_all_the_same(desk: Desk) -> None:
    desk.write(camera(Codec.VP8, 32, keyframe_s=100, width=64, height=48))
    first, second = desk.reader().manifest.segments
    assert first.end_us == pytest.approx(30_000_000, abs=1_000_000)
    assert second.fragments >= 1


@pytest.mark.parametrize(
    ("frames", "tracks"),
    [
        (microphone(12), (TrackName.MICROPHONE,)),
        (camera(Codec.H264, 2), (TrackName.CAMERA,)),
        (interview(seconds=2), BOTH),
    ],
)
def test_one_track_alone_is_recorded_too(
    desk: Desk, frames: list[object], tracks: tuple[TrackName, ...]
) -> None:
    desk.write(frames)  # type: ignore[arg-type]
    assert {segment.tracks for segment in desk.reader().manifest.segments} == {tracks}
    assert sum(_kept(desk)) == len(frames)


def test_a_camera_that_comes_later_begins_a_segment(desk: Desk) -> None:
    frames = microphone(4) + camera(Codec.VP8, 2, START_S + 2)
    desk.write(sorted(frames, key=lambda frame: frame.capture_s))
    assert [segment.tracks for segment in desk.reader().manifest.segments] == [
        (TrackName.MICROPHONE,),
        BOTH,
    ]
    assert _kept(desk) == (60, 200)


def test_a_rotated_phone_begins_a_segment_with_its_new_size(desk: Desk) -> None:
    upright = camera(Codec.H264, 1, START_S + 1, width=120, height=160)
    desk.write(camera(Codec.H264, 1) + upright)
    assert [(init.width, init.height) for init in _index(desk).inits] == [(160, 120), (120, 160)]
    assert verify(desk.path(), desk.keys.public_key).segments == 2


def test_a_pause_of_both_tracks_is_declared_and_keeps_its_length(desk: Desk) -> None:
    desk.write(interview(seconds=2) + interview(seconds=2, start_s=START_S + 5))
    index = _index(desk)
    assert index.duration_s == pytest.approx(7.0, abs=0.001)
    assert [(gap.track, gap.cause) for gap in index.gaps] == [
        (track, GapCause.DISCONNECTED) for track in BOTH
    ]
    assert _declared_s(index, GapCause.DISCONNECTED) == pytest.approx(3.0, abs=0.05)


def test_a_pause_that_was_declared_already_is_not_declared_twice(desk: Desk) -> None:
    writer = desk.writer()
    feed(writer, interview(seconds=2))
    for track in BOTH:
        writer.note_gap(Gap(track, START_S + 2, START_S + 5, GapCause.PACKETS_LOST, 40))
    feed(writer, interview(seconds=1, start_s=START_S + 5))
    writer.finish()
    assert [gap.cause for gap in _index(desk).gaps] == [GapCause.PACKETS_LOST] * 2


def test_a_recording_is_continued_after_it_was_closed(desk: Desk) -> None:
    desk.write(interview(seconds=2))
    desk.write(interview(seconds=2, start_s=START_S + 30))
    index = _index(desk)
    assert index.duration_s == pytest.approx(32.0, abs=0.001)
    assert index.state is State.FINISHED
    assert [fragment.seq for fragment in index.fragments] == list(
        range(1, len(index.fragments) + 1)
    )
    assert verify(desk.path(), desk.keys.public_key).intact


@pytest.mark.parametrize(
    ("event", "cause"),
    [(SERVER_STOPPED, GapCause.SERVER_RESTART), ("gone", GapCause.DISCONNECTED)],
)
def test_the_hole_before_its_continuation_says_why_it_was_closed(
    desk: Desk, event: str, cause: GapCause
) -> None:
    writer = desk.writer()
    feed(writer, interview(seconds=2))
    writer.note_event(event, round((START_S + 2) * 1e6))
    writer.finish()
    desk.write(interview(seconds=2, start_s=START_S + 30))
    assert [(gap.track, gap.cause) for gap in _index(desk).gaps] == [(each, cause) for each in BOTH]


def _while_full(desk: Desk, room: int, seconds: int) -> None:
    """Two seconds, `seconds` more while the disk has `room`, two more when it has all again."""
    disk = Disk()
    writer = desk.writer(folder_at=disk.folder)
    feed(writer, interview(seconds=2))
    disk.room = room
    feed(writer, interview(seconds=seconds, start_s=START_S + 2))
    assert desk.faults == ["writing the recording failed: No space left on device"]
    disk.room = None
    feed(writer, interview(seconds=2, start_s=START_S + 2 + seconds))
    writer.finish()
    report = verify(desk.path(), desk.keys.public_key)
    assert report.intact, report.faults


def _times(desk: Desk) -> tuple[list[int], list[int]]:
    """Of all pictures and sounds."""
    fragments = [fragment for _, fragment in desk.reader().all_samples()]
    return (
        [sample.time for fragment in fragments for sample in fragment.video],
        [sample.time for fragment in fragments for sample in fragment.audio],
    )


@pytest.mark.parametrize("room", [0, 5_000, 20_000])
def test_what_a_full_disk_refuses_is_held_until_it_has_room(
    desk: Desk, tmp_path: Path, room: int
) -> None:
    _while_full(desk, room, 4)
    assert _index(desk).gaps == ()
    whole = Desk(tmp_path / "whole")
    for start, seconds in ((0, 2), (2, 4), (6, 2)):
        whole.write(interview(seconds=seconds, start_s=START_S + start))
    assert _times(desk) == _times(whole)


def test_what_memory_does_not_hold_is_a_gap(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "HELD_BYTES", 30_000)
    _while_full(desk, 5_000, 6)
    index = _index(desk)
    recorded_s = sum(fragment.duration_s for fragment in index.fragments)
    declared_s = _declared_s(index, GapCause.WRITE_FAILED)
    assert 0.5 < declared_s < 6
    assert recorded_s + declared_s == pytest.approx(10.0, abs=0.3)


def test_what_was_held_when_it_ended_is_a_gap(desk: Desk) -> None:
    disk = Disk()
    writer = desk.writer(folder_at=disk.folder)
    feed(writer, interview(seconds=2))
    disk.room = 0
    feed(writer, interview(seconds=2, start_s=START_S + 2))
    writer.finish()
    lost_us = {gap.track: gap.end_us - gap.start_us for gap in writer.manifest.gaps}
    assert list(lost_us) == list(BOTH)
    assert min(lost_us.values()) > 1_000_000
    disk.room = None
    assert repair(desk.path(), desk.keys)
    assert verify(desk.path(), desk.keys.public_key).intact


@pytest.mark.parametrize("seconds", [0.1, 1.0, 3.0])
def test_a_failing_sync_refuses_the_segment_and_goes_on_in_a_new_one(
    desk: Desk, tmp_path: Path, seconds: float
) -> None:
    disk = Disk()
    writer = desk.writer(folder_at=disk.folder)
    feed(writer, interview(seconds=2))
    disk.refuses_sync = True
    feed(writer, interview(seconds=seconds, start_s=START_S + 2))
    disk.refuses_sync = False
    feed(writer, interview(seconds=2, start_s=START_S + 2 + seconds))
    writer.finish()
    report = verify(desk.path(), desk.keys.public_key)
    assert report.intact, report.faults
    assert report.duration_s == pytest.approx(4 + seconds, abs=0.001)
    assert _index(desk).gaps == ()
    whole = Desk(tmp_path / "whole")
    for start, length in ((0, 2.0), (2, seconds), (2 + seconds, 2.0)):
        whole.write(interview(seconds=length, start_s=START_S + start))
    assert _times(desk) == _times(whole), "what was written but not synced is there, too"


def test_a_disk_that_was_never_writable_raises_nothing_into_the_media(desk: Desk) -> None:
    disk = Disk()
    writer = desk.writer(folder_at=disk.folder)
    disk.refuses_everything = True
    writer.sync()
    feed(writer, interview(seconds=3))
    writer.finish()
    assert len(desk.faults) == 1
    disk.refuses_everything = False
    writer.finish()
    assert verify(desk.path(), desk.keys.public_key).intact


def test_a_cut_that_failed_too_is_made_up_for_by_the_next_start(desk: Desk) -> None:
    disk = Disk()
    writer = desk.writer(folder_at=disk.folder)
    feed(writer, interview(seconds=2))
    disk.room = 3_000
    feed(writer, interview(seconds=1, start_s=START_S + 2))
    segment = desk.path() / "00000.seg"
    with segment.open("ab") as file:
        file.write(b"what the disk would not take back")
    disk.room = None
    writer.sync()
    assert not verify(desk.path(), desk.keys.public_key).intact
    assert repair(desk.path(), desk.keys)
    assert verify(desk.path(), desk.keys.public_key).intact


@pytest.mark.parametrize("is_back", [True, False])
def test_a_cut_that_a_read_only_disk_refused_is_made_up_for(desk: Desk, is_back: bool) -> None:
    disk = Disk()
    writer = desk.writer(folder_at=disk.folder)
    feed(writer, interview(seconds=2))
    disk.refuses_sync = disk.goes_read_only = True
    feed(writer, interview(seconds=1, start_s=START_S + 2))
    segment = desk.path() / "00000.seg"
    assert segment.stat().st_size > writer.manifest.segments[0].size
    disk.refuses_sync = disk.refuses_everything = False
    if is_back:
        feed(writer, interview(seconds=2, start_s=START_S + 3))
    writer.finish()
    assert verify(desk.path(), desk.keys.public_key).intact
    with segment.open("ab") as file:  # as a power cut leaves it, that took the cut back
        file.write(b"what was cut off")
    assert not verify(desk.path(), desk.keys.public_key).intact
    assert not repair(desk.path(), desk.keys), "it was closed"
    assert verify(desk.path(), desk.keys.public_key).intact


_LIMITED = """
import resource, signal, sys
from pathlib import Path
from tests.recorder.conftest import Desk, feed
from tests.recorder.failing_disk import Disk
from tests.recorder.encoded import VIDEO_CODECS, START_S, interview
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
desk = Desk(Path(sys.argv[1]))
writer = desk.writer()
feed(writer, interview(seconds=2))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
feed(writer, interview(seconds=3, start_s=START_S + 2))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
feed(writer, interview(seconds=2, start_s=START_S + 5))
writer.finish()
print(desk.faults)
"""


def test_a_real_limit_on_file_sizes_is_survived(desk: Desk) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(desk.data_dir)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "File too large" in done.stdout
    report = verify(desk.path(), desk.keys.public_key)
    assert report.intact, report.faults
    assert report.duration_s == pytest.approx(7.0, abs=0.001)
    assert _index(desk).gaps == ()


MARKERS = (
    b"avcC",
    b"avc1",
    b"vp08",
    b"vp09",
    b"av01",
    b"moof",
    b"mdat",
    b"moov",
    b"Opus",
    b"A title",
)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_nothing_on_the_disk_is_in_the_clear(desk: Desk, codec: Codec) -> None:
    frames = interview(codec, 3)
    desk.write(frames, finish=False)
    secrets = [*MARKERS, *(frame.payload[8:40] for frame in frames[:20] if len(frame.payload) > 40)]
    assert len(secrets) > len(MARKERS)
    for file in desk.data_dir.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert [secret for secret in secrets if secret in content] == [], file.name


def test_a_shared_screen_begins_a_segment_on_the_same_timeline(desk: Desk) -> None:
    desk.write(in_order(interview(seconds=4), screen(Codec.VP8, 1, START_S + 2)))
    reader = desk.reader()
    assert [segment.tracks for segment in reader.manifest.segments] == [BOTH, OF_CANDIDATE]
    pictures = [sample for _, fragment in reader.all_samples() for sample in fragment.screen]
    assert [sample.time / 90_000 for sample in pictures] == pytest.approx(
        [2 + index / 30 for index in range(30)], abs=1e-4
    )
    assert [sample.data for sample in pictures] == [frame.payload for frame in screen(Codec.VP8, 1)]
    assert not _index(desk).gaps
    assert verify(desk.path(), desk.keys.public_key).intact


def test_a_segment_long_after_the_screen_was_shared_does_not_announce_it(desk: Desk) -> None:
    desk.write(in_order(interview(seconds=25), screen(seconds=1)))
    segments = desk.reader().manifest.segments
    assert [TrackName.SCREEN in segment.tracks for segment in segments] == [True, True, False]


@pytest.mark.parametrize(("shared_s", "missing"), [(1, False), (14, True)])
def test_a_pause_is_one_of_the_screen_only_if_it_was_shared(
    desk: Desk, shared_s: float, *, missing: bool
) -> None:
    before = in_order(interview(seconds=14), screen(seconds=shared_s))
    desk.write(before + interview(seconds=1, start_s=START_S + 18))
    assert [gap.track for gap in _index(desk).gaps] == [*BOTH, *[TrackName.SCREEN] * missing]


def test_a_screen_that_no_player_could_show_is_a_gap_of_the_screen(desk: Desk) -> None:
    deltas = screen(seconds=1)[1:]
    desk.write(in_order(interview(seconds=2), deltas))
    (gap,) = _index(desk).gaps
    assert (gap.track, gap.lost, gap.cause) == (TrackName.SCREEN, 29, GapCause.PACKETS_LOST)
    assert _kept(desk) == (60, 100)


def test_an_interviewer_who_comes_begins_a_segment_on_the_same_timeline(desk: Desk) -> None:
    spoken = interviewer(Codec.VP8, 1, START_S + 2)
    desk.write(in_order(interview(seconds=4), spoken))
    reader = desk.reader()
    announced = [segment.tracks for segment in reader.manifest.segments]
    assert announced[0] == BOTH
    assert announced[-1] == (*BOTH, *OF_INTERVIEWER)
    fragments = [fragment for _, fragment in reader.all_samples()]
    pictures = [sample for fragment in fragments for sample in fragment.interviewer_video]
    sound = [sample for fragment in fragments for sample in fragment.interviewer_audio]
    assert [sample.time / 90_000 for sample in pictures] == pytest.approx(
        [2 + index / 30 for index in range(30)], abs=1e-4
    )
    assert [sample.time / 48_000 for sample in sound] == pytest.approx(
        [2 + index / 50 for index in range(50)], abs=1e-4
    )
    kept = [sample.data for sample in [*pictures, *sound]]
    assert sorted(kept) == sorted(frame.payload for frame in spoken)
    assert not _index(desk).gaps
    assert verify(desk.path(), desk.keys.public_key).intact


def test_a_segment_long_after_the_interviewer_left_does_not_announce_them(desk: Desk) -> None:
    desk.write(in_order(interview(seconds=25), interviewer(seconds=1)))
    tracks = [segment.tracks for segment in desk.reader().manifest.segments]
    assert [each[2:] == OF_INTERVIEWER for each in tracks] == [True, True, False]


@pytest.mark.parametrize(("there_s", "missing"), [(1, ()), (14, OF_INTERVIEWER)])
def test_a_pause_is_one_of_the_interviewer_only_if_they_were_there(
    desk: Desk, there_s: float, missing: tuple[TrackName, ...]
) -> None:
    before = in_order(interview(seconds=14), interviewer(seconds=there_s))
    after = in_order(
        interview(seconds=1, start_s=START_S + 18), interviewer(seconds=1, start_s=START_S + 18)
    )
    desk.write(before + after)
    assert [gap.track for gap in _index(desk).gaps] == [*BOTH, *missing]


def test_an_interviewer_who_is_alone_for_a_while_is_recorded_and_the_candidate_missed(
    desk: Desk,
) -> None:
    """As while a candidate's connection is lost, whose gaps the media plane declares."""
    apart = interview(seconds=1) + interview(seconds=1, start_s=START_S + 5)
    desk.write(in_order(apart, interviewer(seconds=6)))
    assert _kept(desk) == (60, 100)
    index = desk.reader().describe()
    assert sum(each.duration_s for each in index.fragments) == pytest.approx(6, abs=0.2)
    assert {each.interviewer for each in index.fragments} == {0}


def test_segments_of_a_long_recording_grow_so_that_the_manifest_does_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "SHORT_SEGMENTS", 2)
    sound = [
        EncodedFrame(TrackName.MICROPHONE, Codec.OPUS, b"\xff\x06", at_s, True, at_s)  # 120 ms
        for at_s in (START_S + 0.12 * index for index in range(5000))
    ]
    desk.write(sound)
    segments = desk.reader().manifest.segments
    lengths_s = [round((each.end_us - each.start_us) / 1e6) for each in segments]
    grown_s = [10, 10, 10, *range(15, 60, 5), *[60] * 4]
    assert lengths_s[:-1] == pytest.approx(grown_s[: len(lengths_s) - 1], abs=1)
    assert len(lengths_s) == 17
