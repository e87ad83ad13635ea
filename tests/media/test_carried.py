from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import red
from server.core.frames import Codec, EncodedFrame, Gap, TrackName
from server.core.red import Block
from server.media.receiving.carried import RedundantStream, RetransmissionStream
from server.media.receiving.clock import PeerClock
from server.media.receiving.up_track import UpTrack, assemble
from tests.media.streams import receive, rtp

NOW = 1_800_000_000.0
OPUS, RED, VP8, RTX = 111, 63, 96, 97


class Down:
    """What observers get."""

    waiting = False

    def __init__(self) -> None:
        self.packets: dict[int, tuple[int, bool, bytes]] = {}
        self.order: list[int] = []

    def forward(self, seqno: int, timestamp: int, marker: bool, payload: bytes, now: float) -> None:
        self.packets[seqno & 0xFFFF] = timestamp & 0xFFFF_FFFF, marker, payload
        self.order.append(seqno & 0xFFFF)


class Track:
    def __init__(self, name: TrackName) -> None:
        self.frames: list[EncodedFrame] = []
        self.gaps: list[Gap] = []
        self.down = Down()
        video = name is TrackName.CAMERA
        self.up = UpTrack(
            name,
            Codec.VP8 if video else Codec.OPUS,
            VP8 if video else OPUS,
            1,
            PeerClock(),
            self.frames.append,
            self.gaps.append,
            lambda: None,
            [],
            repair=True,
        )
        self.up.downs.append(self.down)

    def receive(self, data: bytes) -> None:
        receive(self.up, data, NOW)

    @property
    def sounds(self) -> list[bytes]:
        assemble(self.up.fresh)
        return [each.payload for each in self.frames]


# ---- retransmissions (RFC 4588) ----------------------------------------------------------


def plain(seqno: int, *, marker: bool = True) -> bytes:
    return rtp(seqno, 3000 * seqno, b"\x10\x01%d" % seqno, marker=marker, payload_type=VP8)


def again(packet: bytes, number: int = 900, header: bytes = b"") -> bytes:
    """The packet as it is sent again; `header`: an extension block."""
    first = packet[0] | (0x10 if header else 0)
    second = packet[1] & 0x80 | RTX
    fixed = bytes((first, second)) + number.to_bytes(2, "big") + packet[4:8] + b"\0\0\0\x05"
    return fixed + header + packet[2:4] + packet[12:]


@pytest.mark.parametrize("marker", [True, False])
def test_a_packet_that_is_sent_again_takes_the_place_of_the_lost_one(marker: bool) -> None:
    track = Track(TrackName.CAMERA)
    repairs = RetransmissionStream(track.up)
    for seqno in (65_534, 0):
        track.receive(plain(seqno))
    lost = plain(65_535, marker=marker)
    receive(repairs, again(lost), NOW)
    assert track.down.packets[65_535] == (3000 * 65_535, marker, lost[12:])
    assert (track.up.packets, track.up.repaired, track.up.packets_lost) == (3, 1, 0)
    receive(repairs, again(lost, 901), NOW)
    assert (track.up.packets, track.up.repaired, track.up.duplicates) == (3, 1, 1)


def test_the_extensions_of_a_repair_are_no_part_of_its_payload() -> None:
    track, header = Track(TrackName.CAMERA), bytes.fromhex("bede0001 40310000")
    track.receive(plain(1))
    receive(RetransmissionStream(track.up), again(plain(2), header=header), NOW)
    assert track.down.packets[2] == (6000, True, plain(2)[12:])


def test_probes_without_a_payload_are_neither_repairs_nor_faults() -> None:
    track = Track(TrackName.CAMERA)
    track.receive(plain(1))
    repairs = RetransmissionStream(track.up)
    receive(repairs, rtp(5, 3000, b"", payload_type=RTX, padding=200), NOW)
    assert track.up.packets == 1
    with pytest.raises(ValueError, match="original sequence number"):
        receive(repairs, rtp(6, 3000, b"\0", payload_type=RTX), NOW)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_in_repairs_are_taken_or_refused(payloads: list[bytes]) -> None:
    track = Track(TrackName.CAMERA)
    track.receive(plain(1))
    repairs = RetransmissionStream(track.up)
    for seqno, payload in enumerate(payloads):
        for packet in (rtp(seqno, 0, payload, payload_type=RTX), b"\xbf\x61" + bytes(10) + payload):
            try:
                receive(repairs, packet, NOW)
            except ValueError:
                continue


# ---- sound that is sent twice (RFC 2198) -------------------------------------------------


def opus(seqno: int) -> bytes:
    return b"opus%d" % seqno


def redundant(seqno: int, depth: int = 1) -> bytes:
    """A packet as browsers send it: with the `depth` before it."""
    earlier = [Block(OPUS, 960 * back, opus(seqno - back)) for back in range(depth, 0, -1)]
    payload = red.join(Block(OPUS, 0, opus(seqno)), earlier)
    return rtp(seqno, 960 * seqno, payload, payload_type=RED)


