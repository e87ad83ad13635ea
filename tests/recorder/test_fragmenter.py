"""Frames become fragments: where they are cut, and what clocks and cameras may do meanwhile."""

import itertools
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from server.core import h264, vp9
from server.core.frames import Codec, EncodedFrame, GapCause, TrackName
from server.recorder.format.tracks import OPUS_SILENCES, to_us
from server.recorder.writing.fragmenter import FRAGMENT_US, Cut, Fragmenter
from server.recorder.writing.sound_line import MAX_APART_US, SOUND_STEP_US
from tests.recorder.encoded import (
    FPS,
    START_S,
    VIDEO_CODECS,
    camera,
    in_order,
    interview,
    microphone,
)


def _cuts(frames: list[EncodedFrame], fragmenter: Fragmenter | None = None) -> list[Cut]:
    fragmenter = fragmenter or Fragmenter(None)
    cuts = [cut for frame in frames for cut in fragmenter.add(frame)]
    return cuts + fragmenter.finish()


def _times_s(cuts: list[Cut], track: TrackName) -> list[float]:
    samples = [
        s for cut in cuts for name, group in cut.fragment.by_track() if name is track for s in group
    ]
    return [to_us(track, sample.time) / 1e6 for sample in samples]


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_every_sample_arrives_once_at_its_own_time(codec: Codec) -> None:
    frames = interview(codec, 4.0)
    cuts = _cuts(frames)
    for track in TrackName:
        expected = [frame.capture_s - START_S for frame in frames if frame.track is track]
        assert _times_s(cuts, track) == pytest.approx(expected, abs=1e-4)


def test_no_fragment_lasts_a_second() -> None:
    for frames in (interview(seconds=4), microphone(4), camera(Codec.VP8, 4, keyframe_s=4)):
        lengths = [cut.fragment.end_us - cut.fragment.start_us for cut in _cuts(frames)]
        assert max(lengths) < 1_000_000
        assert max(lengths) >= FRAGMENT_US - 50_000


@pytest.mark.parametrize("later_s", [0.0, 0.2, 0.5])
def test_fragments_of_recordings_that_began_apart_end_together(later_s: float) -> None:
    began_us = round((START_S + later_s) * 1e6)
    cuts = _cuts(camera(Codec.VP8, 4, START_S + later_s, keyframe_s=4))[:-1]
    assert len(cuts) >= 4
    for cut in cuts:
        assert (began_us + cut.fragment.end_us) % FRAGMENT_US <= 1e6 / FPS


def test_track_whose_clock_is_ahead_does_not_hold_back_the_others() -> None:
    sound = microphone(4)
    cuts = _cuts([*sound[:5], *camera(Codec.VP8, 0.1, START_S + 9), *sound[5:]])
    longest = max(len(cut.fragment.audio) for cut in cuts)
    assert longest * 20_000 <= FRAGMENT_US + 20_000


def test_fragments_begin_at_keyframes_where_there_are_some() -> None:
    cuts = _cuts(camera(seconds=4))
    starts = [cut.fragment.start_us for cut in cuts if cut.keyframe]
    assert starts == pytest.approx([0, 1_000_000, 2_000_000, 3_000_000], abs=2)
    inside = [sample for cut in cuts for sample in cut.fragment.video[1:] if sample.keyframe]
    assert inside == []


def test_durations_meet_within_and_across_fragments() -> None:
    samples = [sample for cut in _cuts(camera(seconds=3)) for sample in cut.fragment.video]
    for sample, following in pairwise(samples):
        assert abs(sample.time + sample.duration - following.time) <= 1


def test_pictures_before_the_first_keyframe_are_dropped_and_declared() -> None:
    frames = camera(Codec.VP8, 2)[5:]
    fragmenter = Fragmenter(None)
    cuts = _cuts(frames, fragmenter)
    assert cuts[0].fragment.video[0].keyframe
    (gap,) = fragmenter.take_gaps()
    assert (gap.cause, gap.lost, gap.track) == (GapCause.PACKETS_LOST, 25, TrackName.CAMERA)
    assert (gap.start_s, gap.end_s) == pytest.approx((START_S + 5 / FPS, START_S + 1.0), abs=1e-3)


def test_a_camera_that_never_sends_a_keyframe_is_declared_at_the_end() -> None:
    fragmenter = Fragmenter(None)
    assert _cuts(camera(Codec.VP8, 0.9)[1:], fragmenter) == []
    (gap,) = fragmenter.take_gaps()
    assert gap.lost == 26


