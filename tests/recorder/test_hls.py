"""Playlists over fragments: what RFC 8216bis demands of them, and what does not change."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Codec
from server.recorder.format import mp4
from server.recorder.format.tracks import Tracks
from server.recorder.replay import hls
from server.recorder.replay.hls import NotForHls, Row, Rows, Segment
from server.recorder.replay.index import Side
from server.recorder.replay.streams import Streams
from tests.recorder.conftest import Desk, feed
from tests.recorder.encoded import START_S, camera, in_order, interview, interviewer, screen

pytestmark = pytest.mark.may_block("the test itself reads the recording")
_S = 1_000_000
_SOUND = Tracks(None, True)


def rows(*fragments: tuple[float, float, bool], running: bool = False) -> Rows:
    """Of (start, end, keyframe) in seconds."""
    made = [
        Row(seq, round(start_s * _S), round(end_s * _S), keyframe, 0, 1000)
        for seq, (start_s, end_s, keyframe) in enumerate(fragments, 1)
    ]
    return Rows((_SOUND,), made, round(START_S * _S), running, False)


def names(side: Rows, *, event: bool) -> list[str]:
    return ["gap" if each.is_gap else each.name for each in hls.segments(side, event=event)]


def steady(seconds: float, keyframe_s: float = 4.0, *, running: bool = False) -> Rows:
    """Fragments of half a second."""
    return rows(
        *((n / 2, (n + 1) / 2, n / 2 % keyframe_s == 0) for n in range(round(seconds * 2))),
        running=running,
    )


def test_segments_of_a_finished_recording_begin_at_keyframes() -> None:
    made = list(hls.segments(steady(16), event=False))
    assert [(each.start_us, each.end_us) for each in made] == [
        (n * 4 * _S, (n + 1) * 4 * _S) for n in range(4)
    ]
    assert "INDEPENDENT" in hls.multivariant(steady(16))


def test_segments_of_a_running_recording_are_short() -> None:
    assert names(steady(9, running=True), event=True)[:3] == ["1-4.m4s", "5-8.m4s", "9-12.m4s"]


@pytest.mark.parametrize("keyframe_s", [0.5, 2.0, 4.0, 100.0])
def test_who_joins_a_running_recording_is_less_than_ten_seconds_behind(keyframe_s: float) -> None:
    """RFC 8216bis 6.3.3: players begin three target durations before the end of the playlist."""
    for seconds in range(12, 60):
        side = steady(seconds + 0.5 * (seconds % 2), keyframe_s, running=True)
        told_us = max(each.end_us for each in hls.segments(side, event=True))
        begins_us = told_us - 3 * side.target_s(event=True) * _S
        newest_us = side.rows[-1].end_us + _S  # what a fragment and its sync take
        assert newest_us - begins_us < 10 * _S


def test_a_camera_without_keyframes_is_cut_all_the_same() -> None:
    side = steady(20, 100)
    for event in (True, False):
        for each in hls.segments(side, event=event):
            assert round((each.end_us - each.start_us) / _S) <= side.target_s(event=event)
    assert "INDEPENDENT" not in hls.multivariant(side)


def test_where_nothing_was_recorded_the_time_goes_on_in_gaps() -> None:
    side = rows((0, 0.7, True), (0.75, 1.5, False), (9.5, 10, True), (10, 10.5, False))
    assert names(side, event=False) == ["1-2.m4s", "gap", "gap", "3-4.m4s"]
    text = hls.media_playlist(side, event=False)
    assert text.count("#EXT-X-GAP\n") == 2
    assert "#EXT-X-PROGRAM-DATE-TIME:2025-10-09T08:53:29.500Z\n#EXTINF:1.000000,\n3-4.m4s" in text


def test_a_short_pause_lasts_as_long_as_what_was_before_it() -> None:
    (segment,) = hls.segments(rows((0, 0.7, True), (1.4, 2, False)), event=False)
    assert (segment.start_us, segment.end_us) == (0, 2 * _S)


@pytest.mark.parametrize("pause_s", [0.8, 3, 14])
def test_media_lasts_as_long_as_its_playlist_says(desk: Desk, pause_s: float) -> None:
    desk.write(interview(Codec.H264, 4) + interview(Codec.H264, 2, START_S + 4 + pause_s))
    reader = desk.reader()
    for each in hls.segments(Streams(reader).rows(Side.CANDIDATE), event=False):
        if each.is_gap:
            continue
        last = mp4.parse_media(reader.fragment(each.last, fill_us=hls.PAUSE_US))
        for samples, rate in ((last.video, 90_000), (last.audio, 48_000)):
            end_s = (samples[-1].time + samples[-1].duration) / rate
            assert end_s == pytest.approx(each.end_us / _S, abs=0.05), each


def test_another_coding_is_a_discontinuity_with_a_map_of_its_own(desk: Desk) -> None:
    other = interview(Codec.VP9, 2, START_S + 2)
    desk.write([*interview(Codec.H264, 2), *other])
    text = hls.media_playlist(Streams(desk.reader()).rows(Side.CANDIDATE), event=False)
    first, second = text.split("#EXT-X-DISCONTINUITY\n")
    assert first.count("#EXT-X-MAP:") == second.count("#EXT-X-MAP:") == 1
    assert second.startswith('#EXT-X-MAP:URI="init-1-')
    assert "#EXT-X-PROGRAM-DATE-TIME" in second
    assert 'CODECS="avc1.42C00D,opus,vp09' in hls.multivariant(
        Streams(desk.reader()).rows(Side.CANDIDATE)
    )


def test_the_whole_media_playlist(desk: Desk) -> None:
    desk.write(interview(seconds=2))
    side = Streams(desk.reader()).rows(Side.CANDIDATE)
    last = side.rows[-1]
    assert hls.media_playlist(side, event=False).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:8",
        "#EXT-X-TARGETDURATION:6",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        f'#EXT-X-MAP:URI="{hls.init_name(side.inits, 0)}"',
        "#EXT-X-PROGRAM-DATE-TIME:2025-10-09T08:53:20.000Z",
        f"#EXTINF:{side.rows[1].end_us / _S:.6f},",
        "1-2.m4s",
        f"#EXTINF:{(last.end_us - side.rows[2].start_us) / _S:.6f},",
        f"3-{last.seq}.m4s",
        "#EXT-X-ENDLIST",
    ]


def test_vp8_is_refused(desk: Desk) -> None:
    desk.write(interview(Codec.VP8, 1))
    side = Streams(desk.reader()).rows(Side.CANDIDATE)
    for make in (hls.multivariant, lambda side: hls.media_playlist(side, event=False)):
        with pytest.raises(NotForHls):
            make(side)


def test_nothing_yet_is_an_index_error(desk: Desk) -> None:
    desk.write([])
    with pytest.raises(IndexError):
        hls.multivariant(Streams(desk.reader()).rows(Side.CANDIDATE))


def test_screen_and_interviewer_have_playlists_on_the_same_time(desk: Desk) -> None:
    frames = in_order(
        interview(seconds=10),
        screen(Codec.H264, 2, START_S + 4),
        interviewer(Codec.H264, 2, START_S + 7),
    )
    desk.write(frames)
    reader = desk.reader()
    for side, start_s in ((Side.SCREEN, 4), (Side.INTERVIEWER, 7)):
        gap, media, *_ = hls.segments(Streams(reader).rows(side), event=False)
        assert (gap.is_gap, gap.start_us) == (True, 0)
        assert gap.end_us == media.start_us == pytest.approx(start_s * _S, abs=0.75 * _S)
    assert "RESOLUTION=200x100" in hls.multivariant(Streams(reader).rows(Side.SCREEN))


def test_a_running_recording_only_adds_to_its_playlist(desk: Desk) -> None:
    writer = desk.writer()
    streams, before = None, list[str]()
    for n in range(8):
        feed(writer, interview(seconds=1.5, start_s=START_S + n * (3.5 if n > 5 else 1.5)))
        streams = streams or Streams(desk.reader())
        side = streams.rows(Side.CANDIDATE)
        text = hls.media_playlist(side, event=True)
        assert "#EXT-X-ENDLIST" not in text
        lines = text.splitlines()
        assert lines[: len(before)] == before
        before = lines
    assert len(before) > 20
    writer.finish()
    assert streams is not None
    text = hls.media_playlist(streams.rows(Side.CANDIDATE), event=True)
    assert text.splitlines()[: len(before)] == before
    assert text.endswith("#EXT-X-ENDLIST\n")


_FRAGMENTS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0, 2), st.floats(0, 200)),  # pause before it
        st.floats(0.02, 0.75),
        st.booleans(),
        st.booleans(),  # another coding
    ),
    max_size=40,
)


@given(_FRAGMENTS, st.booleans(), st.booleans())
def test_a_playlist_has_every_fragment_once_and_no_hole_in_time(
    drawn: list[tuple[float, float, bool, bool]], event: bool, is_side: bool
) -> None:
    made, at_us, init = [], 0, 0
    for seq, (pause_s, length_s, keyframe, changes) in enumerate(drawn, 1):
        at_us += round(pause_s * _S)
        init += changes
        end_us = at_us + round(length_s * _S)
        made.append(Row(seq, at_us, end_us, keyframe or changes, init, 10))
        at_us = end_us
    inits = (_SOUND,) * (init + 1)
    side = Rows(inits, made, 0, False, is_side)
    found = list(hls.segments(side, event=event))
    assert [n for each in found if not each.is_gap for n in range(each.first, each.last + 1)] == [
        row.seq for row in made
    ]
    assert all(each.end_us > each.start_us for each in found)
    assert all(_rounded(each) <= side.target_s(event=event) for each in found)
    for one, other in pairwise(found):
        assert abs(other.start_us - one.end_us) <= _S  # a gap is at least a second
    running = Rows(inits, made, 0, True, is_side)
    so_far = list(hls.segments(running, event=event))
    assert so_far == found[: len(so_far)]


def _rounded(each: Segment) -> int:
    return int((each.end_us - each.start_us) / _S + 0.5)


@given(st.one_of(st.text(max_size=30), st.from_regex(r"\d{1,12}-\d{1,12}\.m4s", fullmatch=True)))
def test_a_name_is_a_part_or_refused(name: str) -> None:
    try:
        part = hls.parse_name(name)
    except ValueError:
        return
    if isinstance(part, tuple):
        assert 1 <= part[0] <= part[1] < part[0] + hls.MAX_FRAGMENTS


def test_names_lead_back_to_what_they_name(desk: Desk) -> None:
    desk.write(camera(seconds=1))
    side = Streams(desk.reader()).rows(Side.CANDIDATE)
    assert hls.parse_name(hls.init_name(side.inits, 0)) == 0
    (segment,) = hls.segments(side, event=False)
    assert hls.parse_name(segment.name) == (segment.first, segment.last)
