from collections.abc import Callable

import pytest

from server.core import rtcp
from server.core.frames import Codec, EncodedFrame, Gap, GapCause, TrackName
from server.media.receiving.carried import RetransmissionStream
from server.media.receiving.clock import PeerClock
from server.media.receiving.nack import MIN_PATIENCE_S
from server.media.receiving.up_track import (
    BEGINNING_S,
    DOUBLED_AFTER_S,
    FLOODED_ANSWER_S,
    KEYFRAME_ANSWER_S,
    KEYFRAME_INTERVAL_S,
    KEYFRAME_SPACING_S,
    REORDER_DEADLINE_S,
    RING_LENGTH,
    SHORTER,
    UpTrack,
    assemble,
    keyframe_interval_s,
)
from server.media.receiving.uplink import Uplink
from tests.media.streams import TICKS, Picture, described, pictures, receive, rtp

NOW = 1_800_000_000.0


class Down:
    waiting = False

    def __init__(self) -> None:
        self.seqnos: list[int] = []

    def forward(self, seqno: int, timestamp: int, marker: bool, payload: bytes, now: float) -> None:
        self.seqnos.append(seqno)


class Track:
    """An up track, of VP8 or Opus unless another codec is asked for, and what came out of it."""

    def __init__(
        self,
        name: TrackName = TrackName.CAMERA,
        *,
        repair: bool = True,
        codec: Codec | None = None,
        dependency_extension: int | None = None,
        chance: Callable[[], float] = lambda: 1.0,
    ) -> None:
        codec = codec or (Codec.VP8 if name is TrackName.CAMERA else Codec.OPUS)
        self.frames: list[EncodedFrame] = []
        self.gaps: list[Gap] = []
        self.down = Down()
        self.hurries: list[bool] = []
        self.up = UpTrack(
            name,
            codec,
            96,
            1,
            PeerClock(),
            self.frames.append,
            self.gaps.append,
            lambda: self.hurries.append(True),
            [],
            repair=repair,
            dependency_extension=dependency_extension,
            chance=chance,
        )
        self.up.downs.append(self.down)

    def receive(self, data: bytes, now: float = NOW) -> None:
        receive(self.up, data, now)
        assemble(self.up.fresh)


def wire(
    sequence: tuple[Picture, ...], *, seqno: int = 65_500, timestamp: int = 0xFFFF_0000
) -> list[tuple[float, bytes]]:
    """(when it arrives, packet) across both wrap-arounds, at 30 pictures a second."""
    out = []
    for index, picture in enumerate(sequence):
        for payload in picture.payloads:
            marker = payload is picture.payloads[-1]
            data = rtp(seqno, timestamp + TICKS * index, payload, marker=marker)
            out.append((NOW + index / 30, data))
            seqno += 1
    return out


def test_frames_and_packets_come_out_across_both_wrap_arounds() -> None:
    track, sequence = Track(), pictures(Codec.VP8)
    sent = wire(sequence)
    for now, data in sent:
        track.receive(data, now)
    assert [each.payload for each in track.frames] == [each.frame for each in sequence]
    assert [each.keyframe for each in track.frames] == [each.keyframe for each in sequence]
    captured = [each.capture_s - NOW for each in track.frames]
    assert captured == pytest.approx([index / 30 for index in range(12)], abs=1e-4)
    assert track.down.seqnos == list(range(track.down.seqnos[0], track.down.seqnos[0] + len(sent)))
    assert (track.up.packets, track.up.packets_lost, track.gaps) == (len(sent), 0, [])


def test_duplicates_are_counted_and_neither_forwarded_nor_assembled() -> None:
    track = Track()
    sent = wire(pictures(Codec.VP8)[:2])
    for now, data in [each for pair in zip(sent, sent, strict=True) for each in pair]:
        track.receive(data, now)
    assert (len(track.frames), track.up.duplicates) == (2, len(sent))
    assert len(track.down.seqnos) == len(sent)