def test_parameter_sets_live_in_the_configuration_and_not_in_the_samples() -> None:
    cuts = _cuts(camera(Codec.H264, 1))
    config = cuts[0].video
    assert config is not None
    assert (config.width, config.height) == (160, 120)
    # ISO/IEC 14496-15 5.3.3.1.2: one SPS behind five bytes.
    assert config.configuration[5:6] == b"\xe1"
    assert h264.parse_sps(config.configuration[8:]).width == 160
    for cut in cuts:
        for sample in cut.fragment.video:
            assert {h264.nal_type(nal) for nal in h264.nal_units(sample.data)}.isdisjoint({7, 8})


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_a_new_size_begins_a_new_fragment_with_a_new_configuration(codec: Codec) -> None:
    small = camera(codec, 0.5)
    large = camera(codec, 0.5, START_S + 0.1, width=320, height=240)
    cuts = _cuts(small[:3] + large)
    assert [cut.video and cut.video.width for cut in cuts[:2]] == [160, 320]
    assert len(cuts[0].fragment.video) == 3


@pytest.mark.parametrize(("old", "new"), [*itertools.permutations(VIDEO_CODECS, 2)])
def test_a_new_codec_waits_for_its_keyframe(old: Codec, new: Codec) -> None:
    fragmenter = Fragmenter(None)
    cuts = _cuts(camera(old, 0.2) + camera(new, 1.4, START_S + 0.2)[1:], fragmenter)
    assert [cut.video and cut.video.codec for cut in cuts] == [old, new]
    (gap,) = fragmenter.take_gaps()
    assert gap.lost == 29


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        (Codec.H264, b"\0\0\0\xff"),
        (Codec.VP8, b"\0"),
        (Codec.VP9, b"\x40\0"),
        (Codec.VP9, b"\x86\0\xc0\xff\xc0"),  # an index of more than there is
        (Codec.AV1, b"\x32\x05ab"),
    ],
)
def test_unreadable_frames_are_declared_lost(codec: Codec, payload: bytes) -> None:
    frames = camera(codec, 0.5)
    frames[4] = replace(frames[4], payload=payload)
    fragmenter = Fragmenter(None)
    assert sum(len(cut.fragment.video) for cut in _cuts(frames, fragmenter)) == 14
    (gap,) = fragmenter.take_gaps()
    assert gap.lost == 1
    assert gap.end_s - gap.start_s == pytest.approx(1 / FPS, abs=1e-3)


def test_a_picture_of_spatial_layers_has_the_size_of_the_highest() -> None:
    base = camera(Codec.VP9, 0.1)[0]
    # VP9 6.2: an interframe, refresh_frame_flags, three references of other sizes, its own size.
    header = f"10000111 00000001 {0:012b} 000 {319:016b} {239:016b} 0".replace(" ", "")
    upper = int(header, 2).to_bytes(8, "big") + b"layer"
    frame = replace(base, payload=vp9.join_superframe([base.payload, upper]))
    (cut,) = _cuts([frame])
    assert cut.video is not None
    assert (cut.video.width, cut.video.height) == (320, 240)
    assert cut.fragment.video[0].data == frame.payload


def test_times_that_repeat_or_go_back_still_grow() -> None:
    frames = microphone(0.5)
    frames[5] = replace(frames[5], capture_s=frames[4].capture_s)
    frames[9] = replace(frames[9], capture_s=frames[2].capture_s)
    times = _times_s(_cuts(frames), TrackName.MICROPHONE)
    assert len(times) == 25
    assert times == sorted(set(times))


def _of_another_clock(seconds: float, skew: float) -> list[EncodedFrame]:
    return [
        replace(frame, capture_s=START_S + index / 50 * skew)
        for index, frame in enumerate(microphone(seconds))
    ]


@pytest.mark.parametrize("skew", [0.99, 1.01])
def test_sound_of_another_clock_is_contiguous_until_it_would_be_off(skew: float) -> None:
    frames = _of_another_clock(19, skew)
    fragmenter = Fragmenter(None)
    times = _times_s(_cuts(frames, fragmenter), TrackName.MICROPHONE)
    captured = [frame.capture_s - (fragmenter.epoch_us or 0) / 1e6 for frame in frames]
    assert times == pytest.approx(captured, abs=MAX_APART_US / 1e6 + 0.001)
    steps = [round(after - before, 6) for before, after in pairwise(times)]
    assert 2 <= len(steps) - steps.count(0.02) <= 3, "of 190 ms less 150, about 20 at a time"
    assert all(round(time * 1e6) % SOUND_STEP_US == 0 for time in times)


