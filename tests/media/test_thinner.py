"""What an observer gets who is sent a part of a stream; the up track and its repair are real."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Codec, TrackName
from server.core.rtp import payload_span, unpack_header
from server.media.forwarding.down_track import DownTrack
from server.media.forwarding.thinner import REMEMBERED, WHOLE, Part, Removed
from server.media.receiving.clock import PeerClock
from server.media.receiving.up_track import UpTrack
from tests.media.layered import FPS, PATTERN, sending_to, vp8
from tests.media.spatial import Spatial, SpatialWatcher, layer_of
from tests.media.streams import TICKS, receive, rtp

NOW = 1_800_000_000.0


class Stream:
    """One layer of VP8 in three temporal ones, two packets to a picture, and its observer."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.down = DownTrack(9, {Codec.VP8: {"": 120}}, sending_to(self.sent))
        self.up = UpTrack(
            TrackName.CAMERA,
            Codec.VP8,
            96,
            1,
            PeerClock(),
            _ignore,
            _ignore,
            _hurry,
            [],
            repair=False,
        )
        self.down.attach(self.up)
        self.number = 0

    def pictures(self, count: int) -> list[bytes]:
        packets = []
        for number in range(self.number, self.number + count):
            temporal_id = PATTERN[number % 4]
            first = vp8(
                32_760 + number,
                keyframe=number == 0,
                tl0=250 + number // 4,
                temporal_id=temporal_id,
                sync=number % 8 in (1, 2, 3),
            )
            # Without the bit that says: a partition begins.
            rest = bytes([first[0] & ~0x10]) + first[1:]
            for index, payload in enumerate((first, rest)):
                seqno, marker = 65_530 + 2 * number + index, index == 1
                packets.append(rtp(seqno, TICKS * number, payload, marker=marker))
        self.number += count
        return packets

    def receive(self, packets: Sequence[bytes]) -> None:
        for data in packets:
            receive(self.up, data, NOW)

    @property
    def seqnos(self) -> list[int]:
        return [unpack_header(data)[2] for data in self.sent]

    @property
    def temporal_ids(self) -> list[int]:
        return [data[17] >> 6 for data in self.sent]

    @property
    def picture_ids(self) -> list[int]:
        return [(data[14] & 0x7F) << 8 | data[15] for data in self.sent]


def _hurry() -> None:
    pass


def _ignore(_: object) -> None:
    pass


def continuous(numbers: Sequence[int], bits: int = 16) -> bool:
    return list(numbers) == [(numbers[0] + at) % (1 << bits) for at in range(len(numbers))]


@pytest.mark.parametrize("limit", [0, 1])
def test_what_is_left_is_numbered_as_if_there_were_nothing_else(limit: int) -> None:
    stream = Stream()
    stream.receive(stream.pictures(4))
    stream.down.limit(Part(limit))
    stream.receive(stream.pictures(40))
    assert set(stream.temporal_ids[8:]) == set(range(limit + 1))
    assert continuous(stream.seqnos)
    assert continuous(stream.picture_ids[::2], 15)
    assert stream.picture_ids[::2] == stream.picture_ids[1::2]


def test_picture_that_has_begun_is_sent_whole() -> None:
    stream = Stream()
    packets = stream.pictures(4)
    stream.receive(packets[:3])  # the second picture, of layer 2, is half sent
    stream.down.limit(Part(0))
    stream.receive(packets[3:])
    assert stream.temporal_ids == [0, 0, 2, 2]


def test_more_is_let_through_only_where_it_needs_nothing_that_was_left_out() -> None:
    stream = Stream()
    stream.receive(stream.pictures(4))
    stream.down.limit(Part(0))
    stream.receive(stream.pictures(5))
    stream.down.limit(Part(2))
    stream.receive(stream.pictures(12))
    # Pictures 9 to 11 say that they need the base layer alone; but layer 2 waits for layer 1.
    assert stream.temporal_ids[::2] == [0, 2, 1, 2, 0, 0, 1, 2, 0, 2, 1, 2, 0, 2, 1, 2, 0]
    assert continuous(stream.seqnos)
    assert continuous(stream.picture_ids[::2], 15)


