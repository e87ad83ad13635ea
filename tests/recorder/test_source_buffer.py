"""What one SourceBuffer gets: the same tracks throughout, and nothing to stall on."""

import io
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import av
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from server.core.frames import OF_INTERVIEWER, Codec, EncodedFrame, TrackName
from server.recorder.format import mp4
from server.recorder.format.tracks import Fragment, Sample, Tracks, VideoConfig, opus_duration
from server.recorder.replay.index import Side
from server.recorder.replay.source_buffer import mime
from tests.recorder.conftest import Desk, feed
from tests.recorder.encoded import (
    FPS,
    START_S,
    VIDEO_CODECS,
    camera,
    held_back,
    in_order,
    interview,
    interviewer,
    microphone,
    screen,
)


def _played(desk: Desk, frames: list[EncodedFrame]) -> list[Fragment]:
    desk.write(in_order(frames))
    return _replayed(desk)


def _replayed(desk: Desk) -> list[Fragment]:
    reader = desk.reader()
    index = reader.describe()
    return [_parsed(reader.fragment(fragment.seq)) for fragment in index.fragments]


def _parsed(data: bytes) -> Fragment:
    """Of a fragment whose sound is all its neighbours' there is nothing to parse."""
    return mp4.parse_media(data) if data else Fragment((), ())


def _holes_s(fragments: list[Fragment]) -> list[float]:
    """Spans between samples that neither track's neighbours cover, of both tracks."""
    holes = []
    for rate, samples in (
        (90_000, [s for f in fragments for s in f.video]),
        (48_000, [s for f in fragments for s in f.audio]),
    ):
        for one, following in pairwise(samples):
            holes.append((following.time - one.time - one.duration) / rate)
    return [hole for hole in holes if hole > 0.04]


@pytest.mark.parametrize(
    ("codec", "record", "expected"),
    [
        (None, "", 'audio/mp4; codecs="opus"'),
        (Codec.VP8, "", 'video/webm; codecs="vp8,opus"'),
        (Codec.H264, "0142e01fff", 'video/mp4; codecs="avc1.42E01F,opus"'),
        (Codec.VP9, "001f820202020000", 'video/mp4; codecs="vp09.00.31.08,opus"'),
        (Codec.VP9, "020aa20202020000", 'video/mp4; codecs="vp09.02.10.10,opus"'),
        (Codec.AV1, "81050c00", 'video/mp4; codecs="av01.0.05M.08,opus"'),
        (Codec.AV1, "812dcc00", 'video/mp4; codecs="av01.1.13H.10,opus"'),
        (Codec.AV1, "8148ec00", 'video/mp4; codecs="av01.2.08H.12,opus"'),
    ],
)
def test_the_mime_type_is_exact(codec: Codec | None, record: str, expected: str) -> None:
    video = VideoConfig(codec, 1, 1, bytes.fromhex(record)) if codec else None
    assert mime(Tracks(video, True)) == expected
    assert mime(Tracks(video, False)) == expected.replace(",opus", "") or video is None


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_init_and_fragments_together_are_a_file_that_plays(desk: Desk, codec: Codec) -> None:
    desk.write(interview(codec, 3))
    reader = desk.reader()
    index = reader.describe()
    data = reader.init(Side.CANDIDATE, 0) + b"".join(
        reader.fragment(f.seq) for f in index.fragments
    )
    with av.open(io.BytesIO(data), "r") as container:
        assert container.format.name.startswith("matroska" if codec is Codec.VP8 else "mov")
        assert len(list(container.decode(video=0))) == 90
    assert ("webm" in index.mime) == (codec is Codec.VP8)


def test_undisturbed_media_is_replayed_unchanged(desk: Desk) -> None:
    played = _played(desk, interview(Codec.H264, 3))
    reader = desk.reader()
    recorded = [reader.samples(index) for index in range(len(played))]
    for one, other in zip(played, recorded, strict=True):
        assert [s.data for s in one.video] == [s.data for s in other.video]
    heard, was_heard = ([s.data for f in each for s in f.audio] for each in (played, recorded))
    assert heard == was_heard
    assert _holes_s(played) == []