def test_lost_pictures_become_one_gap_from_the_last_frame_to_the_next() -> None:
    track, sequence = Track(), pictures(Codec.VP8)
    sent = wire(sequence)
    gone = len(sequence[0].payloads)
    for now, data in sent[:gone] + sent[gone + 1 :]:
        track.receive(data, now)
    track.up.tick(NOW + 10, None)
    (gap,) = track.gaps
    assert (gap.track, gap.cause, gap.lost) == (TrackName.CAMERA, GapCause.PACKETS_LOST, 1)
    assert gap.start_s == pytest.approx(NOW, abs=1e-3)
    assert gap.end_s == pytest.approx(NOW + 4 / 30, abs=1e-3)
    assert track.up.packets_lost == 1


@pytest.mark.parametrize(
    ("silence_s", "cause"),
    [((0.02, 0.11), GapCause.DISCONNECTED), ((0.12, 0.9), GapCause.PACKETS_LOST)],
)
def test_what_is_missing_because_the_candidate_was_lost_says_so(
    silence_s: tuple[float, float], cause: GapCause
) -> None:
    track, sequence = Track(), pictures(Codec.VP8)
    sent = wire(sequence)
    gone = len(sequence[0].payloads)
    for now, data in sent[:gone] + sent[gone + 1 :]:
        track.receive(data, now)
    from_s, until_s = silence_s
    track.up.silent(NOW + from_s, NOW + until_s)
    track.up.tick(NOW + 10, None)
    (gap,) = track.gaps
    assert gap.cause is cause


def test_pictures_before_the_first_keyframe_are_a_gap_from_the_first_packet_on() -> None:
    track, sequence = Track(), pictures(Codec.VP8)
    for now, data in wire(sequence)[1:]:
        track.receive(data, now)
    (gap,) = track.gaps
    assert gap.start_s == pytest.approx(NOW, abs=1e-3)
    assert gap.end_s == track.frames[0].capture_s == pytest.approx(NOW + 4 / 30, abs=1e-3)


def test_sound_behind_a_hole_is_given_out_when_the_track_ends() -> None:
    track = Track(TrackName.MICROPHONE)
    for seqno in (1, 2, 4, 5):
        track.receive(rtp(seqno, 960 * seqno, b"opus"), NOW + seqno * 0.02)
    assert len(track.frames) == 2
    for _ in range(2):
        track.up.close(NOW + 0.11)
    assert len(track.frames) == 4
    (gap,) = track.gaps
    assert (round(gap.end_s - gap.start_s, 3), gap.lost) == (0.04, 1)


def test_pictures_that_never_became_whole_are_a_gap_when_the_track_ends() -> None:
    track, sequence = Track(), pictures(Codec.VP8)[:4]
    sent = wire(sequence)
    del sent[len(sequence[0].payloads)]
    for now, data in sent:
        track.receive(data, now)
    assert track.gaps == []
    for _ in range(2):
        track.up.close(NOW + 0.2)
    (gap,) = track.gaps
    assert gap.start_s == track.frames[-1].capture_s
    assert gap.end_s == pytest.approx(NOW + 3 / 30, abs=1e-3)
    assert len(track.frames) == 1


def test_a_picture_that_is_cut_off_by_the_tracks_end_is_not_missing() -> None:
    track = Track()
    for now, data in wire(pictures(Codec.VP8)[:5])[:-1]:
        track.receive(data, now)
    track.up.close(NOW + 0.2)
    assert (track.gaps, len(track.frames)) == ([], 4)


def test_hole_is_asked_for_until_it_is_filled() -> None:
    track = Track()
    sent = wire(pictures(Codec.VP8)[:1])
    late_at, late = sent.pop(2)
    for now, data in sent:
        track.receive(data, now)
    assert track.up.tick(NOW + 0.02, 0.05) == [(65_500 + 2) & 0xFFFF]
    assert track.frames == []
    track.receive(late, late_at + 0.1)
    assert len(track.frames) == 1
    assert track.up.tick(NOW + 1, 0.05) == []


