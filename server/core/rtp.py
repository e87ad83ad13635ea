"""RTP packets as bytes: header fields by `struct`, rewritten, never parsed (RFC 3550 5.1)."""

import struct

HEADER_LENGTH = 12
_HEADER = struct.Struct("!BBHII")
_EXTENSION = struct.Struct("!HH")
_HEADER_WITH_NUMBER = struct.Struct("!BBHIIHHBHx")
#: RFC 8285 4.2 and 4.3; the latter without its four application bits.
_ONE_BYTE_HEADERS = 0xBEDE
_TWO_BYTE_HEADERS = 0x100

#: (first byte, marker and payload type, sequence number, timestamp, SSRC)
unpack_header = _HEADER.unpack_from
pack_header = _HEADER.pack
#: The same, followed by one extension element of 16 bits: (..., *ONE_ELEMENT, 16 times its
#: number plus 1, its value); the first byte has EXTENDED set.
pack_header_with_number = _HEADER_WITH_NUMBER.pack
EXTENDED = 0x10
ONE_ELEMENT = (0xBEDE, 1)  # RFC 8285 4.2, and the length in words

#: Of the second octet, RFC 5761 4: payload types 64-95 with the marker bit are RTCP.
RTCP_TYPES = range(192, 224)


class PacketError(ValueError):
    """A packet, or what it carries, is not whole."""


def is_rtcp(data: bytes) -> bool:
    """Whether a multiplexed packet is RTCP; needs at least two bytes (RFC 5761 4)."""
    return data[1] in RTCP_TYPES


def payload_of(data: bytes) -> bytes:
    """What is between header, CSRCs and extension, and padding. Errors as of `payload_span`."""
    if data[0] == 0x90 and len(data) >= 16:  # nearly always: an extension, and no more than that
        start = 16 + 4 * (data[14] << 8 | data[15])
        if start <= len(data):
            return data[start:]
    start, end = payload_span(data)
    return data[start:end]


def payload_span(data: bytes) -> tuple[int, int]:
    """Where the payload starts and ends, past CSRCs and extension, before padding.

    Raises `PacketError` when the packet is shorter than its own header says.
    """
    size = len(data)
    if size < HEADER_LENGTH:
        raise PacketError("RTP packet shorter than its fixed header")
    first = data[0]
    if first == 0x80:  # the usual packet: version 2, no padding, extension or CSRC
        return HEADER_LENGTH, size
    if first >> 6 != 2:
        raise PacketError("RTP version is not 2")
    start = HEADER_LENGTH + 4 * (first & 0x0F)
    if first & 0x10:
        if size < start + 4:
            raise PacketError("RTP header extension is truncated")
        start += 4 + 4 * _EXTENSION.unpack_from(data, start)[1]
    end = size
    if first & 0x20:
        end -= data[-1]
        if data[-1] == 0:
            raise PacketError("RTP padding of length zero")
    if start > end:
        raise PacketError("RTP payload is truncated")
    return start, end


def extension(data: bytes, number: int) -> bytes | None:
    """The header extension element `number` (RFC 8285 4), or None; never raises."""
    span = extension_span(data, number)
    return data[span[0] : span[1]] if span is not None else None


def extension_span(data: bytes, number: int) -> tuple[int, int] | None:
    """Where the header extension element `number` starts and ends, or None; never raises."""
    if len(data) < HEADER_LENGTH or not data[0] & 0x10:
        return None
    start = HEADER_LENGTH + 4 * (data[0] & 0x0F)
    if len(data) < start + 4:
        return None
    profile, words = _EXTENSION.unpack_from(data, start)
    end = min(start + 4 + 4 * words, len(data))
    if profile == _ONE_BYTE_HEADERS:
        return _element(data, start + 4, end, number, one_byte=True)
    if profile >> 4 == _TWO_BYTE_HEADERS:
        return _element(data, start + 4, end, number, one_byte=False)
    return None


def _element(
    data: bytes, at: int, end: int, wanted: int, *, one_byte: bool
) -> tuple[int, int] | None:
    while at + 1 < end:
        if data[at] == 0:  # padding
            at += 1
            continue
        if one_byte:
            number, length, start = data[at] >> 4, 1 + (data[at] & 0x0F), at + 1
            if number == 15:  # RFC 8285 4.2: what follows is not to be read
                return None
        else:
            number, length, start = data[at], data[at + 1], at + 2
        at = start + length
        if number == wanted:
            return (start, at) if at <= end else None
    return None


class Unwrapper:
    """Extends a wrapping counter of `bits` to one that never wraps, near the last value seen."""

    __slots__ = ("_half", "_last", "_size")

    def __init__(self, bits: int) -> None:
        self._size = 1 << bits
        self._half = self._size >> 1
        self._last: int | None = None

    def unwrap(self, value: int) -> int:
        last = self._last
        if last is None:
            # One turn up, so that what was sent just before the first packet stays positive.
            self._last = value + self._size
            return self._last
        delta = (value - last) % self._size
        if delta >= self._half:
            return last + delta - self._size
        self._last = last + delta
        return self._last