def test_an_interview_that_begins_with_sound_announces_its_picture_too(desk: Desk) -> None:
    played = _played(desk, microphone(5) + camera(Codec.H264, 2, START_S + 3))
    index = desk.reader().describe()
    assert len(index.inits) == 1
    assert index.mime.startswith("video/mp4")
    assert mp4.parse_init(desk.reader().init(Side.CANDIDATE, 0)).names() == index.tracks
    assert played[0].video[0].time == 0, "the first picture stands in"
    assert index.fragments[0].keyframe
    assert _holes_s(played) == []


def test_a_camera_that_pauses_leaves_its_last_picture(desk: Desk) -> None:
    played = _played(
        desk, microphone(6) + camera(Codec.H264, 1) + camera(Codec.H264, 1, START_S + 5)
    )
    assert _holes_s(played) == []


def test_a_camera_that_stops_leaves_its_last_picture_to_the_end(desk: Desk) -> None:
    played = _played(desk, microphone(4) + camera(Codec.H264, 1))
    last = [sample for fragment in played for sample in fragment.video][-1]
    assert (last.time + last.duration) / 90_000 == pytest.approx(4.0, abs=0.05)


def test_while_a_camera_shows_nothing_for_long_its_last_keyframe_is_in_every_fragment(
    desk: Desk,
) -> None:
    """So that a replay begins at any of them, and forgets those before."""
    shown = camera(Codec.H264, 3, START_S + 3, keyframe_s=2.0)
    back = camera(Codec.H264, 6, START_S + 12, keyframe_s=4.0)[15:]
    played = _played(desk, microphone(18) + shown + back)
    fragments = desk.reader().describe().fragments
    # Without the parameter sets, which lie elsewhere.
    first, last, returned = (each.payload[-40:] for each in (shown[0], shown[60], back[105]))
    for fragment, media in zip(fragments, played, strict=True):
        data = {each.data[-40:] for each in media.video}
        if fragment.start_s < 2.2:
            assert (data, fragment.keyframe) == ({first}, True), "before the first one, that one"
        if 9.8 < fragment.start_s < 15.2:
            assert (data, fragment.keyframe) == ({last}, True)
            assert desk.reader().picture_times_s(fragment.seq) == [
                each.time / 90_000 for each in media.video
            ]
    assert _holes_s(played) == []
    pictures = [each for media in played for each in media.video]
    after = [each for each in pictures if each.time >= 12 * 90_000]
    own = next(n for n, each in enumerate(after) if each.data[-40:] != last)
    assert after[own].data[-40:] == returned, "none is shown without what it builds on"
    assert after[own].keyframe
    assert max(each.duration for each in pictures) < 4 * 90_000


def test_who_listens_live_is_not_kept_waiting_by_a_camera_that_shows_nothing(desk: Desk) -> None:
    writer = desk.writer()
    feed(writer, in_order(camera(Codec.H264, 3), microphone(3)))
    reader = desk.reader()
    for second in range(3, 12):
        feed(writer, microphone(1, START_S + second))
        assert second + 1 - reader.describe().duration_s < 2


def test_who_watches_live_is_not_kept_waiting_by_a_microphone_that_sends_nothing(
    desk: Desk,
) -> None:
    frames = in_order(camera(Codec.H264, 12), microphone(6))
    writer = desk.writer()
    feed(writer, frames[:1])
    reader = desk.reader()
    for place in range(1, len(frames), 7):
        feed(writer, frames[place : place + 7])
        newest_s = frames[min(place + 7, len(frames)) - 1].capture_s - START_S
        assert newest_s - reader.describe().duration_s < 3