@pytest.mark.parametrize("track", [TrackName.CAMERA, TrackName.SCREEN])
@pytest.mark.parametrize("skew", [0.99, 1.01])
def test_pictures_stay_beside_the_sound_that_was_captured_with_them(
    track: TrackName, skew: float
) -> None:
    pictures = [
        replace(frame, track=track, capture_s=START_S + (frame.capture_s - START_S) * skew)
        for frame in camera(Codec.VP8, 8)
    ]
    cuts = _cuts(in_order(_of_another_clock(8, skew), pictures))
    sounds, shown = _times_s(cuts, TrackName.MICROPHONE), _times_s(cuts, track)
    assert len(sounds) == 400
    heard = [sounds[0] + index / 30 for index in range(240)]
    assert shown == pytest.approx(heard, abs=0.011), "as the first fragment's sound has moved"


def test_sound_whose_first_packets_came_late_lies_without_overlap_all_the_same() -> None:
    """Arrivals tell the time at first: 25 ms late, and less so by 5 % of what came since."""
    frames = [
        replace(frame, capture_s=frame.capture_s + max(0.0, 0.025 - 0.001 * index))
        for index, frame in enumerate(microphone(1.5))
    ]
    fragmenter = Fragmenter(None)
    times = _times_s(_cuts(frames, fragmenter), TrackName.MICROPHONE)
    late_s = (fragmenter.epoch_us or 0) / 1e6 - START_S
    assert late_s < 0.015
    assert times == pytest.approx([index / 50 for index in range(75)], abs=1e-6)


def test_a_capture_time_far_from_its_arrival_is_not_believed() -> None:
    frames = microphone(0.5)
    frames[5] = replace(frames[5], capture_s=START_S + 1e6)
    cuts = _cuts(frames)
    assert max(cut.fragment.end_us for cut in cuts) < 12_000_000


def test_silence_of_discontinuous_transmission_keeps_its_length() -> None:
    sent = [replace(microphone(0.02)[0], capture_s=START_S + 0.4 * index) for index in range(10)]
    times = _times_s(_cuts(sent), TrackName.MICROPHONE)
    assert times == pytest.approx([0.4 * index for index in range(10)], abs=1e-4)


def test_a_pause_does_not_lengthen_the_last_picture() -> None:
    cuts = _cuts(camera(Codec.VP8, 0.3) + camera(Codec.VP8, 0.3, START_S + 60))
    before = [cut.fragment.end_us for cut in cuts if cut.fragment.end_us < 60_000_000]
    assert before[-1] == pytest.approx(300_000, abs=100)


def test_a_continued_timeline_never_precedes_its_epoch() -> None:
    cuts = _cuts(microphone(0.1, START_S - 0.05), Fragmenter(round(START_S * 1e6)))
    assert cuts[0].fragment.start_us == 0


_frames = st.builds(
    EncodedFrame,
    track=st.just(TrackName.CAMERA),
    codec=st.sampled_from([Codec.VP8, Codec.H264]),
    payload=st.binary(max_size=40)
    | st.sampled_from([camera(Codec.VP8, 0.1)[0].payload, camera(Codec.H264, 0.1)[0].payload]),
    capture_s=st.floats(0, 100),
    keyframe=st.booleans(),
    arrived_s=st.floats(0, 100),
) | st.builds(
    EncodedFrame,
    track=st.just(TrackName.MICROPHONE),
    codec=st.just(Codec.OPUS),
    payload=st.binary(max_size=8) | st.sampled_from([*OPUS_SILENCES.values()]),
    capture_s=st.floats(0, 100),
    keyframe=st.just(True),
    arrived_s=st.floats(0, 100),
)


@given(st.lists(_frames, max_size=30))
def test_whatever_comes_the_timeline_grows_and_nothing_raises(frames: list[EncodedFrame]) -> None:
    cuts = _cuts(frames)
    for track in TrackName:
        times = _times_s(cuts, track)
        assert times == sorted(set(times))
        assert all(time >= 0 for time in times)
    assert all(s.duration > 0 for c in cuts for _, group in c.fragment.by_track() for s in group)
