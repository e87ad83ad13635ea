import logging

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
from server.media.forwarding.down_track import DownTrack
from server.media.forwarding.layer import Layer
from server.media.receiving.clock import PeerClock
from server.media.receiving.up_track import UpTrack, assemble
from server.media.source import SCREEN_SILENT_S, STRAGGLERS_S, Source
from tests.media.streams import receive, rtp

NOW = 1_800_000_000.0
KEYFRAME = b"\x10\x00\x00\x00\x9d\x01\x2a"


class Sink:
    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []
        self.gaps: list[Gap] = []

    def on_frame(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)

    def on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)


class FailingSink:
    def on_frame(self, frame: EncodedFrame) -> None:
        raise ValueError("a bug in a subscriber")

    def on_gap(self, gap: Gap) -> None:
        raise ValueError("a bug in a subscriber")


def camera(
    source: Source,
    ssrc: int = 1,
    name: TrackName = TrackName.CAMERA,
    layer: Layer | None = None,
) -> UpTrack:
    layer = layer or source.layer(name)
    up = UpTrack(
        name,
        Codec.VP8,
        96,
        ssrc,
        PeerClock(),
        layer.on_frame,
        layer.on_gap,
        lambda: None,
        [],
        repair=False,
    )
    source.add_up(up, layer)
    return up


def screen(source: Source, ssrc: int = 7) -> UpTrack:
    return camera(source, ssrc, TrackName.SCREEN)


def picture(up: UpTrack, seqno: int, now: float, sent_s: float | None = None) -> None:
    """`sent_s`: by the sender's clock; 30 pictures a second otherwise."""
    timestamp = seqno * 3000 if sent_s is None else round(sent_s * 90_000)
    receive(up, rtp(seqno, timestamp, KEYFRAME, marker=True), now)
    assemble(up.fresh)


def test_every_sink_gets_every_frame_until_it_is_removed() -> None:
    source, first, second = Source("one"), Sink(), Sink()
    source.add_sink(first)
    source.add_sink(second)
    up = camera(source)
    picture(up, 1, NOW)
    source.remove_sink(second)
    source.remove_sink(second)
    picture(up, 2, NOW + 0.03)
    assert (len(first.frames), len(second.frames)) == (2, 1)
    assert source.first_media_s == NOW


def test_sink_that_fails_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(FailingSink())
    source.add_sink(sink)
    with caplog.at_level(logging.ERROR):
        layer = source.layer(TrackName.CAMERA)
        picture(camera(source, layer=layer), 1, NOW)
        layer.on_gap(Gap(TrackName.CAMERA, NOW, NOW + 1, GapCause.PACKETS_LOST))
    assert (len(sink.frames), len(sink.gaps)) == (1, 1)
    assert caplog.text.count("a subscriber failed") == 2


def test_new_sink_asks_for_a_keyframe() -> None:
    source = Source("one")
    up = camera(source)
    picture(up, 1, NOW)
    assert not up.keyframe_due(NOW + 1)
    source.add_sink(Sink())
    assert up.keyframe_due(NOW + 1)


def interviewer(source: Source, ssrc: int) -> tuple[UpTrack, Layer]:
    layer = source.layer(TrackName.INTERVIEWER_CAMERA)
    return camera(source, ssrc, TrackName.INTERVIEWER_CAMERA, layer=layer), layer


def test_a_sink_gets_the_tracks_that_it_asked_for_and_no_other() -> None:
    source, every, analysed = Source("one"), Sink(), Sink()
    source.add_sink(every)
    source.add_sink(analysed, tracks=OF_CANDIDATE)
    picture(camera(source), 1, NOW)
    up, layer = interviewer(source, 2)
    picture(up, 1, NOW)
    layer.on_gap(Gap(TrackName.INTERVIEWER_CAMERA, NOW, NOW + 1, GapCause.PACKETS_LOST))
    assert [each.track for each in every.frames] == [*OF_CANDIDATE[:1], *OF_INTERVIEWER[:1]]
    assert [each.track for each in analysed.frames] == [TrackName.CAMERA]
    assert (len(every.gaps), len(analysed.gaps)) == (1, 0)


def test_an_interviewer_who_waits_for_the_candidate_reaches_no_sink() -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    up, layer = interviewer(source, 2)
    picture(up, 1, NOW)
    layer.on_gap(Gap(TrackName.INTERVIEWER_CAMERA, NOW, NOW + 1, GapCause.PACKETS_LOST))
    source.remove_up(up, NOW)
    up, _ = interviewer(source, 3)
    picture(up, 1, NOW + 4)
    assert (sink.frames, sink.gaps, source.first_media_s) == ([], [], None)
    picture(camera(source), 1, NOW + 5)
    # What came meanwhile can't be gone on from: the recording of it begins with a keyframe.
    receive(up, rtp(2, 6000, b"\x10\x01\x00", marker=True), NOW + 5)
    assemble(up.fresh)
    assert up.keyframe_due(NOW + 6)
    picture(up, 3, NOW + 6)
    assert [each.track for each in sink.frames] == [TrackName.CAMERA, TrackName.INTERVIEWER_CAMERA]
    assert [each.keyframe for each in sink.frames] == [True, True]
    assert (sink.gaps, source.first_media_s) == ([], NOW + 5)


def test_an_interviewer_who_comes_back_leaves_a_gap_unless_they_had_said_goodbye() -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    picture(camera(source), 1, NOW)
    for connection, told in enumerate((False, True, False)):
        source.publisher_connected(OF_INTERVIEWER, lambda: None, NOW)
        up, _ = interviewer(source, 2 + connection)
        picture(up, 1, NOW + connection)
        if told:
            source.goodbye(OF_INTERVIEWER)
        source.remove_up(up, NOW + connection)
    first = Gap(TrackName.INTERVIEWER_CAMERA, NOW, NOW + 1, GapCause.DISCONNECTED)
    assert sink.gaps == [first]