def test_nack_is_answered_as_first_sent() -> None:
    stream = Stream()
    stream.receive(stream.pictures(4))
    stream.down.limit(Part(1))
    stream.receive(stream.pictures(40))
    stream.down.limit(WHOLE)
    stream.receive(stream.pictures(8))
    before, seqnos = list(stream.sent), stream.seqnos
    stream.sent.clear()
    stream.down.resend(seqnos, NOW + 1, None)
    assert stream.sent == before


def test_what_comes_late_is_sent_in_its_place_or_padding_is() -> None:
    stream = Stream()
    stream.receive(stream.pictures(4))
    stream.down.limit(Part(1))
    late = stream.pictures(4)
    # Picture 4 is of the base layer, 5 of layer 2, 6 of layer 1.
    stream.receive([late[0], late[4], late[5]])
    assert [(seqno - stream.seqnos[0]) % 65_536 for seqno in stream.seqnos[8:]] == [8, 12, 13]
    stream.receive([late[1], late[2], late[3], late[6], late[7]])
    assert [(seqno - stream.seqnos[0]) % 65_536 for seqno in stream.seqnos[11:]] == [9, 10, 11]
    spans = [payload_span(data) for data in stream.sent[11:]]
    assert [end - start > 0 for start, end in spans] == [True, False, False]
    stream.receive(stream.pictures(1))
    assert (stream.seqnos[-2] - stream.seqnos[0]) % 65_536 == 14


def test_a_stream_that_is_whole_again_is_numbered_on() -> None:
    stream = Stream()
    stream.receive(stream.pictures(4))
    stream.down.limit(Part(0))
    stream.receive(stream.pictures(8))
    stream.down.limit(WHOLE)
    stream.receive(stream.pictures(40))
    assert stream.temporal_ids[-8:] == [0, 0, 2, 2, 1, 1, 2, 2]
    assert continuous(stream.seqnos)


@given(st.sets(st.integers(0, 200)))
def test_numbers_without_those_removed_have_no_holes_and_are_found_again(taken: set[int]) -> None:
    removed, left = Removed(), []
    for number in range(201):
        if number in taken:
            removed.add(number)
        else:
            left.append(number)
            assert number - removed.up_to(number) == len(left) - 1
    assert [removed.original(index) for index in range(len(left))] == left


def test_removed_numbers_are_forgotten_long_after_and_still_counted() -> None:
    removed = Removed()
    for number in range(0, 8 * REMEMBERED, 2):
        removed.add(number)
    last = 8 * REMEMBERED - 1
    assert last - removed.up_to(last) == 4 * REMEMBERED - 1
    assert removed.original(4 * REMEMBERED - 1) == last


# ---- spatial layers ------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("codec", [Codec.VP9, Codec.AV1])


def watched(codec: Codec, *, key: bool) -> tuple[Spatial, SpatialWatcher]:
    candidate = Spatial(key=key, codec=codec)
    watcher = SpatialWatcher(candidate)
    for _ in range(4):
        candidate.step()
    return candidate, watcher


@BOTH
@pytest.mark.parametrize("key", [True, False])
@pytest.mark.parametrize("part", [Part(7, 0), Part(7, 1), Part(1, 1), Part(0, 0)])
def test_higher_spatial_layers_are_left_out_from_the_next_picture_on(
    codec: Codec, part: Part, key: bool
) -> None:
    candidate, watcher = watched(codec, key=key)
    watcher.down.limit(part)
    for _ in range(12):
        candidate.step()
    seen = watcher.pictures()
    assert [each.layers for each in seen[:4]] == [3] * 4
    assert {each.layers for each in seen[4:]} == {part.spatial_id + 1}
    assert {each.temporal_id for each in seen[4:]} == set(range(min(part.temporal_id, 2) + 1))


