"""What the payload of an RTP packet says of its picture's place among others, and how to change it.

VP8 (RFC 7741 4.2), VP9 (RFC 9628 4.2), AV1 ("RTP Payload Format For AV1" 4.4), H.264 (RFC 6184).
Read where an observer gets a part of a stream only: never on the way of a whole one.
"""

from collections.abc import Callable
from typing import NamedTuple

from server.core import av1
from server.core.frames import Codec


class Descriptor(NamedTuple):
    temporal_id: int
    #: Whether higher temporal layers may be let through from this picture on.
    switch: bool
    picture_id: int | None = None
    picture_id_bits: int = 15
    picture_id_at: int = 0
    tl0: int | None = None  #: TL0PICIDX, the number of the last picture of the base layer
    tl0_at: int = 0
    spatial_id: int = 0
    ends: bool = False  #: the picture's frame of this spatial layer; told by VP9 only


def read_vp8(payload: bytes) -> Descriptor | None:
    """None where it is truncated."""
    try:
        first, at = payload[0], 1
        temporal_id, switch = first >> 5 & 1, False
        picture_id, bits, picture_id_at, tl0, tl0_at = None, 15, 0, None, 0
        if first & 0x80:
            extensions, at = payload[1], 2
            if extensions & 0x80:  # I
                picture_id_at = at
                picture_id, bits, at = _picture_id(payload, at)
            if extensions & 0x40:  # L
                tl0, tl0_at, at = payload[at], at, at + 1
            if extensions & 0x20:  # T: two bits of layer, Y: it needs the base layer alone
                temporal_id, switch = payload[at] >> 6, bool(payload[at] & 0x20)
    except IndexError:
        return None
    return Descriptor(temporal_id, switch, picture_id, bits, picture_id_at, tl0, tl0_at)


def read_vp9(payload: bytes) -> Descriptor | None:
    """None where it is truncated."""
    try:
        first, at = payload[0], 1
        temporal_id, switch, spatial_id = 0, False, 0
        picture_id, bits, picture_id_at, tl0, tl0_at = None, 15, 0, None, 0
        if first & 0x80:  # I
            picture_id_at = at
            picture_id, bits, at = _picture_id(payload, at)
        if first & 0x20:  # L: three bits of layer, U: what follows needs none before it
            temporal_id, switch = payload[at] >> 5, bool(payload[at] & 0x10)
            spatial_id = payload[at] >> 1 & 7
            if not first & 0x10:  # F
                tl0, tl0_at = payload[at + 1], at + 1
    except IndexError:
        return None
    place = picture_id, bits, picture_id_at, tl0, tl0_at
    return Descriptor(temporal_id, switch, *place, spatial_id, bool(first & 0x04))


def _picture_id(payload: bytes, at: int) -> tuple[int, int, int]:
    """The picture id at `at`, its bits, and the place behind it."""
    if payload[at] & 0x80:  # M
        return (payload[at] & 0x7F) << 8 | payload[at + 1], 15, at + 2
    return payload[at], 7, at + 1


def read_h264(payload: bytes) -> Descriptor | None:
    """As H.264 itself tells: pictures that no other needs are above the base layer."""
    if not payload:
        return None
    # nal_ref_idc, which FU-A and STAP-A repeat in their first octet (RFC 6184 5.3).
    temporal_id = int(not payload[0] & 0x60)
    return Descriptor(temporal_id, switch=not temporal_id)


def read_av1(payload: bytes) -> Descriptor | None:
    """None where the packet goes on with an OBU of the one before (Z)."""
    if len(payload) < 3 or payload[0] & 0x80:
        return None
    at = 1
    if payload[0] >> 4 & 3 != 1:  # W: but for a single element, a length comes first
        try:
            _, at = av1.read_leb128(payload, at)
        except av1.Av1Error:
            return None
    header = payload[at : at + 2]
    if len(header) < 2:
        return None
    # AV1 5.3.3: temporal_id are the first three bits of the extension, if there is one.
    temporal_id = header[1] >> 5 if header[0] & 0x04 else 0
    # Browsers' layers need but the newest picture of the base layer and what follows it.
    return Descriptor(temporal_id, switch=not temporal_id)


READERS: dict[Codec, Callable[[bytes], Descriptor | None]] = {
    Codec.VP8: read_vp8,
    Codec.VP9: read_vp9,
    Codec.H264: read_h264,
    Codec.AV1: read_av1,
}


def write(payload: bytes, found: Descriptor, picture_id: int | None, tl0: int | None) -> bytes:
    """The payload with other numbers of picture and base layer, cut to the bits they have."""
    changed = bytearray(payload)
    if found.picture_id is not None and picture_id is not None:
        at = found.picture_id_at
        if changed[at] & 0x80:
            changed[at] = 0x80 | picture_id >> 8 & 0x7F
            changed[at + 1] = picture_id & 0xFF
        else:
            changed[at] = picture_id & 0x7F
    if found.tl0 is not None and tl0 is not None:
        changed[found.tl0_at] = tl0 & 0xFF
    return bytes(changed)
