import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.frames import VIDEO_CODECS, Codec
from server.media.receiving.assembler import (
    DEADLINE_S,
    MAX_FRAME_PACKETS,
    MAX_HELD,
    AudioAssembler,
    FrameReady,
    Packet,
    Reorderer,
    VideoAssembler,
)
from tests.media.streams import TICKS, packets, pictures

VIDEO = VIDEO_CODECS


def assemble(
    codec: Codec, sent: list[Packet], *, step_s: float = 0.001, expire: bool = True
) -> list[FrameReady]:
    """What comes out when one packet arrives each `step_s`, and time passes at the end."""
    assembler, now = VideoAssembler(codec), 0.0
    out: list[FrameReady] = []
    for packet in sent:
        now += step_s
        out += assembler.push(packet, now)
        out += assembler.expire(now)
    return [*out, *(assembler.expire(now + DEADLINE_S) if expire else ())]


def frames(out: list[FrameReady]) -> list[bytes]:
    return [each.frame.payload for each in out]


def apply(sent: list[Packet], loss: list[int]) -> list[Packet]:
    """`loss`: 1 for each packet that is lost, from the first; later ones arrive."""
    return [each for index, each in enumerate(sent) if loss[index : index + 1] != [1]]


def span(index: int, codec: Codec) -> range:
    """Indexes of the packets of one picture."""
    counts = [len(each.payloads) for each in pictures(codec)]
    return range(sum(counts[:index]), sum(counts[: index + 1]))


# ---- in order ----------------------------------------------------------------------------


@pytest.mark.parametrize("codec", VIDEO)
def test_frames_come_out_byte_identical_with_keyframes_marked(codec: Codec) -> None:
    sent = pictures(codec)
    out = assemble(codec, packets(sent))
    assert frames(out) == [each.frame for each in sent]
    assert [each.frame.keyframe for each in out] == [each.keyframe for each in sent]
    assert [each.timestamp for each in out] == [(1 << 33) + TICKS * i for i in range(len(sent))]
    assert not any(each.after_gap or each.lost_packets for each in out)
    assert any(len(each.payloads) > 2 for each in sent), "the pictures must take several packets"


@pytest.mark.parametrize("codec", VIDEO)
def test_marker_releases_a_frame_at_once(codec: Codec) -> None:
    assembler = VideoAssembler(codec)
    first = packets(pictures(codec)[:1])
    for packet in first[:-1]:
        assert not assembler.push(packet, 0.0)
    assert len(assembler.push(first[-1], 0.0)) == 1


@pytest.mark.parametrize("codec", VIDEO)
def test_frame_without_marker_is_released_by_the_next(codec: Codec) -> None:
    sent = pictures(codec)
    out = assemble(codec, packets(sent, marker=False))
    assert frames(out) == [each.frame for each in sent[:-1]]


def test_sequence_numbers_may_grow_past_sixteen_bits() -> None:
    sent = pictures(Codec.VP8)
    assert len(assemble(Codec.VP8, packets(sent, seqno=65_530))) == len(sent)


@pytest.mark.parametrize("codec", VIDEO)
def test_padding_only_packets_change_nothing(codec: Codec) -> None:
    sent = pictures(codec)
    numbered: list[Packet] = []
    for _, timestamp, marker, payload in packets(sent):
        seqno = 70_000 + len(numbered)
        numbered.append((seqno, timestamp, marker, payload))
        if marker:  # a bandwidth probe: the timestamp of the frame before, no payload
            numbered.append((seqno + 1, timestamp, False, b""))
    assert frames(assemble(codec, numbered)) == [each.frame for each in sent]


# ---- reordering and duplication ----------------------------------------------------------


@pytest.mark.parametrize("codec", VIDEO)
def test_reordered_and_repeated_packets_make_the_same_frames(codec: Codec) -> None:
    sent = pictures(codec)
    shuffled = packets(sent)
    generator = random.Random(1)
    for start in range(1, len(shuffled) - 8, 8):
        window = shuffled[start : start + 8]
        shuffled[start : start + 8] = generator.sample(window, len(window))
    repeated = [copy for packet in shuffled for copy in (packet, packet)]
    assert frames(assemble(codec, repeated)) == [each.frame for each in sent]


def test_late_packet_is_counted_and_dropped() -> None:
    reorderer = Reorderer()
    first, second, third = packets(pictures(Codec.VP8))[:3]
    reorderer.push(first, 0.0)
    reorderer.push(third, 0.0)
    assert reorderer.expire(1.0) == [1, third]
    assert reorderer.push(second, 1.0) == ()
    assert reorderer.late == 1


