import struct
from collections.abc import Sequence
from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import rtcp, twcc
from server.core.rtp import Unwrapper
from server.core.twcc import MAX_PACKETS, TICK_S, TransportFeedback


def feedback(*arrivals: int | None, base: int = 0, number: int = 0) -> TransportFeedback:
    return TransportFeedback(1, 2, number, base, arrivals)


def body(count: int, chunks: Sequence[int], deltas: bytes, reference: int = 0) -> bytes:
    """As on the wire, of packets from 7 on."""
    fixed = struct.pack("!IIHHI", 1, 2, 7, count, reference << 8)
    return fixed + struct.pack(f"!{len(chunks)}H", *chunks) + deltas


def assert_chunks(arrivals: Sequence[int | None], expected: Sequence[int]) -> None:
    """That they are written as these chunks, each arrival with a delta of one octet."""
    came = [0, *(each for each in arrivals if each is not None)]
    deltas = bytes(after - before for before, after in pairwise(came))
    data = body(len(arrivals), expected, deltas)
    assert twcc.write(feedback(*arrivals, base=7)) == data + bytes(-len(data) % 4)


# ---- byte literals -----------------------------------------------------------------------


def test_a_run_is_written_and_read() -> None:
    data = bytes.fromhex(
        "00000001 00000002 fffe0003 0003e805"  # SSRCs, base, count, reference time, number
        "2003 0408ff 000000"  # a run of three with small deltas, and padding
    )
    whole = feedback(256_004, 256_012, 256_267, base=65_534, number=5)
    assert twcc.write(whole) == data
    assert twcc.parse(data) == whole


def test_a_vector_of_single_bits_tells_of_losses() -> None:
    arrivals = (4, *[None] * 12, 12)
    data = body(14, [0b10_10000000000001], bytes((4, 8)))
    assert twcc.parse(data).arrivals == arrivals
    assert_chunks(arrivals, [0b10_10000000000001])


def test_a_vector_of_two_bits_tells_of_packets_that_were_overtaken() -> None:
    data = body(4, [0b11_01_10_00_01_000000], bytes((200,)) + struct.pack("!h", -150) + b"\x00")
    assert twcc.parse(data).arrivals == (200, 50, None, 50)


def test_what_is_of_one_kind_is_one_run() -> None:
    assert_chunks(range(40), [1 << 13 | 40])
    assert_chunks([*[None] * 500, 1, 2], [500, 1 << 13 | 2])
    # Fewer than fourteen are told of by a vector, with what follows.
    assert_chunks([*range(20), None, 30], [1 << 13 | 20, 0b10_01 << 12])


def test_arrivals_far_from_each_other_have_two_octets_and_too_far_none() -> None:
    there_and_back = feedback(0, 0x7FFF, 0, 0x7FFF, 0xFFFF_FFFF)
    assert twcc.parse(twcc.write(there_and_back)) == there_and_back
    for apart in ((0, 0x8000), (0x8001, 0)):
        with pytest.raises(ValueError, match="too far apart"):
            twcc.write(feedback(*apart))


def test_the_time_wraps_with_the_reference_time() -> None:
    ticks = (0xFFFF_FFF0, 0xFFFF_FFFF, 3, 0xFFFF_FFFE)
    assert twcc.parse(twcc.write(feedback(*ticks))).arrivals == ticks
    unwrapper = Unwrapper(32)
    since_first = [unwrapper.unwrap(each) - (1 << 32) - ticks[0] for each in ticks]
    assert since_first == [0, 15, 19, 14]
    # 2: reference times count 64 ms, and wrap after 12 days.
    assert (1 << 32) * TICK_S == (1 << 24) * 0.064


def test_it_is_one_item_of_a_compound_packet() -> None:
    several = [feedback(1, None, 2), feedback(3, base=3, number=1)]
    data = rtcp.receiver_report(rtcp.ReceiverReport(1))
    data += b"".join(map(rtcp.transport_feedback, several))
    assert rtcp.parse(data) == [rtcp.ReceiverReport(1), *several]
    # As libwebrtc pads it (RFC 3550 6.4.1), and as the draft does.
    padded = bytes.fromhex("afcd0006 00000001 00000002 00070002 00000000 2002 0102 00000004")
    assert rtcp.parse(padded) == [feedback(1, 3, base=7)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (body(0, [], b"")[:15], "truncated"),
        (body(3, [1 << 13 | 1, 1 << 13 | 1], b""), "lacks a status"),
        (body(4, [2 << 13 | 4], bytes(6)), "lacks a delta"),
        (body(1, [3 << 13 | 1], bytes(6)), "without a meaning"),
        (body(1, [0b11_11 << 12], bytes(6)), "without a meaning"),
        (body(9, [1 << 13], bytes(6)), "empty run"),
        (body(MAX_PACKETS + 1, [MAX_PACKETS, 1], b""), "more than"),
    ],
)
def test_what_is_not_whole_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        twcc.parse(data)
    with pytest.raises(ValueError, match=why):
        rtcp.parse(struct.pack("!BBH", 0x8F, 205, len(data) // 4) + data[: len(data) // 4 * 4])


def test_the_longest_feedback() -> None:
    longest = feedback(*[None] * (MAX_PACKETS - 1), 3)
    assert twcc.parse(twcc.write(longest)) == longest
    with pytest.raises(ValueError, match="more than"):
        twcc.write(feedback(*longest.arrivals, None))


# ---- any feedback, any bytes -------------------------------------------------------------

U8, U16, U32 = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
_STEPS = st.one_of(st.none(), st.integers(0, 255), st.integers(-0x8000, 0x7FFF))
_STRETCHES = st.one_of(
    st.lists(_STEPS, max_size=30),
    st.tuples(st.integers(0, 200), _STEPS).map(lambda run: [run[1]] * run[0]),
)


@st.composite
def feedbacks(draw: st.DrawFn) -> TransportFeedback:
    now = draw(U32)
    arrivals: list[int | None] = []
    for step in chain.from_iterable(draw(st.lists(_STRETCHES, max_size=8))):
        if step is not None:
            now = (now + step) & 0xFFFF_FFFF
        arrivals.append(None if step is None else now)
    return TransportFeedback(draw(U32), draw(U32), draw(U8), draw(U16), tuple(arrivals))


@settings(deadline=None)
@given(feedbacks())
def test_what_is_written_is_read(whole: TransportFeedback) -> None:
    data = twcc.write(whole)
    assert len(data) % 4 == 0
    assert twcc.parse(data) == whole
    # No chunk tells of fewer than seven packets, but for the last, and none has two octets each.
    assert len(data) <= 16 + 2 * (len(whole.arrivals) // 7 + 1) + 2 * len(whole.arrivals) + 3


@settings(deadline=None)
@given(U16, st.lists(U16, max_size=40), st.binary(max_size=200))
def test_any_statuses_and_deltas_are_read_or_refused(
    count: int, chunks: list[int], deltas: bytes
) -> None:
    try:
        read = twcc.parse(body(count, chunks, deltas))
    except ValueError:
        return
    assert len(read.arrivals) == count
    assert twcc.parse(twcc.write(read)) == read