@pytest.mark.parametrize(
    ("waits", "unheard_s"),
    [
        (((3.1, 1.0),), []),
        (((3.1, 1.9),), []),
        # So long as nothing has before: it is not known that it is not off.
        (((3.1, 3.0), (9.1, 3.0)), [pytest.approx(3.1, abs=0.1), pytest.approx(6.1, abs=0.2)]),
    ],
)
def test_sound_that_waits_for_what_was_lost_is_waited_for_as_long_as_it_has_been_late(
    desk: Desk, waits: tuple[tuple[float, float], ...], unheard_s: list[float]
) -> None:
    """By who watches live; in the recording it is whole."""
    sound = [replace(each, payload=b"\xfc%d" % n) for n, each in enumerate(microphone(16))]
    frames = in_order(camera(Codec.H264, 16), sound)
    for from_s, by_s in waits:
        frames = held_back(frames, from_s, by_s)
    writer = desk.writer()
    feed(writer, frames[:1])
    reader, played = desk.reader(), list[Fragment]()
    for place in range(1, len(frames), 7):
        feed(writer, frames[place : place + 7])
        more = reader.describe(after=len(played)).fragments
        played += [_parsed(reader.fragment(each.seq)) for each in more]
    heard = {each.data for fragment in played for each in fragment.audio}
    until_s = played[-1].audio[-1].time / 48_000
    unheard = [n / 50 for n, each in enumerate(sound) if each.payload not in heard]
    unheard = [at_s for at_s in unheard if at_s < until_s - 0.1]
    assert [*unheard[:1], *unheard[-1:]] == unheard_s
    assert _jumps([each for fragment in played for each in fragment.video]) == []
    assert _jumps([each for fragment in played for each in fragment.audio]) == []


def test_missing_sound_is_filled_with_silence(desk: Desk) -> None:
    played = _played(desk, camera(Codec.H264, 6) + microphone(1) + microphone(1, START_S + 4))
    assert _holes_s(played) == []
    sounds = [sample for fragment in played for sample in fragment.audio]
    assert len(sounds) == pytest.approx(300, abs=4)


def test_a_short_gap_of_both_is_filled_and_a_long_one_left_to_jump_over(desk: Desk) -> None:
    frames = interview(Codec.H264, 1) + interview(Codec.H264, 1, START_S + 6)
    frames += interview(Codec.H264, 1, START_S + 60)
    played = _played(desk, frames)
    holes = _holes_s(played)
    assert holes == pytest.approx([53.0, 53.0], abs=0.1), "of both, as each says how long it lasts"
    assert max(len(fragment.audio) for fragment in played) < 400


def test_the_silence_of_discontinuous_transmission_is_filled(desk: Desk) -> None:
    sparse = [frame for index, frame in enumerate(microphone(4)) if index % 20 == 0]
    assert _holes_s(_played(desk, sparse + camera(Codec.H264, 4))) == []


@pytest.mark.parametrize("skew", [0.98, 1.02])
def test_sound_of_another_clock_is_packet_after_packet(desk: Desk, skew: float) -> None:
    sound = [
        replace(frame, capture_s=START_S + index / 50 * skew, payload=b"\xfc%d" % index)
        for index, frame in enumerate(microphone(8))
    ]
    silent = [*sound[:100], *sound[150:]]
    sounds = [each for f in _played(desk, silent + camera(Codec.H264, 8)) for each in f.audio]
    assert sounds[0].time == 0
    assert all(one.time + one.duration == other.time for one, other in pairwise(sounds))
    assert all(each.duration == opus_duration(each.data) for each in sounds)
    heard = {each.data: each.time / 48_000 for each in sounds}
    assert all(each.payload in heard for each in silent)
    epoch_s = (desk.reader().manifest.epoch_us or 0) / 1e6
    apart_s = [heard[each.payload] + epoch_s - each.capture_s for each in silent]
    assert 0.05 < max(map(abs, apart_s)) < 0.13
    assert abs(apart_s[100]) < 0.002, "a hole takes up what was apart"


