from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import rtcp
from server.core.frames import CLOCK_RATE, VIDEO_CODECS, Codec, TrackName
from server.core.rtp import HEADER_LENGTH, pack_header, unpack_header
from server.media.forwarding.copies import APART_S
from server.media.forwarding.down_track import (
    CATCH_UP_S,
    FORMER_S,
    MAX_RESENT_PER_S,
    MAX_SENT_TWICE,
    DownTrack,
    RepairStream,
)
from server.media.forwarding.thinner import WHOLE
from server.media.receiving.clock import PeerClock
from server.media.receiving.up_track import RING_LENGTH, UpTrack
from tests.media import streams
from tests.media.streams import TICKS, Picture, pictures, rtp

NOW = 1_800_000_000.0
LATER = NOW + 0.1
SSRC = 0xBEEF
PAYLOAD_TYPES = {
    Codec.VP8: {"": 120},
    Codec.VP9: {"": 98},
    Codec.H264: {"42e0": 126, "6400": 127},
    Codec.AV1: {"": 39},
    Codec.OPUS: {"": 109},
}


class Observer:
    """One down track and what it sends."""

    def __init__(
        self,
        payload_types: Mapping[Codec, Mapping[str, int]] = PAYLOAD_TYPES,
        repairs: RepairStream | None = None,
    ) -> None:
        self.sent: list[bytes] = []
        self.dropped: list[int] = []
        self.down = DownTrack(SSRC, payload_types, self._send, repairs, self.dropped.append)

    def _send(
        self,
        first: int,
        second: int,
        seqno: int,
        timestamp: int,
        ssrc: int,
        payload: bytes,
        now: float,
    ) -> None:
        self.sent.append(pack_header(first, second, seqno, timestamp, ssrc) + payload)

    @property
    def headers(self) -> list[tuple[int, int]]:
        """(sequence number, timestamp) of what was sent."""
        return [unpack_header(data)[2:4] for data in self.sent]


def publish(observer: Observer, codec: Codec = Codec.VP8, profile: str = "") -> UpTrack:
    """A new up track that the observer follows."""
    name = TrackName.MICROPHONE if codec is Codec.OPUS else TrackName.CAMERA
    up = UpTrack(
        name,
        codec,
        96,
        1,
        PeerClock(),
        lambda _: None,
        lambda _: None,
        lambda: None,
        [],
        repair=False,
        profile=profile,
    )
    observer.down.attach(up)
    return up


def stream(
    sequence: Sequence[Picture], *, seqno: int = 65_500, timestamp: int = 0xFFFF_0000
) -> list[bytes]:
    out: list[bytes] = []
    for index, picture in enumerate(sequence):
        for payload in picture.payloads:
            marker = payload is picture.payloads[-1]
            at = timestamp + TICKS * index
            out.append(rtp(seqno + len(out), at, payload, marker=marker))
    return out


def receive(up: UpTrack, packets: Sequence[bytes], now: float = NOW) -> None:
    for data in packets:
        streams.receive(up, data, now)


def test_packets_go_on_at_once_with_only_their_header_rewritten() -> None:
    observer, sent = Observer(), stream(pictures(Codec.VP8))
    up = publish(observer)
    for index, data in enumerate(sent):
        receive(up, [data])
        assert len(observer.sent) == index + 1
    for before, after in zip(sent, observer.sent, strict=True):
        first, second, _, _, ssrc = unpack_header(after)
        assert after[HEADER_LENGTH:] == before[HEADER_LENGTH:]
        assert (first, second, ssrc) == (0x80, before[1] & 0x80 | 120, SSRC)


def test_numbers_are_continuous_across_both_wrap_arounds() -> None:
    observer, sent = Observer(), stream(pictures(Codec.VP8))
    receive(publish(observer), sent)
    first = observer.headers[0]
    for index, (seqno, timestamp) in enumerate(observer.headers):
        assert seqno == (first[0] + index) & 0xFFFF
        moved = unpack_header(sent[index])[3] - unpack_header(sent[0])[3]
        assert (timestamp - first[1] - moved) & 0xFFFF_FFFF == 0