def hear(received: Iterable[int], depth: int = 1) -> Track:
    track = Track(TrackName.MICROPHONE)
    stream = RedundantStream(track.up)
    for seqno in received:
        receive(stream, redundant(seqno, depth), NOW)
    return track


def test_sound_comes_out_plain_in_order_and_once() -> None:
    track = hear(range(10, 20))
    assert track.sounds == [opus(seqno) for seqno in range(10, 20)]
    assert track.down.packets[15] == (960 * 15, False, opus(15))
    assert (track.up.packets, track.up.duplicates) == (10, 0)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_so_many_lost_packets_in_a_row_are_in_the_next_one(depth: int) -> None:
    track = hear([10, 11 + depth, 12 + depth], depth)
    assert track.sounds == [opus(seqno) for seqno in range(10, 13 + depth)]
    assert track.down.order == list(range(10, 13 + depth))
    assert (track.gaps, track.up.tick(NOW + 1, 0.05)) == ([], [])


def test_of_more_lost_packets_the_others_are_asked_for_again() -> None:
    track = hear([10, 14])
    assert track.up.tick(NOW + 0.02, 0.05) == [11, 12]
    assert track.sounds == [opus(10)]
    for seqno in (11, 12):
        track.receive(rtp(seqno, 960 * seqno, opus(seqno), payload_type=OPUS))
    assert track.sounds == [opus(seqno) for seqno in range(10, 15)]


def test_a_packet_that_was_overtaken_is_taken_once() -> None:
    track = hear([10, 12, 11, 13])
    assert track.sounds == [opus(seqno) for seqno in range(10, 14)]
    assert track.up.duplicates == 1


def test_packets_that_are_too_long_to_be_doubled_come_plain_in_between() -> None:
    track = hear([10])
    track.receive(rtp(11, 960 * 11, opus(11), payload_type=OPUS))
    receive(RedundantStream(track.up), redundant(13), NOW)
    assert track.sounds == [opus(seqno) for seqno in (10, 11, 12, 13)]


def test_a_block_that_does_not_fit_its_place_is_left_out() -> None:
    """Some senders leave packets out of what they repeat: its timestamp tells."""
    track = hear([10])
    payload = red.join(Block(OPUS, 0, opus(12)), [Block(OPUS, 3 * 960, opus(9))])
    receive(RedundantStream(track.up), rtp(12, 960 * 12, payload, payload_type=RED), NOW)
    assert track.up.tick(NOW + 0.02, 0.05) == [11]


def test_what_came_before_the_first_packet_is_not_taken() -> None:
    assert hear([10], depth=3).sounds == [opus(10)]


def test_tones_and_empty_blocks_are_no_sound_and_no_hole() -> None:
    track = hear([10])
    stream = RedundantStream(track.up)
    tone = red.join(Block(110, 0, b"tone"), [Block(110, 960, b"tone"), Block(OPUS, 960, b"")])
    for payload in (tone, b""):
        receive(stream, rtp(11, 960 * 11, payload, payload_type=RED), NOW)
    receive(stream, redundant(12), NOW)
    assert (track.sounds, track.gaps) == ([opus(10), opus(12)], [])


def test_a_tone_is_not_taken_for_the_sound_that_is_missing() -> None:
    track = hear([10])
    tone = red.join(Block(OPUS, 0, opus(12)), [Block(110, 960, b"tone")])
    receive(RedundantStream(track.up), rtp(12, 960 * 12, tone, payload_type=RED), NOW)
    track.up.close(NOW)
    assert track.sounds == [opus(10), opus(12)]
    assert len(track.gaps) == 1


@settings(max_examples=200)
@given(st.sets(st.integers(11, 40)), st.integers(1, 3))
def test_whatever_is_lost_each_sound_is_out_once_in_order_or_declared(
    lost: set[int], depth: int
) -> None:
    received = [seqno for seqno in range(10, 42) if seqno not in lost]
    track = hear(received, depth)
    track.up.close(NOW + 1)
    carried = {seqno - back for seqno in received for back in range(depth + 1)}
    expected = [seqno for seqno in range(10, 42) if seqno in carried]
    assert track.sounds == [opus(seqno) for seqno in expected]
    assert sum(gap.lost for gap in track.gaps) == 32 - len(expected)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_of_sound_are_taken_or_refused(payloads: list[bytes]) -> None:
    track = hear([1])
    stream = RedundantStream(track.up)
    for seqno, payload in enumerate(payloads):
        for packet in (rtp(seqno, 0, payload, payload_type=RED), b"\xbf\x3f" + bytes(10) + payload):
            try:
                receive(stream, packet, NOW)
            except ValueError:
                continue