def test_a_publisher_takes_over_from_its_like_alone() -> None:
    source = Source("one")
    picture(camera(source), 1, NOW)
    up, _ = interviewer(source, 2)
    picture(up, 1, NOW)
    source.publisher_connected(OF_INTERVIEWER, lambda: 9.0, NOW)
    assert source._tracks[TrackName.INTERVIEWER_CAMERA].ups == []
    assert list(source.stats(NOW).tracks) == [TrackName.CAMERA]
    assert source.stats(NOW).round_trip_s is None, "that is the candidate's"


def test_time_between_two_publishers_is_a_gap_of_its_own_cause() -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    first = camera(source)
    picture(first, 1, NOW)
    source.remove_up(first, NOW)
    source.remove_up(first, NOW)
    assert sink.gaps == [], "how long it lasts is not known yet"
    picture(camera(source, 2), 1, NOW + 7)
    assert sink.gaps == [Gap(TrackName.CAMERA, NOW, NOW + 7, GapCause.DISCONNECTED)]
    picture(camera(source, 2), 2, NOW + 8)
    assert len(sink.gaps) == 1


def test_what_a_publisher_loses_at_its_beginning_is_not_told_twice() -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    first = camera(source)
    picture(first, 1, NOW)
    source.remove_up(first, NOW)
    again, delta = camera(source, 2), b"\x10\x01\x00"
    receive(again, rtp(2, 6000, delta, marker=True), NOW + 7)
    picture(again, 32, NOW + 8)
    again.tick(NOW + 20, None)
    told = [(round(gap.start_s - NOW), round(gap.end_s - NOW), gap.cause) for gap in sink.gaps]
    assert told == [(0, 7, GapCause.DISCONNECTED), (7, 8, GapCause.PACKETS_LOST)]


def test_an_observer_who_is_to_come_asks_for_a_keyframe_once() -> None:
    source, sent = Source("one"), list[bytes]()
    up = camera(source, 0)
    picture(up, 1, NOW)
    assert not up.keyframe_due(NOW + 1)
    source.expect_down(TrackName.CAMERA)
    assert up.keyframe_due(NOW + 1)
    picture(up, 2, NOW + 1.1)
    down = DownTrack(9, {Codec.VP8: {"": 120}}, lambda *fields: sent.append(fields[5]))
    source.add_down(TrackName.CAMERA, down, NOW + 1.2)
    assert len(sent) == 1
    assert not up.keyframe_due(NOW + 2.2)


def test_observer_before_the_publisher_and_across_two_of_them() -> None:
    source, sent = Source("one"), list[bytes]()
    down = DownTrack(9, {Codec.VP8: {"": 120}}, lambda *fields: sent.append(fields[5]))
    source.add_down(TrackName.CAMERA, down, NOW)
    for connection in range(2):
        picture(camera(source, connection), 1, NOW + connection)
        assert len(sent) == connection + 1
        source.publisher_connected(OF_CANDIDATE, lambda: None, NOW)
        assert source.stats(NOW).tracks == {}
    source.remove_down(TrackName.CAMERA, down)
    source.remove_down(TrackName.CAMERA, down)
    picture(camera(source, 3), 1, NOW + 3)
    assert len(sent) == 2


def test_track_that_was_replaced_is_not_removed_by_its_older_owner() -> None:
    source = Source("one")
    older, newer = camera(source, 1), camera(source, 2)
    source.remove_up(older, NOW)
    picture(newer, 1, NOW)
    assert source.stats(NOW).tracks[TrackName.CAMERA].frames == 1


def test_stats_are_those_of_the_current_tracks() -> None:
    source = Source("one")
    assert source.stats(NOW).round_trip_s is None
    source.publisher_connected(OF_CANDIDATE, lambda: 0.05, NOW)
    assert source.stats(NOW).round_trip_s is None, "nothing flows yet"
    up = camera(source)
    picture(up, 1, NOW)
    picture(up, 3, NOW)
    stats = source.stats(NOW)
    track = stats.tracks[TrackName.CAMERA]
    assert stats.round_trip_s == 0.05
    assert (track.codec, track.packets, track.packets_lost, track.frames) == (Codec.VP8, 2, 1, 1)
    assert track.bytes == 2 * len(KEYFRAME)


def test_a_screen_is_shown_from_its_first_picture_until_it_falls_silent() -> None:
    source = Source("one")
    up = screen(source)
    assert not source.shows_screen(NOW)
    picture(up, 1, NOW, 0.0)
    assert source.shows_screen(NOW + SCREEN_SILENT_S)
    assert not source.shows_screen(NOW + SCREEN_SILENT_S + 0.1)
    picture(up, 2, NOW + 9, 9.0)
    assert source.shows_screen(NOW + 9)


def test_a_screen_whose_end_was_told_is_gone_at_once_and_may_be_shared_again() -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    source.end_screen()
    up = screen(source)
    picture(up, 1, NOW)
    source.end_screen()
    picture(up, 2, NOW + STRAGGLERS_S / 2)
    assert not source.shows_screen(NOW)
    source.remove_up(up, NOW)
    again = screen(source, 8)
    picture(again, 1, NOW + 30)
    assert source.shows_screen(NOW + 30)
    assert sink.gaps == [], "nothing was shared in between"
    source.remove_up(again, NOW)
    picture(screen(source, 9), 1, NOW + 35)
    assert [(gap.track, gap.end_s) for gap in sink.gaps] == [(TrackName.SCREEN, NOW + 35)]