# ---- loss --------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", VIDEO)
@pytest.mark.parametrize("lost", range(4))
def test_after_a_loss_nothing_comes_until_the_next_keyframe(codec: Codec, lost: int) -> None:
    """The lost packet is any of the second picture's; pictures 4 and 8 are keyframes."""
    sent, sequence = packets(pictures(codec)), pictures(codec)
    second = span(1, codec)
    gone = second[min(lost, len(second) - 1)]
    out = assemble(codec, [each for index, each in enumerate(sent) if index != gone], step_s=0.1)
    assert frames(out) == [sequence[i].frame for i in (0, *range(4, 12))]
    assert [(each.lost_packets, each.after_gap) for each in out[:3]] == [
        (0, False),
        (1, True),
        (0, False),
    ]


@pytest.mark.parametrize("codec", VIDEO)
def test_every_single_loss_leaves_only_whole_frames(codec: Codec) -> None:
    sent, sequence = packets(pictures(codec)), pictures(codec)
    whole = {each.frame for each in sequence}
    for gone in range(1, span(8, codec)[0]):  # before the last keyframe
        out = assemble(codec, sent[:gone] + sent[gone + 1 :], step_s=0.01)
        assert set(frames(out)) <= whole, f"packet {gone} lost"
        assert sum(each.lost_packets for each in out) == 1, f"packet {gone} lost"


@pytest.mark.parametrize("codec", VIDEO)
def test_loss_across_two_pictures_does_not_pass_the_second_as_whole(codec: Codec) -> None:
    """From the end of picture 3 into keyframe 4: what is left of 4 is not a keyframe."""
    sent, sequence = packets(pictures(codec)), pictures(codec)
    keyframe = span(4, codec)
    for tail in range(len(span(3, codec))):
        for head in range(1, len(keyframe)):
            gone = range(keyframe[0] - tail, keyframe[0] + head)
            out = assemble(codec, [each for i, each in enumerate(sent) if i not in gone])
            expected = [*range(4 - (tail > 0)), *range(8, 12)]
            assert frames(out) == [sequence[i].frame for i in expected]


def test_loss_of_whole_pictures_is_counted_in_packets() -> None:
    sent, sequence = packets(pictures(Codec.VP8)), pictures(Codec.VP8)
    gone = range(span(2, Codec.VP8)[0], span(4, Codec.VP8)[0])
    out = assemble(Codec.VP8, [each for i, each in enumerate(sent) if i not in gone])
    assert frames(out) == [sequence[i].frame for i in (0, 1, *range(4, 12))]
    assert (out[2].lost_packets, out[2].after_gap) == (len(gone), True)


def test_stream_that_begins_with_deltas_waits_for_a_keyframe() -> None:
    sequence = pictures(Codec.H264)
    out = assemble(Codec.H264, packets(sequence[1:]))
    assert frames(out) == [each.frame for each in sequence[4:]]


def test_repaired_loss_costs_nothing() -> None:
    sent, sequence = packets(pictures(Codec.VP8)), pictures(Codec.VP8)
    late = sent.pop(5)
    sent.insert(20, late)
    assert frames(assemble(Codec.VP8, sent)) == [each.frame for each in sequence]


def test_keyframe_is_wanted_until_one_is_whole() -> None:
    assembler = VideoAssembler(Codec.VP8)
    assert assembler.wants_keyframe
    sent = packets(pictures(Codec.VP8)[:1])
    for packet in sent[:-1]:
        assembler.push(packet, 0.0)
        assert assembler.wants_keyframe
    assembler.push(sent[-1], 0.0)
    assert not assembler.wants_keyframe


# ---- deadlines and bounds ----------------------------------------------------------------


def test_hole_is_given_up_at_its_deadline_and_not_before() -> None:
    first, _, third = packets(pictures(Codec.VP8))[:3]
    reorderer = Reorderer()
    reorderer.push(first, 0.0)
    reorderer.push(third, 1.0)
    assert reorderer.expire(1.0 + DEADLINE_S - 0.001) == []
    assert reorderer.expire(1.0 + DEADLINE_S) == [1, third]
    assert not reorderer.waiting


def test_all_holes_past_their_deadline_are_given_up_at_once() -> None:
    first, _, third, _, fifth, _, seventh = packets(pictures(Codec.VP8))[:7]
    reorderer = Reorderer()
    for now, packet in enumerate((first, third, fifth, seventh)):
        reorderer.push(packet, now * 0.1)
    assert reorderer.expire(0.2 + DEADLINE_S) == [1, third, 1, fifth]


@pytest.mark.parametrize("codec", VIDEO)
def test_with_a_hole_all_up_to_the_next_keyframe_is_given_up(codec: Codec) -> None:
    sequence = pictures(codec)
    again = next(index for index, each in enumerate(sequence) if index and each.keyframe)
    lost = {span(1, codec)[-1], span(again - 1, codec)[-1]}
    assembler, out = VideoAssembler(codec), list[FrameReady]()
    for place, packet in enumerate(packets(sequence)):
        if place not in lost:
            out += assembler.push(packet, 10.0 * (place > max(lost)))
    assert assembler.reorderer.waiting
    out += assembler.expire(1.0 + DEADLINE_S)
    assert frames(out) == [each.frame for each in (sequence[0], *sequence[again:])]
    assert not assembler.reorderer.waiting