@pytest.mark.parametrize("by_s", [0.04, 0.3, 1.0, 3.0])
def test_sound_that_came_later_than_pictures_of_its_time_has_its_place(
    desk: Desk, by_s: float
) -> None:
    sound = [replace(each, payload=b"\xfc%d" % n) for n, each in enumerate(microphone(8))]
    desk.write(held_back(in_order(camera(Codec.H264, 8), sound), 3.1, by_s))
    sounds = [each for fragment in _replayed(desk) for each in fragment.audio]
    assert [each.data for each in sounds] == [each.payload for each in sound]
    assert [each.time for each in sounds] == [960 * number for number in range(400)]


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264])
def test_a_fragment_whose_sound_all_belongs_to_its_neighbours_is_played_as_nothing(
    desk: Desk, codec: Codec
) -> None:
    """Pictures wait for a packet that was lost, and a keyframe ends what began meanwhile."""
    lost_s, came_s = START_S + 1.58, START_S + 1.88
    pictures = [
        replace(each, arrived_s=came_s) if lost_s <= each.capture_s < came_s else each
        for each in camera(codec, 4, keyframe_s=1.6)
    ]
    desk.write(sorted(pictures + microphone(4), key=lambda frame: frame.arrived_s))
    reader = desk.reader()
    played = [reader.fragment(each.seq) for each in reader.describe().fragments]
    assert played.count(b"") == 1
    file = io.BytesIO(reader.init(Side.CANDIDATE, 0) + b"".join(played))
    with av.open(file, "r") as container:
        streams = [packet.stream.type for packet in container.demux() if packet.pts is not None]
    assert (streams.count("video"), streams.count("audio")) == (120, 200)


def _jumps(samples: list[Sample]) -> list[tuple[Sample, Sample]]:
    """Where a browser drops all pictures up to the next keyframe.

    W3C Media Source Extensions 3.5.8, step 6 of coded frame processing: the time goes back, or
    by more than twice the last frame's duration forth.
    """
    return [
        (one, following)
        for one, following in pairwise(samples)
        if not 0 <= following.time - one.time <= 2 * one.duration
    ]


_SPARSE = camera(Codec.H264, 6)[::12], microphone(6)  # 2.5 pictures a second
_PAUSING = camera(Codec.H264, 2) + camera(Codec.H264, 2, START_S + 3.5), microphone(6)
_SILENT = camera(Codec.H264, 6), microphone(2) + microphone(2, START_S + 3.5)
#: What comes back does not begin with a keyframe.
_BACK = camera(Codec.H264, 6, START_S + 7, keyframe_s=4.0)[15:]
_AWAY = camera(Codec.H264, 2, keyframe_s=4.0) + _BACK, microphone(13)


@pytest.mark.parametrize("sound_late_s", [-0.3, 0.0, 0.04, 0.3])
@pytest.mark.parametrize(
    ("pictures", "sound"),
    [(camera(Codec.H264, 6), microphone(6)), _SPARSE, _PAUSING, _SILENT, _AWAY],
    ids=["whole", "sparse", "pausing", "silent", "away"],
)
def test_what_is_played_while_it_is_recorded_is_followed_by_the_rest_without_a_jump(
    desk: Desk, pictures: list[EncodedFrame], sound: list[EncodedFrame], sound_late_s: float
) -> None:
    """However much of it is known when each fragment is read."""
    late = [replace(each, arrived_s=each.arrived_s + sound_late_s) for each in sound]
    arriving = sorted(pictures + late, key=lambda frame: frame.arrived_s)
    writer = desk.writer()
    feed(writer, arriving[:1])
    reader, played = desk.reader(), list[Fragment]()
    for place in range(1, len(arriving), 7):
        feed(writer, arriving[place : place + 7])
        more = reader.describe(after=len(played)).fragments
        played += [_parsed(reader.fragment(each.seq)) for each in more]
    assert len(played) >= 6
    assert _jumps([each for fragment in played for each in fragment.video]) == []
    assert _jumps([each for fragment in played for each in fragment.audio]) == []