def test_own_sequence_numbers_wrap_too() -> None:
    observer = Observer()
    up = publish(observer, Codec.OPUS)
    receive(up, [rtp(seqno, 960 * seqno, b"opus") for seqno in range(66_000)])
    numbers = [seqno for seqno, _ in observer.headers]
    assert numbers == [(numbers[0] + index) & 0xFFFF for index in range(66_000)]
    up_first = 1 << 16  # as unwrapped
    observer.sent.clear()
    observer.down.resend([(numbers[0] + 65_999) & 0xFFFF], LATER, None)
    (kept,) = [up.packet(up_first + 65_999)]
    assert kept is not None
    assert observer.sent[0][HEADER_LENGTH:] == b"opus"


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_late_join_begins_with_the_next_keyframe(codec: Codec) -> None:
    observer, sequence = Observer(), pictures(codec)
    up = publish(observer, codec)
    assert observer.down.waiting
    receive(up, stream(sequence[1:]))
    whole = [payload for picture in sequence[4:] for payload in picture.payloads]
    assert [data[HEADER_LENGTH:] for data in observer.sent] == whole
    assert not observer.down.waiting


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_a_newcomer_begins_with_a_recent_keyframe_that_came_before(codec: Codec) -> None:
    first, late, sequence = Observer(), Observer(), pictures(codec)
    up, sent = publish(first, codec), stream(sequence)
    receive(up, sent[:-1])
    late.down.attach(up)
    late.down.catch_up(NOW)
    receive(up, sent[-1:])
    whole = [payload for picture in sequence[8:] for payload in picture.payloads]
    assert [data[HEADER_LENGTH:] for data in late.sent] == whole
    assert not late.down.waiting
    times = [timestamp for _, timestamp in late.headers]
    assert (times[-1] - times[0]) & 0xFFFF_FFFF == TICKS * (len(sequence) - 9)


def test_what_a_keyframe_lacks_follows_when_it_is_repaired() -> None:
    first, late, sequence = Observer(), Observer(), pictures(Codec.VP8)
    up, sent = publish(first, Codec.VP8), stream(sequence[:2])
    assert len(sequence[0].payloads) > 2
    receive(up, [sent[0], *sent[2:]])
    late.down.attach(up)
    late.down.catch_up(NOW)
    receive(up, [sent[1]])
    begin = late.headers[0][0]
    assert [seqno - begin for seqno, _ in late.headers] == [0, *range(2, len(sent)), 1]


def test_an_old_keyframe_is_no_beginning() -> None:
    first, late, sequence = Observer(), Observer(), pictures(Codec.VP8)
    up = publish(first, Codec.VP8)
    key, delta = stream(sequence[:2])[: len(sequence[0].payloads)], sequence[1].payloads[0]
    receive(up, key)
    seqno, timestamp = unpack_header(key[-1])[2:4]
    rate = CLOCK_RATE[Codec.VP8]
    receive(up, [rtp(seqno + 1, timestamp + round(CATCH_UP_S * rate) + 1, delta, marker=True)])
    late.down.attach(up)
    late.down.catch_up(NOW)
    assert (late.sent, late.down.waiting) == ([], True)


def test_packets_from_before_the_first_keyframe_are_never_sent() -> None:
    observer, sequence = Observer(), pictures(Codec.VP8)
    sent = stream(sequence[3:6])
    before = len(sequence[3].payloads)
    receive(publish(observer), [*sent[before : before + 3], *sent[:before], *sent[before + 3 :]])
    assert [data[HEADER_LENGTH:] for data in observer.sent] == [
        data[HEADER_LENGTH:] for data in sent[before:]
    ]
    count = len(observer.sent)
    first = observer.headers[0][0]
    observer.down.resend([(first - 1) & 0xFFFF, (first - 2) & 0xFFFF], LATER, None)
    assert len(observer.sent) == count


def test_sound_begins_with_its_first_packet() -> None:
    observer = Observer()
    receive(publish(observer, Codec.OPUS), [rtp(7, 7, b"opus")])
    assert len(observer.sent) == 1


def test_loss_upstream_is_a_hole_downstream_that_repair_fills() -> None:
    observer, sent = Observer(), stream(pictures(Codec.VP8))
    up = publish(observer)
    receive(up, [*sent[:5], *sent[6:10], sent[5]])
    first = observer.headers[0][0]
    assert [seqno - first for seqno, _ in observer.headers] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 5]