@BOTH
def test_a_picture_that_has_begun_is_sent_in_all_of_its_layers(codec: Codec) -> None:
    candidate, watcher = watched(codec, key=True)
    watcher.down.limit(Part(7, 1))
    watcher.down.limit(WHOLE)
    candidate.ask_for_keyframe()
    candidate.step()
    halves = candidate.picture()
    candidate.receive(halves[:3])
    watcher.down.limit(Part(7, 0))
    candidate.receive(halves[3:])
    candidate.step()
    assert [each.layers for each in watcher.pictures()] == [3] * 6 + [1]


@BOTH
@pytest.mark.parametrize("key", [True, False])
def test_more_spatial_layers_are_sent_from_a_keyframe_on_which_is_asked_for(
    codec: Codec, key: bool
) -> None:
    candidate, watcher = watched(codec, key=key)
    watcher.down.limit(Part(7, 0))
    for _ in range(30):
        candidate.step()
    keyframes = candidate.keyframes
    watcher.down.limit(Part(7, 1))
    for _ in range(8):
        candidate.step()
    watcher.down.limit(WHOLE)
    for _ in range(60):
        candidate.step()
    seen = watcher.pictures()
    layers = [each.layers for each in seen]
    first, second = layers.index(2, 4), layers.index(3, 4)
    assert layers == [3] * 4 + [1] * (first - 4) + [2] * (second - first) + [3] * (
        len(layers) - second
    )
    assert (seen[first].keyframe, seen[second].keyframe) == (True, True)
    assert candidate.keyframes == keyframes + 2


@BOTH
def test_a_keyframe_whose_beginning_is_late_is_asked_for_again(codec: Codec) -> None:
    candidate, watcher = watched(codec, key=True)
    watcher.down.limit(Part(7, 0))
    candidate.step()
    watcher.down.limit(WHOLE)
    while candidate.keyframes < 2:
        candidate.tick()
        packets = candidate.picture()
        late = candidate.keyframes == 2
        candidate.receive([*packets[1:], packets[0]] if late else packets)
    candidate.run(2.0)
    seqnos = sorted(unpack_header(data)[2] for data in watcher.sent)
    assert seqnos == sorted(
        {(unpack_header(watcher.sent[0])[2] + at) & 0xFFFF for at in range(len(seqnos))}
    )
    assert layer_of(watcher.sent[-1]) == 2
    assert candidate.keyframes == 3


@BOTH
@pytest.mark.parametrize("key", [True, False])
def test_a_nack_is_answered_with_the_layers_and_the_end_that_were_sent(
    codec: Codec, key: bool
) -> None:
    candidate, watcher = watched(codec, key=key)
    watcher.down.limit(Part(1, 1))
    candidate.run(0.5)
    watcher.down.limit(WHOLE)
    candidate.run(1.0)
    before = watcher.sent[-200:]
    watcher.sent.clear()
    watcher.down.resend([unpack_header(data)[2] for data in before], candidate.now + 1, None)
    assert watcher.sent == before


@given(
    st.sampled_from([Codec.VP9, Codec.AV1]),
    st.booleans(),
    st.lists(
        st.tuples(
            st.sampled_from([Part(tid, sid) for tid in (0, 1, 7) for sid in (0, 1, 7)]),
            st.integers(0, 5),  # so many packets of a picture come before that is asked for
            st.integers(1, 10),  # so many pictures it is left so
        ),
        max_size=12,
    ),
)
def test_whatever_is_asked_for_and_when_all_that_is_sent_can_be_decoded(
    codec: Codec, key: bool, asked: list[tuple[Part, int, int]]
) -> None:
    candidate, watcher = watched(codec, key=key)
    for part, begun, pictures in asked:
        packets = candidate.picture()
        candidate.receive(packets[:begun])
        watcher.down.limit(part)
        candidate.receive(packets[begun:])
        candidate.run(pictures / FPS)
    assert len(watcher.pictures()) > len(asked)