def test_hole_past_its_deadline_is_asked_for_no_more() -> None:
    track = Track()
    sent = wire(pictures(Codec.VP8)[:2])
    del sent[2]
    for now, data in sent:
        track.receive(data, now)
    assert track.up.tick(NOW + 5, 0.05) == []


@pytest.mark.parametrize(
    ("repair", "given_up_s"), [(False, REORDER_DEADLINE_S), (True, MIN_PATIENCE_S)]
)
def test_lost_sound_is_waited_for_as_long_as_it_can_be_asked_for(
    repair: bool, given_up_s: float
) -> None:
    track = Track(TrackName.MICROPHONE, repair=repair)
    for seqno in (1, 3):
        track.receive(rtp(seqno, 960 * seqno, b"opus"))
    track.up.tick(NOW + given_up_s - 0.01, 0.06)
    assert (len(track.frames), track.gaps) == (1, [])
    track.up.tick(NOW + given_up_s + 0.01, 0.06)
    assert (len(track.frames), len(track.gaps)) == (2, 1)


def test_track_without_feedback_asks_for_nothing() -> None:
    track = Track(TrackName.MICROPHONE, repair=False)
    for seqno in (1, 3):
        track.receive(rtp(seqno, 960 * seqno, b"opus"))
    assert track.up.tick(NOW + 0.05, 0.05) == []
    assert track.up.nacks is None


# ---- the ring ----------------------------------------------------------------------------


def test_kept_packets_are_found_until_they_are_overwritten() -> None:
    track = Track(TrackName.MICROPHONE)
    length = RING_LENGTH[Codec.OPUS]
    sent = [rtp(seqno, 960 * seqno, b"opus%d" % seqno) for seqno in range(2 * length)]
    for data in sent:
        track.receive(data)
    first = track.down.seqnos[0]
    assert track.up.packet(first + length - 1) is None
    for offset in (length, 2 * length - 1):
        kept = track.up.packet(first + offset)
        assert kept is not None
        assert (kept[0], kept[3]) == (first + offset, b"opus%d" % offset)
    assert track.up.packet(first + 2 * length) is None


@pytest.mark.parametrize("first", [0, 1, 0x7FFF, 0xFFFE, 0xFFFF])
def test_a_stream_may_begin_with_any_sequence_number(first: int) -> None:
    track = Track()
    for index in range(3):
        track.receive(rtp(first + index & 0xFFFF, 3000 * index, b"\x10\x01x"), NOW)
    assert track.down.seqnos == [(1 << 16) + first + index for index in range(3)]
    assert track.up.keyframe_due(NOW + KEYFRAME_ANSWER_S + 0.01)
    assert track.up.packets_lost == 0


def test_packet_older_than_the_ring_is_dropped() -> None:
    track = Track(TrackName.MICROPHONE)
    for seqno in (1, 1 + RING_LENGTH[Codec.OPUS], 1):
        track.receive(rtp(seqno, 960 * seqno, b"opus"))
    assert track.up.duplicates == 1


# ---- keyframes ---------------------------------------------------------------------------


def test_stream_whose_beginning_is_lost_is_asked_for_a_keyframe_at_once() -> None:
    """But for a moment in which its first packet may still come, overtaken."""
    track = Track()
    assert not track.up.keyframe_due(NOW)
    for _, data in wire(pictures(Codec.VP8)[:1])[1:]:
        track.receive(data)
    assert not track.up.keyframe_due(NOW + BEGINNING_S * 0.9)
    assert track.up.keyframe_due(NOW + BEGINNING_S)