def with_extension(data: bytes, *, sources: int = 0) -> bytes:
    """The packet as a browser sends it: with its own header extension, perhaps with CSRCs."""
    head = bytes([data[0] | 0x10 | sources]) + data[1:HEADER_LENGTH] + bytes(4 * sources)
    return head + bytes.fromhex("bede00023212345610420000") + data[HEADER_LENGTH:]


@pytest.mark.parametrize("sources", [0, 2])
def test_header_extensions_and_sources_of_the_candidate_are_not_passed_on(sources: int) -> None:
    observer, sent = Observer(), stream(pictures(Codec.VP8))
    receive(publish(observer), [with_extension(data, sources=sources) for data in sent])
    assert [data[HEADER_LENGTH:] for data in observer.sent] == [d[HEADER_LENGTH:] for d in sent]
    assert {data[0] for data in observer.sent} == {0x80}
    last = observer.sent[-1]
    observer.down.resend([unpack_header(last)[2]], LATER, None)
    assert observer.sent[-1] == last


def test_what_was_lost_of_the_layer_before_a_switch_is_sent_again_for_a_while() -> None:
    observer, sequence = Observer(), pictures(Codec.VP8)
    first = publish(observer)
    second = publish(Observer())
    receive(first, stream(sequence))
    observer.down.switch(second, WHOLE)
    receive(second, stream(sequence, seqno=7, timestamp=7_000))
    numbers = [unpack_header(data)[2] for data in observer.sent]
    count = len(observer.sent)
    last_before, after = count // 2 - 1, count // 2
    asked = [numbers[0], numbers[last_before], numbers[after]]
    observer.down.resend(asked, LATER, None)
    assert observer.sent[count:] == [observer.sent[each] for each in (0, last_before, after)]
    observer.down.resend([(numbers[0] - 1) & 0xFFFF], LATER, None)
    assert len(observer.sent) == count + 3
    observer.down.report(NOW + FORMER_S + 0.1)
    observer.down.resend(asked, LATER + 2, None)
    assert observer.sent[count + 3 :] == [observer.sent[after]]


def test_what_is_held_back_in_a_switch_begins_with_the_layer_that_it_goes_to() -> None:
    observer, sequence = Observer(), pictures(Codec.VP8)
    first, second = publish(observer), publish(Observer())
    receive(first, stream(sequence[:1]))
    observer.down.switch(second, WHOLE)
    observer.down.hold_back()
    observer.sent.clear()
    receive(second, stream(sequence))
    assert observer.sent == []
    assert not any(each.waiting for up in (first, second) for each in up.downs)
    observer.down.show()
    assert all(each.waiting for each in (*first.downs, second.downs[-1]))
    receive(second, stream(sequence, seqno=65_500 + len(stream(sequence)), timestamp=0))
    assert len(observer.sent) == len(stream(sequence))


def test_padding_is_not_passed_on() -> None:
    observer = Observer()
    payload = pictures(Codec.VP8)[0].payloads[0]
    padded = rtp(1, 1, payload, padding=9)
    receive(publish(observer), [with_extension(padded)])
    (data,) = observer.sent
    assert (data[0], data[HEADER_LENGTH:]) == (0x80, payload)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(Codec), st.binary(max_size=60))
def test_any_payload_is_passed_on_or_dropped(codec: Codec, payload: bytes) -> None:
    observer = Observer()
    receive(publish(observer, codec), [rtp(1, 1, payload)])
    assert all(each[HEADER_LENGTH:] == payload for each in observer.sent)
    observer.down.resend([seqno for seqno, _ in observer.headers], LATER, None)


# ---- reconnects --------------------------------------------------------------------------


@pytest.mark.parametrize("pause_s", [0.0, 2.0, 60.0])
@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_reconnect_goes_on_at_a_keyframe_where_the_last_left_off(
    pause_s: float, codec: Codec
) -> None:
    """Also when the candidate comes back with another codec."""
    observer, sequence = Observer(), pictures(Codec.VP8)
    receive(publish(observer), stream(sequence))
    observer.down.attach(None)
    count, (seqno, timestamp) = len(observer.sent), observer.headers[-1]
    up = publish(observer, codec)
    again = pictures(codec)
    receive(up, stream(again[2:], seqno=9, timestamp=77), NOW + pause_s)
    assert observer.sent[count][HEADER_LENGTH:] == again[4].payloads[0]
    assert observer.sent[count][1] & 0x7F == next(iter(PAYLOAD_TYPES[codec].values()))
    next_seqno, next_timestamp = observer.headers[count]
    assert next_seqno == (seqno + 1) & 0xFFFF
    passed = (next_timestamp - timestamp) & 0xFFFF_FFFF
    assert passed == max(1, round(pause_s * 90_000))


