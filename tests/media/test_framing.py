import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.media.transport.framing import MAX_FRAME, Deframer, FrameTooLong, frame


def test_frame_is_its_length_and_the_packet() -> None:
    assert frame(b"abc") == b"\x00\x03abc"  # RFC 4571 2


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 40)))
def test_packets_come_out_as_they_went_in_however_they_are_cut(
    packets: list[bytes], cuts: list[int]
) -> None:
    stream, deframer = b"".join(map(frame, packets)), Deframer()
    out: list[bytes] = []
    for cut in [*cuts, len(stream)]:
        out += deframer.feed(stream[:cut])
        stream = stream[cut:]
    assert out == [each for each in packets if each]
    assert deframer._rest == b""


def test_longest_frame_passes_and_a_longer_one_does_not() -> None:
    longest = bytes(MAX_FRAME)
    assert Deframer().feed(frame(longest)) == [longest]
    with pytest.raises(FrameTooLong, match=str(MAX_FRAME + 1)):
        Deframer().feed(frame(bytes(MAX_FRAME + 1)))


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0"])
def test_other_protocols_are_refused_by_their_first_bytes(start: bytes) -> None:
    with pytest.raises(FrameTooLong):
        Deframer().feed(start)


@given(st.lists(st.binary(max_size=100)))
def test_random_bytes_give_packets_or_the_error_and_never_pile_up(chunks: list[bytes]) -> None:
    deframer = Deframer()
    try:
        for chunk in chunks:
            assert all(0 < len(packet) <= MAX_FRAME for packet in deframer.feed(chunk))
            assert len(deframer._rest) < MAX_FRAME + 2
    except FrameTooLong:
        pass
