import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core import red
from server.core.red import Block

#: As Chromium sends it: the packet before, 20 ms earlier, of three bytes; then its own.
REDUNDANT = bytes.fromhex("ef 0f00 03 6f 616161 626262")
blocks = st.builds(Block, st.integers(0, 127), st.integers(0, 2**14 - 1), st.binary(max_size=40))


def test_blocks_come_out_the_oldest_first() -> None:
    assert red.split(REDUNDANT) == [Block(111, 960, b"aaa"), Block(111, 0, b"bbb")]


def test_a_packet_without_redundancy_has_one_block() -> None:
    assert red.split(b"\x6fbbb") == [Block(111, 0, b"bbb")]
    assert red.split(b"\x6f") == [Block(111, 0, b"")]


@pytest.mark.parametrize(
    "payload",
    [b"", REDUNDANT[:1], REDUNDANT[:4], REDUNDANT[:7], b"\xef\x0f\x00\x03" * 2],
)
def test_a_payload_shorter_than_its_headers_say_is_refused(payload: bytes) -> None:
    for read in (red.split, red.own_block):
        with pytest.raises(ValueError, match="RED"):
            read(payload)


@given(st.lists(blocks, max_size=4), st.integers(0, 127), st.binary(max_size=40))
def test_what_is_joined_is_split_again(earlier: list[Block], own: int, data: bytes) -> None:
    primary = Block(own, 0, data)
    payload = red.join(primary, earlier)
    assert red.split(payload) == [*earlier, primary]
    payload_type, start = red.own_block(payload)
    assert (payload_type, payload[start:]) == (own, data)


@pytest.mark.parametrize("block", [Block(111, 2**14, b""), Block(111, 0, bytes(2**10))])
def test_what_has_no_room_in_a_header_is_not_joined(block: Block) -> None:
    with pytest.raises(ValueError, match="too old or too long"):
        red.join(Block(111, 0, b""), [block])


@given(st.binary(max_size=60))
def test_any_bytes_are_split_or_refused(payload: bytes) -> None:
    try:
        split = red.split(payload)
    except ValueError:
        with pytest.raises(ValueError, match="RED"):
            red.own_block(payload)
        return
    assert payload[red.own_block(payload)[1] :] == split[-1].data
    assert split[-1].timestamp_offset == 0
    assert red.join(split[-1], split[:-1]) == payload