def _stalled(frames: list[EncodedFrame], at_s: float, for_s: float) -> list[EncodedFrame]:
    """The same, of which nothing arrives for so long, and then all of it."""
    begin, end = START_S + at_s, START_S + at_s + for_s
    return [
        replace(each, arrived_s=end) if begin <= each.arrived_s < end else each for each in frames
    ]


@pytest.mark.parametrize("stall_s", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("side", ["screen", "interviewer"])
def test_what_is_beside_the_candidate_is_played_while_it_is_recorded_without_a_jump(
    desk: Desk, side: str, stall_s: float
) -> None:
    beside = interviewer(seconds=8, keyframe_s=8) if side == "interviewer" else _still_screen()
    frames = interview(Codec.H264, 9) + _stalled(beside, 2.6, stall_s)
    arriving = sorted(frames, key=lambda frame: frame.arrived_s)
    writer = desk.writer()
    feed(writer, arriving[:1])
    reader, told, played = desk.reader(), 0, list[Fragment]()
    for place in range(1, len(arriving), 7):
        feed(writer, arriving[place : place + 7])
        more = reader.describe(after=told).fragments
        told += len(more)
        shown = [each.seq for each in more if getattr(each, side) is not None]
        read = reader.screen_fragment if side == "screen" else reader.interviewer_fragment
        played += [_parsed(read(seq)) for seq in shown]
    assert _jumps([each for fragment in played for each in fragment.video]) == []
    assert _jumps([each for fragment in played for each in fragment.audio]) == []


def _still_screen() -> list[EncodedFrame]:
    """Moves, stands still for some seconds, and moves again."""
    frames = screen(seconds=8, keyframe_s=8)
    return [*frames[:70], frames[100], *frames[200:]]


class _Block(NamedTuple):
    track: int
    time_ms: int
    duration_ms: int


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """As `webm` writes them: every size in eight octets."""
    while data:
        length = 8 - data[0].bit_length() + 1
        number, start = int.from_bytes(data[:length]), length + 8
        end = start + (int.from_bytes(data[length:start]) & (1 << 56) - 1)
        yield number, data[start:end]
        data = data[end:]


def _blocks(cluster: bytes) -> list[_Block]:
    """Of a media segment that is one Cluster (RFC 9559 5.1.3)."""
    ((_, body),) = _elements(cluster)
    (_, base), *blocks = _elements(body)
    found = []
    for number, block in blocks:
        told = dict(_elements(block)) if number == 0xA0 else {0xA1: block}  # BlockGroup
        track, offset = told[0xA1][0] & 0x7F, int.from_bytes(told[0xA1][1:3])
        duration_ms = opus_duration(told[0xA1][4:]) // 48
        if 0x9B in told:  # BlockDuration
            duration_ms = int.from_bytes(told[0x9B])
        found.append(_Block(track, int.from_bytes(base) + offset, duration_ms))
    return found


@pytest.mark.parametrize("sound_late_s", [-0.05, *(each / 1000 for each in range(0, 20, 4)), 0.3])
def test_a_cluster_begins_where_the_former_ends_whenever_sound_comes(
    desk: Desk, sound_late_s: float
) -> None:
    """Before that, Firefox begins anew; after a last block that was cut too short, Chromium does:
    both drop all pictures up to the next keyframe."""
    late = [
        replace(each, capture_s=each.capture_s + 0.0073, arrived_s=each.arrived_s + sound_late_s)
        for each in microphone(6)
    ]
    pictures = camera(Codec.VP8, 6, keyframe_s=4.0)
    desk.write(sorted(pictures + late, key=lambda frame: frame.arrived_s))
    reader = desk.reader()
    clusters = [_blocks(reader.fragment(each.seq)) for each in reader.describe().fragments]
    for former, following in pairwise(clusters):
        assert min(each.time_ms for each in following) >= max(
            each.time_ms + each.duration_ms for each in former
        )
    for track in (1, 2):
        blocks = [each for cluster in clusters for each in cluster if each.track == track]
        for last, first in pairwise(blocks):
            assert first.time_ms - last.time_ms <= 2 * last.duration_ms


def _shaken(seed: int) -> list[EncodedFrame]:
    """VP8 whose pictures pause now and then, with sound of which packets are lost."""
    draw, at_s, shaken = random.Random(seed), START_S, []
    for frame in camera(Codec.VP8, 2, keyframe_s=8.0):
        shaken.append(replace(frame, capture_s=at_s, arrived_s=at_s))
        at_s += draw.choice([1 / FPS] * 12 + [0.05, 0.07, 0.1, 0.2, 0.5, 0.74, 0.76, 0.8, 1.2])
    off_s, late_s = draw.uniform(0, 0.02), draw.choice([-0.03, 0, 0.03, 0.2])
    for frame in microphone(6):
        if draw.random() > 0.01:
            capture_s, arrived_s = frame.capture_s + off_s, frame.arrived_s + late_s
            shaken.append(replace(frame, capture_s=capture_s, arrived_s=arrived_s))
    return sorted(shaken, key=lambda frame: frame.arrived_s)


@settings(max_examples=30)
@given(seed=st.integers(0, 1 << 30))
@example(seed=61)
@example(seed=611)
def test_whatever_pauses_no_picture_and_no_sound_of_webm_is_cut_too_short(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    desk = Desk(tmp_path_factory.mktemp("shaken"))
    desk.write(_shaken(seed))
    reader = desk.reader()
    media = [reader.fragment(each.seq) for each in reader.describe().fragments]
    blocks = [block for each in media if each for block in _blocks(each)]
    for track in (1, 2):
        of_one = [each for each in blocks if each.track == track]
        for one, following in pairwise(of_one):
            assert 0 <= following.time_ms - one.time_ms <= 2 * one.duration_ms


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP9, Codec.AV1])
def test_a_change_of_codec_is_another_init_with_its_own_type(desk: Desk, codec: Codec) -> None:
    desk.write(interview(Codec.VP8, 2))
    desk.write(interview(codec, 2, START_S + 4))
    index = desk.reader().describe()
    assert [init.mime.split(";")[0] for init in index.inits] == ["video/webm", "video/mp4"]
    assert [fragment.init for fragment in index.fragments] == sorted(
        fragment.init for fragment in index.fragments
    )