def test_while_nobody_publishes_nothing_is_sent_or_stated() -> None:
    observer = Observer()
    observer.down.forward(1, 1, False, b"\x10\x00", NOW)
    observer.down.resend([1], LATER, None)
    assert (observer.sent, observer.down.report(NOW), observer.down.waiting) == ([], None, False)


def test_codec_that_the_observer_cannot_take_is_silence() -> None:
    observer = Observer({Codec.H264: {"42e0": 126}})
    receive(publish(observer), stream(pictures(Codec.VP8)))
    assert observer.sent == []
    assert not observer.down.waiting, "no keyframe would help"


@pytest.mark.parametrize(("profile", "payload_type"), [("42e0", 126), ("6400", 127), ("4d00", 126)])
def test_h264_goes_out_by_the_payload_type_of_its_profile_or_the_best_one(
    profile: str, payload_type: int
) -> None:
    observer = Observer()
    receive(publish(observer, Codec.H264, profile), stream(pictures(Codec.H264)))
    assert {unpack_header(data)[1] & 0x7F for data in observer.sent} == {payload_type}


# ---- repair ------------------------------------------------------------------------------


def test_nack_is_answered_byte_for_byte_as_first_sent() -> None:
    observer, sent = Observer(), stream(pictures(Codec.VP8))
    up = publish(observer)
    receive(up, sent)
    asked = [3, 4, len(sent) - 1]
    first_sent, seqnos = list(observer.sent), [observer.headers[i][0] for i in asked]
    observer.sent.clear()
    observer.down.resend(seqnos, LATER, None)
    assert observer.sent == [first_sent[i] for i in asked]


def test_nack_is_answered_in_the_stream_of_repairs_where_there_is_one() -> None:
    observer = Observer(repairs=RepairStream(0xFEED, {120: 121}))
    up = publish(observer)
    receive(up, stream(pictures(Codec.VP8)))
    first_sent = list(observer.sent)
    observer.sent.clear()
    asked = [len(first_sent) - 1, 3, 4]
    for index in asked:
        observer.down.resend([unpack_header(first_sent[index])[2]], LATER, None)
    for count, (index, data) in enumerate(zip(asked, observer.sent, strict=True)):
        original = first_sent[index]
        first, second, seqno, timestamp, ssrc = unpack_header(data)
        assert (first, seqno, ssrc) == (0x80, count, 0xFEED)
        assert second == original[1] & 0x80 | 121
        assert timestamp == unpack_header(original)[3]
        assert data[HEADER_LENGTH:] == original[2:4] + original[HEADER_LENGTH:]
    report = observer.down.report(NOW)
    assert report is not None
    assert report.packets == len(first_sent), "repairs are of another stream"


def again(observer: Observer) -> list[int]:
    """Which packets have been sent again in the stream of repairs."""
    repairs = [data for data in observer.sent if unpack_header(data)[4] == 0xFEED]
    observer.sent.clear()
    return [int.from_bytes(data[HEADER_LENGTH:][:2], "big") for data in repairs]


def test_where_there_is_room_repairs_are_sent_once_more_a_little_later() -> None:
    observer = Observer(repairs=RepairStream(0xFEED, {120: 121}))
    receive(publish(observer), stream(pictures(Codec.VP8)))
    asked = [observer.headers[index][0] for index in (3, 4)]
    observer.down.resend(asked, LATER, None, twice=True)
    assert again(observer) == asked
    assert observer.down.send_copies(LATER + APART_S / 2), "there is more to come"
    assert again(observer) == []
    assert not observer.down.send_copies(LATER + APART_S)
    assert [seqno for seqno, _ in observer.headers] == [2, 3], "packets of their own"
    assert again(observer) == asked
    observer.down.resend(asked, LATER + APART_S + 0.001, None, twice=True)
    assert again(observer) == [], "what is on its way"