def test_stream_that_begins_with_a_keyframe_has_half_a_second_to_bring_it() -> None:
    track = Track()
    for _, data in wire(pictures(Codec.VP8)[:1])[:-1]:
        track.receive(data)
    assert not track.up.keyframe_due(NOW + KEYFRAME_ANSWER_S * 0.9)
    assert track.up.keyframe_due(NOW + KEYFRAME_ANSWER_S)


def test_request_that_is_not_answered_is_made_twice_and_repeated_but_never_sooner() -> None:
    track = with_keyframe()
    track.up.request_keyframe()
    asked = []
    for ms in range(1000, 2500, 10):
        track.up.request_keyframe()
        if track.up.keyframe_due(NOW + ms / 1000):
            asked.append(ms)
    again, answer = int(1000 * DOUBLED_AFTER_S), int(1000 * KEYFRAME_ANSWER_S)
    first, third = 1000, 1000 + again + answer
    assert asked == [first, first + again, third, third + again, third + again + answer, 2150]


def flooded(*, begins_anew: bool = False) -> Uplink:
    uplink = Uplink()
    uplink.is_flooded, uplink.begins_anew = True, begins_anew
    return uplink


def test_over_a_line_that_is_flooded_a_keyframe_may_take_longer() -> None:
    track = with_keyframe()
    track.up.sent_over(flooded())
    track.up.request_keyframe()
    asked = [ms for ms in range(1000, 3000, 10) if track.up.keyframe_due(NOW + ms / 1000)]
    again, answer = int(1000 * DOUBLED_AFTER_S), int(1000 * FLOODED_ANSWER_S)
    assert asked[:3] == [1000, 1000 + again, 1000 + again + answer]


def test_over_a_line_that_is_flooded_it_begins_anew_with_a_keyframe_and_asks_for_little() -> None:
    track = with_keyframe()
    track.up.sent_over(flooded())
    assert not track.up.keyframe_due(NOW + 1)
    track.up.sent_over(flooded(begins_anew=True))
    assert track.hurries
    assert track.up.keyframe_due(NOW + 1)
    assert track.up.nacks is not None
    assert track.up.nacks.flooded
    track.up.sent_over(Uplink())
    assert not track.up.nacks.flooded


def test_sound_over_a_line_that_is_flooded_is_asked_for_all_the_same() -> None:
    track = Track(TrackName.MICROPHONE)
    track.up.sent_over(flooded(begins_anew=True))
    assert track.up.nacks is not None
    assert (track.up.nacks.flooded, track.hurries) == (False, [])


def test_observer_who_joins_right_after_a_keyframe_gets_its_own_soon() -> None:
    """One that was not asked for holds no request back, the answer to one only for a moment."""
    track = with_keyframe()
    track.down.waiting = True
    assert track.up.keyframe_due(NOW + 0.01)
    keyframe = pictures(Codec.VP8)[:1]
    seqno, timestamp = 65_500 + len(keyframe[0].payloads), 0xFFFF_0000 + 9 * TICKS
    for _, data in wire(keyframe, seqno=seqno, timestamp=timestamp):
        track.receive(data, NOW + 0.3)
    assert not track.up.keyframe_due(NOW + 0.3 + KEYFRAME_SPACING_S * 0.9)
    assert track.up.keyframe_due(NOW + 0.31 + KEYFRAME_SPACING_S)


def with_keyframe(chance: Callable[[], float] = lambda: 1.0) -> Track:
    track = Track(chance=chance)
    for _, data in wire(pictures(Codec.VP8)[:1]):
        track.receive(data, NOW)
    return track


def test_keyframe_answers_the_request_and_another_is_due_in_time() -> None:
    track = with_keyframe()
    assert not track.up.keyframe_due(NOW + 1)
    track.up.request_keyframe()
    assert track.up.keyframe_due(NOW + 1)
    assert with_keyframe().up.keyframe_due(NOW + KEYFRAME_INTERVAL_S)