def test_a_continued_recording_of_one_kind_keeps_one_init(desk: Desk) -> None:
    desk.write(interview(Codec.VP8, 1))
    desk.write(interview(Codec.VP8, 1, START_S + 4))
    assert len(desk.reader().describe().inits) == 1


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_the_screen_is_a_replay_of_its_own(desk: Desk, codec: Codec) -> None:
    desk.write(in_order(interview(Codec.H264, 6), screen(codec, 2, START_S + 2)))
    reader = desk.reader()
    index = reader.describe()
    (init,) = index.screens
    assert (init.width, init.height, "opus" in init.mime) == (200, 100, False)
    shown = [fragment for fragment in index.fragments if fragment.screen is not None]
    assert {fragment.screen for fragment in shown} == {0}
    assert shown[0].screen_keyframe
    fragments = [reader.screen_fragment(each.seq) for each in shown]
    data = reader.init(Side.SCREEN, 0) + b"".join(fragments)
    with av.open(io.BytesIO(data), "r") as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    assert times == pytest.approx([2 + each / 30 for each in range(60)], abs=0.002)
    camera_alone = [
        reader.init(Side.CANDIDATE, 0) + reader.fragment(each.seq) for each in index.fragments
    ]
    for each in camera_alone:
        with av.open(io.BytesIO(each)) as container:
            assert [stream.type for stream in container.streams] == ["video", "audio"]


