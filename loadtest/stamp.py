"""The mark in every frame that says which frame it is and when it was sent.

It travels inside the encoded payload, where passthrough forwarding and recording keep it and a
decoder ignores it: an H.264 SEI message of unregistered user data (ITU-T H.264 D.2.7), bytes
after the last VP8 partition (RFC 6386 9.5: a decoder reads only what it needs), bytes between
a VP9 frame and the superframe index that tells its length (VP9 Annex B), an AV1 metadata OBU of
a private type (AV1 6.7.1), Opus padding (RFC 6716 3.2.5). Every byte after the magic has its top
bit set, so that no start code or emulation prevention byte can arise in H.264.
"""

from dataclasses import dataclass

#: Also the uuid_iso_iec_11578 of the SEI message.
MAGIC = bytes.fromhex("d6b9f2a7c4e8f1a3b5d7e9fbacbed0f4")
_SOURCE_BYTES = 5  # 35 bits hold the source's 32 and the layer above them
_FRAME_BYTES = 5
_TIME_BYTES = 8  # 56 bits of microseconds reach the year 4253
NUMBERS_SIZE = _SOURCE_BYTES + _FRAME_BYTES + _TIME_BYTES
STAMP_SIZE = len(MAGIC) + NUMBERS_SIZE


@dataclass(frozen=True, slots=True)
class Stamp:
    source: int  #: which track of which candidate, 32 bits
    frame: int  #: counts up by one for every frame that the track sends
    sent_s: float  #: Unix seconds at which the packet that holds the stamp was sent
    layer: int = 0  #: of a simulcast: 0 the largest picture


def _pack7(value: int, size: int) -> bytes:
    # Spread 7 bits to a byte: each shift leaves bit 7 of every byte free for the mark.
    return bytes([0x80 | (value >> shift) & 0x7F for shift in range(7 * (size - 1), -1, -7)])


def _unpack7(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value


def pack_source(source: int, layer: int = 0) -> bytes:
    """The part of the numbers that stays the same for a whole stream; `layer`: below 8."""
    return _pack7(layer << 32 | source, _SOURCE_BYTES)


def pack_numbers(packed_source: bytes, frame: int, sent_s: float) -> bytes:
    """What follows the magic: `NUMBERS_SIZE` bytes."""
    return packed_source + _pack7(frame << 56 | int(sent_s * 1e6), _FRAME_BYTES + _TIME_BYTES)


def find_stamp(payload: bytes) -> Stamp | None:
    """The stamp in an RTP payload or an encoded frame; None when there is no whole one."""
    at = payload.find(MAGIC)
    numbers = payload[at + len(MAGIC) : at + STAMP_SIZE]
    if at < 0 or len(numbers) < NUMBERS_SIZE:
        return None
    source = _unpack7(numbers[:_SOURCE_BYTES])
    rest = _unpack7(numbers[_SOURCE_BYTES:])
    sent_s = (rest & (1 << 56) - 1) / 1e6
    return Stamp(source & 0xFFFFFFFF, rest >> 56, sent_s, source >> 32)