def test_some_keyframes_are_asked_for_earlier_as_if_an_observer_had_come() -> None:
    """By chance, so that a candidate who watches the requests can't tell an observer's."""
    track = with_keyframe(chance=[SHORTER / 4, SHORTER / 2, SHORTER, 0.9].pop)
    keyframe = pictures(Codec.VP8)[:1]
    asked, last_s = [], NOW
    for tenths in range(1, 200):
        now = NOW + tenths / 10
        if track.up.keyframe_due(now):
            asked.append(now - last_s)
            last_s = now
            seqno = 65_500 + len(asked) * len(keyframe[0].payloads)
            for _, data in wire(keyframe, seqno=seqno, timestamp=0xFFFF_0000 + tenths * 9000):
                track.receive(data, now)
        if len(asked) == 3:
            break
    assert asked == pytest.approx([4.0, 4.0, 2.0])


def test_one_interval_in_eight_is_shorter() -> None:
    intervals = [keyframe_interval_s(each / 1000) for each in range(1000)]
    assert sum(each < KEYFRAME_INTERVAL_S for each in intervals) == 1000 * SHORTER
    assert (min(intervals), max(intervals)) == (0.0, KEYFRAME_INTERVAL_S)


def test_keyframe_is_asked_for_as_long_as_an_observer_waits() -> None:
    """Also when it joined in the middle of one, whose end answers other requests."""
    track = with_keyframe()
    track.down.waiting = True
    assert track.up.keyframe_due(NOW + 1)
    assert track.up.keyframe_due(NOW + 2)
    track.down.waiting = False
    assert not track.up.keyframe_due(NOW + 3)


def test_keyframe_is_asked_for_after_a_loss() -> None:
    track, sequence = Track(), pictures(Codec.VP8)
    sent = wire(sequence)
    del sent[len(sequence[0].payloads)]
    for now, data in sent[: len(sequence[0].payloads) + 20]:
        track.receive(data, now)
    assert not track.up.keyframe_due(NOW + 0.2)
    track.up.tick(NOW + 2, None)
    assert track.up.keyframe_due(NOW + 2)


def test_sound_asks_for_no_keyframe() -> None:
    track = Track(TrackName.MICROPHONE)
    track.up.request_keyframe()
    assert not track.up.keyframe_due(NOW)


# ---- reports -----------------------------------------------------------------------------


def test_report_counts_loss_of_its_own_interval() -> None:
    track = Track(TrackName.MICROPHONE)
    for seqno in range(100):
        track.receive(rtp(65_530 + seqno, 960 * seqno, b"opus"), NOW + seqno * 0.02)
    assert track.up.report(NOW + 2).fraction_lost == 0
    for seqno in range(100, 200, 2):
        track.receive(rtp(65_530 + seqno, 960 * seqno, b"opus"), NOW + seqno * 0.02)
    block = track.up.report(NOW + 4)
    assert block.fraction_lost == pytest.approx(128, abs=2)
    assert block.packets_lost == 49
    # RFC 3550 A.1: the count of wrap-arounds is above the 16 bits of the number.
    assert block.highest_seqno & 0xFFFF == (65_530 + 198) & 0xFFFF
    assert track.up.report(NOW + 5).fraction_lost == 0