def test_many_holes_do_not_add_up_their_deadlines() -> None:
    """One packet in two lost for ten seconds: the delay stays at one deadline."""
    assembler, delays = AudioAssembler(), []
    assembler.reorderer.deadline_s = 0.12
    for seqno in range(0, 500, 2):
        now = seqno * 0.02
        packet = (seqno, seqno, True, b"sound")
        for each in [*assembler.push(packet, now), *assembler.expire(now)]:
            delays.append(now - each.timestamp * 0.02)
    assert max(delays) <= 0.12 + 0.041
    assert len(delays) > 240


def test_held_packets_are_bounded() -> None:
    reorderer, out = Reorderer(), 0
    for seqno in range(0, 10 * MAX_HELD, 2):
        out += len(reorderer.push((seqno, 0, False, b""), 0.0))
        assert len(reorderer._held) <= MAX_HELD
    assert out > 7 * MAX_HELD


@pytest.mark.parametrize("codec", VIDEO)
def test_endless_frame_is_dropped_and_takes_no_memory(codec: Codec) -> None:
    assembler = VideoAssembler(codec)
    first, second = next(each for each in pictures(codec) if len(each.payloads) > 2).payloads[:2]
    assembler.push((0, 0, False, first), 0.0)
    for seqno in range(1, 3 * MAX_FRAME_PACKETS):
        assert not assembler.push((seqno, 0, False, second), 0.0)
        assert len(assembler._payloads) <= MAX_FRAME_PACKETS
    assert assembler.wants_keyframe


# ---- audio -------------------------------------------------------------------------------


def sound(seqno: int, payload: bytes = b"opus") -> Packet:
    return seqno, 960 * seqno, True, payload


def test_each_audio_packet_is_a_frame_at_once() -> None:
    assembler = AudioAssembler()
    for seqno in range(5):
        (ready,) = assembler.push(sound(seqno, bytes([seqno])), 0.0)
        assert (ready.frame.payload, ready.after_gap) == (bytes([seqno]), False)


def test_lost_audio_is_declared_with_the_next_packet() -> None:
    assembler = AudioAssembler()
    out = [ready for seqno in (0, 1, 4, 5) for ready in assembler.push(sound(seqno), 0.0)]
    out += assembler.expire(DEADLINE_S)
    assert [(each.lost_packets, each.after_gap) for each in out] == [
        (0, False),
        (0, False),
        (2, True),
        (0, False),
    ]


def test_audio_keepalive_without_sound_is_neither_frame_nor_loss() -> None:
    assembler = AudioAssembler()
    assert not assembler.push((0, 0, True, b""), 0.0)
    (ready,) = assembler.push(sound(1), 0.0)
    assert not ready.after_gap


# ---- any pattern -------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    codec=st.sampled_from(VIDEO),
    loss=st.lists(st.integers(0, 1), max_size=90),
    order=st.randoms(use_true_random=False),
)
def test_any_loss_and_order_gives_whole_frames_in_order_and_counts_the_lost(
    codec: Codec, loss: list[int], order: random.Random
) -> None:
    sequence = pictures(codec)
    sent = packets(sequence)
    kept = sent[:1] + apply(sent[1:-1], loss) + sent[-1:]
    moved = sorted(range(len(kept)), key=lambda i: i + (order.random() * 6 if i else 0))
    out = assemble(codec, [kept[i] for i in moved], step_s=0.0001)
    got = [next(i for i, each in enumerate(sequence) if each.frame == f) for f in frames(out)]
    assert got == sorted(set(got))
    for before, after in zip([-1, *got], got, strict=False):
        assert after == before + 1 or sequence[after].keyframe, "a gap ends at a keyframe"
    if got and got[-1] == len(sequence) - 1:
        assert sum(each.lost_packets for each in out) == len(sent) - len(kept)


@settings(max_examples=300, deadline=None)
@given(
    codec=st.sampled_from(VIDEO),
    received=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 5), st.booleans(), st.binary(max_size=60)),
        max_size=60,
    ),
)
def test_random_packets_raise_nothing(
    codec: Codec, received: list[tuple[int, int, bool, bytes]]
) -> None:
    assembler = VideoAssembler(codec)
    for now, (seqno, timestamp, marker, data) in enumerate(received):
        assembler.starts_keyframe(data)
        out = [*assembler.push((seqno, timestamp, marker, data), now / 10)]
        out += assembler.expire(now / 10)
        assert all(each.frame.payload for each in out)
