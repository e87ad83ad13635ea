"""Holes that nobody declared: whose they are, how long, and why."""

from typing import Any

import pytest
from msgspec.structs import replace

from server.core.frames import GapCause, TrackName
from server.recorder.format.manifest import EventEntry, GapEntry, Manifest, SegmentEntry, State
from server.recorder.format.tracks import Fragment, Sample, to_ticks
from server.recorder.writing.pauses import Pauses, cut_short

CAMERA, MICROPHONE, SCREEN = TrackName.CAMERA, TrackName.MICROPHONE, TrackName.SCREEN
EPOCH_US = 1_760_000_000_000_000


def _manifest(*gaps: GapEntry, **fields: Any) -> Manifest:
    manifest = Manifest("vivavoce-recording", 1, "", "", "", 1, State.RECORDING, EPOCH_US)
    return replace(manifest, gaps=gaps, **fields)


def _fragment(at_s: float, *tracks: TrackName) -> Fragment:
    """Half a second of these."""
    samples = {
        name: (Sample(to_ticks(name, round(at_s * 1e6)), to_ticks(name, 500_000), True, b""),)
        for name in tracks
    }
    return Fragment(*(samples.get(name, ()) for name in TrackName))


def _told(
    pauses: Pauses, fragments: list[Fragment], manifest: Manifest | None = None
) -> list[tuple[TrackName, GapCause, float, float]]:
    manifest = manifest or _manifest()
    gaps: list[GapEntry] = []
    for fragment in fragments:
        gaps += pauses.before(fragment, manifest)
        pauses.recorded(fragment)
    gaps += pauses.at_end(manifest)
    return [
        (gap.track, gap.cause, (gap.start_us - EPOCH_US) / 1e6, (gap.end_us - EPOCH_US) / 1e6)
        for gap in gaps
    ]


def _seconds(start: int, end: int, *tracks: TrackName) -> list[Fragment]:
    return [_fragment(half / 2, *tracks) for half in range(2 * start, 2 * end)]


def test_a_camera_that_is_off_while_the_voice_goes_on_is_told_as_such() -> None:
    both = (CAMERA, MICROPHONE)
    interview = _seconds(0, 3, *both) + _seconds(3, 23, MICROPHONE) + _seconds(23, 25, *both)
    assert _told(Pauses(_manifest()), interview) == [(CAMERA, GapCause.PAUSED, 3.0, 23.0)]


@pytest.mark.parametrize(("away", "told"), [(2, False), (3, False), (4, True), (9, True)])
def test_a_camera_that_is_away_for_some_seconds_is_told_and_a_hitch_is_not(
    away: int, *, told: bool
) -> None:
    both, back = (CAMERA, MICROPHONE), 3 + away
    interview = _seconds(0, 3, *both) + _seconds(3, back, MICROPHONE) + _seconds(back, 15, *both)
    gaps = [(CAMERA, GapCause.PAUSED, 3.0, float(back))]
    assert _told(Pauses(_manifest()), interview) == gaps * told


def test_a_microphone_that_is_silent_to_the_end_is_told_at_the_end() -> None:
    interview = _seconds(0, 2, CAMERA, MICROPHONE) + _seconds(2, 20, CAMERA)
    assert _told(Pauses(_manifest()), interview) == [(MICROPHONE, GapCause.PAUSED, 2.0, 20.0)]


def test_a_track_that_never_came_and_one_that_comes_and_goes_are_not_missing() -> None:
    interview = _seconds(0, 3, MICROPHONE, SCREEN) + _seconds(3, 30, MICROPHONE)
    assert _told(Pauses(_manifest()), interview) == []


def test_only_what_others_left_of_a_pause_is_declared() -> None:
    lost = GapEntry(CAMERA, EPOCH_US + 14_000_000, EPOCH_US + 20_000_000, GapCause.PACKETS_LOST, 9)
    interview = _seconds(0, 3, CAMERA, MICROPHONE) + _seconds(3, 22, MICROPHONE)
    told = _told(Pauses(_manifest()), [*interview, _fragment(22, CAMERA)], _manifest(lost))
    assert told == [(CAMERA, GapCause.PAUSED, 3.0, 14.0)]


def test_a_pause_of_all_is_a_connection_that_was_lost_and_not_a_pause_of_each() -> None:
    both = (CAMERA, MICROPHONE)
    told = _told(Pauses(_manifest()), _seconds(0, 2, *both) + _seconds(60, 61, *both))
    assert told == [(each, GapCause.DISCONNECTED, 2.0, 60.0) for each in both]


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"state": State.INTERRUPTED}, GapCause.SERVER_RESTART),
        ({"events": (EventEntry("server-stopped", EPOCH_US),)}, GapCause.SERVER_RESTART),
        ({}, GapCause.DISCONNECTED),
    ],
)
def test_a_continued_recording_says_why_it_had_ended(
    fields: dict[str, Any], cause: GapCause
) -> None:
    ended = SegmentEntry("00000.seg", 1, "", "", 1, 1, 0, 4_000_000, (CAMERA, MICROPHONE), True)
    manifest = _manifest(segments=(ended,), **fields)
    told = _told(Pauses(manifest), _seconds(30, 31, CAMERA, MICROPHONE), manifest)
    assert told == [(each, cause, 4.0, 30.0) for each in (CAMERA, MICROPHONE)]


def test_what_is_written_again_after_a_failed_write_is_no_pause() -> None:
    pauses, fragments = Pauses(_manifest()), _seconds(0, 20, CAMERA, MICROPHONE)
    assert _told(pauses, fragments) == []
    pauses.back_to(2_000_000)
    assert _told(pauses, fragments[4:]) == []


def test_what_a_crash_cut_of_a_track_is_told_but_not_of_one_that_had_gone() -> None:
    tracks = tuple(TrackName)
    last = SegmentEntry("00000.seg", 1, "", "", 9, 8, 0, 30_000_000, tracks, False)
    known = GapEntry(CAMERA, EPOCH_US + 17_000_000, EPOCH_US + 30_000_000, GapCause.PACKETS_LOST, 3)
    ends_us = {
        CAMERA: 15_000_000,
        MICROPHONE: 29_000_000,
        SCREEN: 19_000_000,
        TrackName.INTERVIEWER_CAMERA: 29_950_000,
        TrackName.INTERVIEWER_MICROPHONE: 21_000_000,
    }
    gaps = cut_short(_manifest(known, segments=(last,)), ends_us)
    assert [
        (gap.track, gap.cause, (gap.start_us - EPOCH_US) / 1e6, (gap.end_us - EPOCH_US) / 1e6)
        for gap in gaps
    ] == [
        (CAMERA, GapCause.PAUSED, 15.0, 17.0),
        (MICROPHONE, GapCause.SERVER_RESTART, 29.0, 30.0),
        (TrackName.INTERVIEWER_MICROPHONE, GapCause.SERVER_RESTART, 21.0, 30.0),
    ]