def test_report_tells_of_losses_that_a_stream_of_repairs_has_mended() -> None:
    track = Track(TrackName.MICROPHONE)
    sent = [rtp(seqno, 960 * seqno, b"opus") for seqno in range(100)]
    for data in sent[:50] + sent[60:]:
        track.receive(data)
    for data in sent[50:60]:
        receive(RetransmissionStream(track.up), data[:12] + data[2:4] + data[12:], NOW)
    assemble(track.up.fresh)
    block = track.up.report(NOW)
    assert (block.fraction_lost, block.packets_lost) == (256 * 10 // 100, 10)
    assert (track.up.packets_lost, len(track.frames)) == (0, 100)
    for seqno in range(100, 200):
        track.receive(rtp(seqno, 960 * seqno, b"opus"))
    assert track.up.report(NOW).fraction_lost == 0


def test_packets_that_come_late_are_no_jitter() -> None:
    track = Track(TrackName.MICROPHONE)
    late = [seqno for seqno in range(1, 400) if seqno % 10 == 0]
    for seqno in range(400):
        if seqno not in late:
            track.receive(rtp(seqno, 960 * seqno, b"opus"), NOW + seqno * 0.02)
        if seqno - 5 in late:
            track.receive(rtp(seqno - 5, 960 * (seqno - 5), b"opus"), NOW + seqno * 0.02)
    assert track.up.packets == 400
    assert track.up.jitter_s < 1e-4


def test_report_names_the_last_sender_report_and_the_time_since() -> None:
    track = with_keyframe()
    assert track.up.report(NOW).last_sr == 0
    ntp = rtcp.ntp_from_unix(NOW)
    track.up.sender_report_received(rtcp.SenderReport(1, ntp, 0xFFFF_0000, 1, 1), NOW + 1)
    block = track.up.report(NOW + 1.5)
    assert block.last_sr == rtcp.ntp_middle(ntp)
    assert block.delay_since_last_sr == 0.5 * 65536


def test_jitter_is_that_of_rfc_3550() -> None:
    track = Track(TrackName.MICROPHONE)
    late = [0.0, 0.01] * 200
    for seqno, delay_s in enumerate(late):
        track.receive(rtp(seqno, 960 * seqno, b"opus"), NOW + seqno * 0.02 + delay_s)
    assert track.up.jitter_s == pytest.approx(0.01, rel=0.01)


def test_report_is_written_whatever_the_timestamps() -> None:
    track = Track(TrackName.MICROPHONE)
    for seqno in range(300):
        timestamp = (seqno * 0x7FFF_FFFF) if seqno % 3 else (seqno * 0x8000_0001)
        track.receive(rtp(seqno, timestamp, b"opus"), NOW + 3600 * (seqno % 2))
    assert rtcp.receiver_report(rtcp.ReceiverReport(1, (track.up.report(NOW),)))


# ---- layers that the header alone tells ----------------------------------------------------

#: Chromium 156's of H.264 in L1T3: of a keyframe's first packet, its others, and of later frames.
FIRST, OTHERS = "800001800214eaa860414d1410208426", "010000"
LATER = ("830002", "820003", "840004", "810005")


@pytest.mark.parametrize("number", [12, None])
def test_temporal_layers_of_h264_are_those_of_the_dependency_descriptor(
    number: int | None,
) -> None:
    track = Track(codec=Codec.H264, dependency_extension=number)
    sequence, seqno = pictures(Codec.H264, keyframe_every=12)[:5], 0
    for index, picture in enumerate(sequence):
        for at, payload in enumerate(picture.payloads):
            marker = at == len(picture.payloads) - 1
            descriptor = LATER[index - 1] if index else OTHERS if at else FIRST
            seqno += 1
            data = rtp(seqno, TICKS * index, payload, marker=marker)
            track.receive(described(data, 12, bytes.fromhex(descriptor)), NOW + index / 30)
    layers = [frame.temporal_id for frame in track.frames]
    assert layers == ([0, 2, 1, 2, 0] if number is not None else [0, 0, 0, 0, 0])


def test_of_packets_that_tell_their_layer_the_header_alone_is_kept_beside_the_payload() -> None:
    track = Track(codec=Codec.H264, dependency_extension=12)
    for seqno in range(10):
        data = rtp(seqno, TICKS * seqno, b"\x61" + bytes(1000), padding=5)
        track.receive(described(data, 12, bytes.fromhex(FIRST)), NOW + seqno / 30)
    place = track.up.place(1 << 16 | 9)
    assert place is not None
    assert place.temporal_id == 0
    assert sum(map(len, track.up._described)) < 10 * 50