def test_what_there_is_no_room_for_is_not_sent_again_until_it_is_asked_for_once_more() -> None:
    observer = Observer(repairs=RepairStream(0xFEED, {120: 121}))
    receive(publish(observer), stream(pictures(Codec.VP8)))
    asked = [observer.headers[index][0] for index in (3, 4, 5)]
    observer.down.resend(asked, LATER, None, most_octets=0.0)
    assert again(observer) == []
    observer.down.resend(asked, LATER, None, most_octets=1.0)
    assert again(observer) == asked[:1]
    observer.down.resend(asked, LATER, None)
    assert again(observer) == asked[1:], "and the first is on its way"


def test_what_begins_anew_drops_what_waits_and_goes_on_with_a_keyframe() -> None:
    observer = Observer(repairs=RepairStream(0xFEED, {120: 121}))
    up, sent = publish(observer), stream(pictures(Codec.VP8))
    keyframe = next(
        place
        for place, data in enumerate(sent)
        if place > 5 and up.assembler.starts_keyframe(data[HEADER_LENGTH:])
    )
    receive(up, sent[:5])
    before = [seqno for seqno, _ in observer.headers]
    observer.sent.clear()
    observer.down.begin_anew()
    assert observer.dropped == [SSRC, 0xFEED]
    assert observer.down.waiting, "so that a keyframe is asked for"
    receive(up, sent[5:keyframe])
    observer.down.resend(before, LATER, None)
    assert observer.sent == []
    receive(up, sent[keyframe:])
    after = [seqno for seqno, _ in observer.headers]
    assert after == [(before[-1] + 1 + index) & 0xFFFF for index in range(len(sent) - keyframe)]
    observer.down.resend([*before, after[0]], LATER, None)
    assert again(observer) == after[:1], "what nobody can see any more is not repaired"


def test_many_repairs_and_those_in_the_track_itself_are_sent_once() -> None:
    plain, apart = Observer(), Observer(repairs=RepairStream(0xFEED, {120: 121}))
    for observer in (plain, apart):
        receive(publish(observer), stream(pictures(Codec.VP8) * 9))
        asked = [seqno for seqno, _ in observer.headers][-MAX_SENT_TWICE - 1 :]
        asked = asked if observer is apart else asked[:1]
        observer.sent.clear()
        observer.down.resend(asked, LATER, None, twice=True)
        observer.down.send_copies(LATER + APART_S)
        assert len(observer.sent) == len(asked)


