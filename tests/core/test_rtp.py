import pytest
from aiortc.rtp import RtpPacket
from aiortc.rtp import is_rtcp as aiortc_is_rtcp
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.rtp import (
    HEADER_LENGTH,
    ONE_ELEMENT,
    Unwrapper,
    extension,
    is_rtcp,
    pack_header,
    pack_header_with_number,
    payload_of,
    payload_span,
    unpack_header,
)

PLAIN = bytes.fromhex("80e0fffe00010203deadbeef")


def test_header_fields_are_where_rfc_3550_puts_them() -> None:
    assert unpack_header(PLAIN) == (0x80, 0xE0, 0xFFFE, 0x00010203, 0xDEADBEEF)
    assert pack_header(0x80, 0xE0, 0xFFFE, 0x00010203, 0xDEADBEEF) == PLAIN


def test_payload_follows_the_fixed_header() -> None:
    assert payload_of(PLAIN + b"sound") == b"sound"
    assert payload_of(PLAIN) == b""


def test_payload_follows_contributing_sources_and_extension() -> None:
    header = b"\x92" + PLAIN[1:] + b"csr1csr2" + b"\xbe\xde\x00\x02" + bytes(8)
    assert payload_of(header + b"sound") == b"sound"


@settings(max_examples=500)
@given(st.sampled_from([0x80, 0x90, 0x91, 0xB0]), st.binary(min_size=3, max_size=60))
def test_payload_is_what_its_span_says(first: int, rest: bytes) -> None:
    data = bytes([first]) + rest[:13] + b"\0" + rest[13:]  # a length of the extension that may be
    try:
        start, end = payload_span(data)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)):
            payload_of(data)
    else:
        assert payload_of(data) == data[start:end]


def test_header_with_a_number_is_read_back() -> None:
    fields = (0x90, 0xE0, 0xFFFE, 0x00010203, 0xDEADBEEF)
    data = pack_header_with_number(*fields, *ONE_ELEMENT, 5 << 4 | 1, 0xABCD) + b"sound"
    assert unpack_header(data) == fields
    assert extension(data, 5) == b"\xab\xcd"
    assert payload_of(data) == b"sound"


def test_padding_is_not_payload() -> None:
    assert payload_of(b"\xa0" + PLAIN[1:] + b"sound" + b"\0\0\3") == b"sound"
    assert payload_of(b"\xa0" + PLAIN[1:] + b"\0\2") == b""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "fixed header"),
        (PLAIN[:-1], "fixed header"),
        (b"\x40" + PLAIN[1:], "version"),
        (b"\x81" + PLAIN[1:], "truncated"),
        (b"\x90" + PLAIN[1:] + b"\xbe\xde\x00", "truncated"),
        (b"\x90" + PLAIN[1:] + b"\xbe\xde\x00\x01\x00", "truncated"),
        (b"\xa0" + PLAIN[1:] + b"\x00", "zero"),
        (b"\xa0" + PLAIN[1:] + b"ab\x04", "truncated"),
        (b"\xa0" + PLAIN[1:], "truncated"),
    ],
)
def test_packet_shorter_than_its_header_says_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        payload_span(data)


def test_rtcp_is_told_from_rtp_as_aiortc_does() -> None:
    # RFC 5761 4: 192 to 223; aiortc knows 192 to 208, all that are assigned.
    for second in (*range(209), *range(224, 256)):
        data = bytes([0x80, second]) + bytes(10)
        assert is_rtcp(data) == aiortc_is_rtcp(data)


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_have_a_span_within_them_or_are_refused(data: bytes) -> None:
    try:
        start, end = payload_span(data)
    except ValueError:
        return
    assert HEADER_LENGTH <= start <= end <= len(data)


@settings(deadline=None)
@given(
    first=st.sampled_from([0x80, 0x90, 0xA0, 0x81, 0xB2]),
    rest=st.binary(min_size=12, max_size=60),
)
def test_payload_is_what_aiortc_reads(first: int, rest: bytes) -> None:
    data = bytes([first, 96]) + rest
    try:
        expected = RtpPacket.parse(data).payload
    except ValueError:
        return  # aiortc also checks each extension element
    assert payload_of(data) == expected


# ---- wrap-around -------------------------------------------------------------------------


def test_counter_grows_across_its_wrap() -> None:
    unwrapper = Unwrapper(16)
    first = unwrapper.unwrap(65_534)
    assert [unwrapper.unwrap(each) - first for each in (65_535, 0, 1)] == [1, 2, 3]


def test_what_was_sent_before_the_first_packet_stays_below_it() -> None:
    unwrapper = Unwrapper(16)
    first = unwrapper.unwrap(1)
    assert unwrapper.unwrap(65_535) == first - 2 > 0


def test_late_value_does_not_move_the_counter_back() -> None:
    unwrapper = Unwrapper(16)
    first = unwrapper.unwrap(10)
    assert [unwrapper.unwrap(each) - first for each in (20, 5, 21)] == [10, -5, 11]


@settings(deadline=None)
@given(st.integers(0, 1 << 40), st.lists(st.integers(-(1 << 30), 1 << 30), max_size=50))
def test_steps_of_less_than_half_the_range_are_followed_exactly(
    start: int, steps: list[int]
) -> None:
    unwrapper, value = Unwrapper(32), start
    origin = unwrapper.unwrap(value % (1 << 32)) - value
    highest = value
    for step in steps:
        value = highest + step
        assert unwrapper.unwrap(value % (1 << 32)) == value + origin
        highest = max(highest, value)


# ---- header extensions -------------------------------------------------------------------


def extended(profile: int, body: bytes, csrcs: int = 0) -> bytes:
    words = (len(body) + 3) // 4
    head = bytes([0x90 | csrcs]) + PLAIN[1:] + bytes(4 * csrcs)
    return (
        head + profile.to_bytes(2, "big") + words.to_bytes(2, "big") + body.ljust(4 * words, b"\0")
    )


@pytest.mark.parametrize("csrcs", [0, 2])
def test_extension_elements_are_found_in_both_forms(csrcs: int) -> None:
    one_byte = extended(0xBEDE, b"\x10a\0\x41mi", csrcs)
    two_bytes = extended(0x1005, b"\x01\x00\x00\x04\x02mi", csrcs)
    for data in (one_byte, two_bytes):
        assert extension(data + b"payload", 4) == b"mi"
        assert extension(data + b"payload", 5) is None
    assert (extension(one_byte, 1), extension(two_bytes, 1)) == (b"a", b"")


def test_what_holds_no_such_element_gives_none() -> None:
    assert extension(PLAIN, 4) is None
    assert extension(extended(0xBEDE, b"\xf0a\x41mi"), 4) is None, "RFC 8285 4.2: 15 ends it"
    assert extension(extended(0xBEDE, b"\x4fmi"), 4) is None, "longer than the extension"
    assert extension(extended(0xABAC, b"\x41mi"), 4) is None, "another profile"


@given(st.binary(max_size=60), st.integers(1, 255))
def test_random_extensions_raise_nothing(data: bytes, number: int) -> None:
    for packet in (
        data,
        b"\x90" + PLAIN[1:] + data,
        extended(0xBEDE, data),
        extended(0x1000, data),
    ):
        found = extension(packet, number)
        assert found is None or found in packet
