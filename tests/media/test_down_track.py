from collections.abc import Sequence

import pytest

from server.core import rtcp
from server.core.frames import VIDEO_CODECS, Codec, TrackName
from server.core.rtp import HEADER_LENGTH, unpack_header
from server.media.clock import PeerClock
from server.media.down_track import MAX_RESENT_PER_S, DownTrack
from server.media.up_track import UpTrack
from tests.media.streams import TICKS, Picture, pictures, rtp

NOW = 1_800_000_000.0
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

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.down = DownTrack(SSRC, PAYLOAD_TYPES, self.sent.append)

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
        [observer.down],
        lambda _: None,
        lambda _: None,
        lambda: None,
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
        _, second, seqno, timestamp, _ = unpack_header(data)
        up.receive(second, seqno, timestamp, data, now)


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
    observer.down.resend([(numbers[0] + 65_999) & 0xFFFF])
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
    observer.down.resend([(first - 1) & 0xFFFF, (first - 2) & 0xFFFF])
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
    observer.down.forward(1, 1, 96, rtp(1, 1, b"\x10\x00"), NOW)
    observer.down.resend([1])
    assert (observer.sent, observer.down.report(NOW), observer.down.waiting) == ([], None, False)


def test_codec_that_the_observer_cannot_take_is_silence() -> None:
    observer = Observer()
    observer.down = DownTrack(SSRC, {Codec.H264: {"42e0": 126}}, observer.sent.append)
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
    observer.down.resend(seqnos)
    assert observer.sent == [first_sent[i] for i in asked]


def test_nack_for_what_was_never_sent_is_ignored() -> None:
    observer = Observer()
    up = publish(observer)
    receive(up, stream(pictures(Codec.VP8)))
    last = observer.headers[-1][0]
    observer.sent.clear()
    observer.down.resend([(last + 1) & 0xFFFF, (last + 30_000) & 0xFFFF, (last - 5000) & 0xFFFF])
    assert observer.sent == []


def test_nack_from_before_a_reconnect_is_ignored() -> None:
    observer = Observer()
    receive(publish(observer), stream(pictures(Codec.VP8)))
    old = [seqno for seqno, _ in observer.headers]
    receive(publish(observer), stream(pictures(Codec.VP8)[:1], seqno=5))
    observer.sent.clear()
    observer.down.resend(old)
    assert observer.sent == []


def test_resending_is_capped_each_second() -> None:
    observer = Observer()
    receive(publish(observer), stream(pictures(Codec.VP8)))
    seqno = observer.headers[-1][0]
    observer.sent.clear()
    observer.down.resend([seqno] * 2 * MAX_RESENT_PER_S)
    assert len(observer.sent) == MAX_RESENT_PER_S
    observer.down.report(NOW + 1)
    observer.down.resend([seqno])
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