def test_what_is_not_there_of_the_screen_is_refused(desk: Desk) -> None:
    desk.write(in_order(interview(seconds=3), screen(seconds=1)))
    reader = desk.reader()
    last = reader.describe().fragments[-1]
    assert last.screen is None
    with pytest.raises(IndexError):
        reader.screen_fragment(last.seq)
    with pytest.raises(IndexError):
        reader.init(Side.SCREEN, 1)


def test_a_still_screen_lasts_until_its_next_picture_and_an_ended_one_does_not(desk: Desk) -> None:
    still = screen(seconds=1)[0], screen(seconds=1, start_s=START_S + 4)[0]
    desk.write(in_order(interview(seconds=8), list(still)))
    reader = desk.reader()
    shown = [each.seq for each in reader.describe().fragments if each.screen is not None]
    first, last = (mp4.parse_media(reader.screen_fragment(seq)).video[-1] for seq in shown)
    assert first.duration == last.time - first.time == 4 * 90_000
    assert last.duration < 90_000


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_the_interviewer_is_a_replay_of_their_own_with_sound(desk: Desk, codec: Codec) -> None:
    desk.write(in_order(interview(Codec.H264, 6), interviewer(codec, 2, START_S + 2)))
    reader = desk.reader()
    index = reader.describe()
    (init,) = index.interviewers
    assert (init.width, init.height, "opus" in init.mime) == (120, 90, True)
    shown = [fragment for fragment in index.fragments if fragment.interviewer is not None]
    assert {fragment.interviewer for fragment in shown} == {0}
    assert shown[0].interviewer_keyframe
    data = reader.init(Side.INTERVIEWER, 0)
    data += b"".join(reader.interviewer_fragment(each.seq) for each in shown)
    with av.open(io.BytesIO(data), "r") as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    assert times == pytest.approx([2 + each / 30 for each in range(60)], abs=0.002)
    with av.open(io.BytesIO(data), "r") as container:
        sound = [float(frame.time or 0) for frame in container.decode(audio=0)]
    assert (sound[0], sound[-1]) == pytest.approx((2.0, 3.98), abs=0.05)
    assert index.tracks == (TrackName.CAMERA, TrackName.MICROPHONE, *OF_INTERVIEWER)
    for each in index.fragments:
        with av.open(
            io.BytesIO(reader.init(Side.CANDIDATE, 0) + reader.fragment(each.seq))
        ) as container:
            assert [stream.type for stream in container.streams] == ["video", "audio"]


def test_what_is_not_there_of_the_interviewer_is_refused(desk: Desk) -> None:
    desk.write(in_order(interview(seconds=3), interviewer(seconds=1)))
    reader = desk.reader()
    last = reader.describe().fragments[-1]
    assert (last.interviewer, last.interviewer_keyframe) == (None, False)
    with pytest.raises(IndexError):
        reader.interviewer_fragment(last.seq)
    with pytest.raises(IndexError):
        reader.init(Side.INTERVIEWER, 1)


def test_an_interviewer_who_is_heard_before_they_are_seen_and_goes_silent_plays_through(
    desk: Desk,
) -> None:
    voice = [f for f in interviewer(seconds=5) if f.track is TrackName.INTERVIEWER_MICROPHONE]
    picture = [f for f in interviewer(seconds=2) if f.track is TrackName.INTERVIEWER_CAMERA]
    late = [replace(f, capture_s=f.capture_s + 4, arrived_s=f.arrived_s + 4) for f in picture]
    desk.write(in_order(interview(seconds=6), voice, late))
    reader = desk.reader()
    shown = [each.seq for each in reader.describe().fragments if each.interviewer is not None]
    fragments = [mp4.parse_media(reader.interviewer_fragment(seq)) for seq in shown]
    assert fragments[0].video[0].time == 0, "the first picture stands in"
    assert _holes_s(fragments) == []