def layered(count: int) -> list[bytes]:
    """VP8 of two temporal layers by turns, two packets a picture."""
    payloads = [
        bytes([first, 0xE0, 0x80 | index >> 8, index & 0xFF, index, (index % 2) << 6 | 0x20])
        + (b"\0\0\0\x9d\x01\x2a" if index == 0 else b"\x01\0\0\0\0\0")
        for index in range(count)
        for first in (0x90, 0x80)
    ]
    return [
        rtp(place, TICKS * (place // 2), payload, marker=bool(place % 2))
        for place, payload in enumerate(payloads)
    ]


@pytest.mark.parametrize(("through", "expected"), [(0, [4, 5, 8, 9]), (7, list(range(2, 10)))])
def test_pictures_are_doubled_up_to_a_temporal_layer_from_when_it_is_said(
    through: int, expected: list[int]
) -> None:
    observer = Observer(repairs=RepairStream(0xFEED, {120: 121}))
    up, sent = publish(observer), layered(5)
    receive(up, sent[:2])
    first = observer.headers[0][0]
    observer.down.double(through)
    receive(up, sent[2:])
    observer.down.send_copies(NOW)
    assert again(observer) == []
    assert observer.down.send_copies(NOW + APART_S)
    assert [seqno - first for seqno in again(observer)] == expected
    observer.down.double(None)
    receive(up, [rtp(10, TICKS * 5, sent[0][HEADER_LENGTH:])], NOW + 1)
    assert not observer.down.send_copies(NOW + 2)
    assert again(observer) == []


def test_what_the_candidate_had_to_send_again_is_doubled_and_not_repaired_at_once() -> None:
    observer = Observer(repairs=RepairStream(0xFEED, {120: 121}))
    up, sent = publish(observer), layered(5)
    observer.down.double(0)
    receive(up, sent[:3] + sent[4:])
    late = observer.headers[0][0] + 3
    observer.down.send_copies(NOW)
    observer.down.send_copies(NOW + APART_S)
    observer.sent.clear()
    receive(up, [sent[3]], LATER)
    observer.down.resend([late], LATER + 0.01, None)
    assert again(observer) == [], "it has just been sent"
    observer.down.send_copies(LATER + APART_S)
    assert again(observer) == [late], "though it is of the upper layer"


def test_what_is_held_back_or_has_no_stream_of_repairs_is_not_doubled() -> None:
    held_back = Observer(repairs=RepairStream(0xFEED, {120: 121}))
    elsewhere = Observer(repairs=RepairStream(0xFEED, {98: 121}))
    for observer in (held_back, elsewhere):
        up = publish(observer)
        observer.down.double(0)
        receive(up, layered(5))
        observer.down.send_copies(NOW)
        held_back.down.hold_back()
        observer.down.send_copies(NOW + APART_S)
        assert again(observer) == []


def test_format_without_repairs_of_its_own_is_repaired_in_the_track() -> None:
    observer = Observer(repairs=RepairStream(0xFEED, {126: 121}))
    receive(publish(observer), stream(pictures(Codec.VP8)))
    last = observer.sent[-1]
    observer.down.resend([unpack_header(last)[2]], LATER, None)
    assert observer.sent[-1] == last


def test_packet_is_not_sent_again_while_it_is_on_its_way() -> None:
    observer = Observer()
    receive(publish(observer), stream(pictures(Codec.VP8)))
    seqno, other = observer.headers[-1][0], observer.headers[-2][0]
    observer.sent.clear()
    for later_s in (0.0, 0.1, 0.15):
        observer.down.resend([seqno], LATER + later_s, 0.2)
    assert len(observer.sent) == 1
    observer.down.resend([seqno, other], LATER + 0.17, 0.2)
    assert len(observer.sent) == 3, "a browser may ask a little before our round trip is over"


def test_what_is_kept_for_repair_lasts_more_than_a_second_at_any_rate_we_see() -> None:
    per_packet_bits = 8 * 1100
    assert RING_LENGTH[Codec.VP8] * per_packet_bits / 2_500_000 > 3
    assert RING_LENGTH[Codec.OPUS] / 50 > 1


def test_nack_for_what_was_never_sent_is_ignored() -> None:
    observer = Observer()
    up = publish(observer)
    receive(up, stream(pictures(Codec.VP8)))
    last = observer.headers[-1][0]
    observer.sent.clear()
    observer.down.resend(
        [(last + 1) & 0xFFFF, (last + 30_000) & 0xFFFF, (last - 5000) & 0xFFFF], LATER, None
    )
    assert observer.sent == []


def test_nack_from_before_a_reconnect_is_ignored() -> None:
    observer = Observer()
    receive(publish(observer), stream(pictures(Codec.VP8)))
    old = [seqno for seqno, _ in observer.headers]
    receive(publish(observer), stream(pictures(Codec.VP8)[:1], seqno=5))
    observer.sent.clear()
    observer.down.resend(old, LATER, None)
    assert observer.sent == []


def test_resending_is_capped_each_second() -> None:
    observer = Observer()
    receive(publish(observer), stream(pictures(Codec.VP8)))
    seqno = observer.headers[-1][0]
    observer.sent.clear()
    for index in range(2 * MAX_RESENT_PER_S):
        observer.down.resend([seqno], NOW + index, 0.1)
    assert len(observer.sent) == MAX_RESENT_PER_S
    observer.down.report(NOW + 1)
    observer.down.resend([seqno], NOW + 9999, 0.1)
    assert len(observer.sent) == MAX_RESENT_PER_S + 1


# ---- reports -----------------------------------------------------------------------------


def test_report_pairs_wall_clock_and_timestamp_of_what_is_sent() -> None:
    observer = Observer()
    up = publish(observer)
    receive(up, stream(pictures(Codec.VP8)[:1]))
    report = observer.down.report(NOW + 0.5)
    assert report is not None
    assert (report.ssrc, report.packets) == (SSRC, len(observer.sent))
    assert report.octets == sum(len(data) - HEADER_LENGTH for data in observer.sent)
    assert rtcp.unix_from_ntp(report.ntp) == pytest.approx(NOW + 0.5, abs=1e-6)
    assert report.rtp_timestamp - observer.headers[-1][1] == 45_000
    assert rtcp.sender_report(report)


def test_nothing_is_reported_before_something_is_sent() -> None:
    observer = Observer()
    up = publish(observer)
    receive(up, stream(pictures(Codec.VP8)[1:2]))
    assert observer.down.report(NOW) is None
