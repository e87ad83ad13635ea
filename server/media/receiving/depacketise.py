"""RTP payloads joined into encoded frames, without decoding.

VP8 (RFC 7741), VP9 (RFC 9628), H.264 (RFC 6184) and AV1 ("RTP Payload Format For AV1" 1.0).

A depacketiser takes the payloads of one frame, at least one, in order. It raises `ValueError`
where one is not its codec's or the frame is not whole; the caller then drops the frame.
"""

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from server.core import av1, vp9
from server.core.frames import Codec

#: NAL units or OBUs in a frame: a picture has a handful, an attack millions.
MAX_UNITS = 1024


class Assembled(NamedTuple):
    """A whole frame, its payload as `EncodedFrame` wants it."""

    payload: bytes
    keyframe: bool
    temporal_id: int


class Depacketiser(NamedTuple):
    """What is known of a codec's payloads."""

    join: Callable[[Sequence[bytes]], Assembled]
    #: Whether a keyframe begins in a payload; never raises.
    starts_keyframe: Callable[[bytes], bool]


#: The length of VP8's descriptor by the bits I, L, T and K, of which the last two share an octet.
_VP8_EXTENDED = [2 + (bits >> 3) + (bits >> 2 & 1) + ((bits >> 1 | bits) & 1) for bits in range(16)]


def join_vp8(payloads: Sequence[bytes]) -> Assembled:
    start, begins, temporal_id = _vp8_descriptor(payloads[0])
    if not begins:
        raise ValueError("VP8 frame does not begin with its first partition")
    parts = [payloads[0][start:]]
    for payload in payloads[1:]:
        parts.append(payload[_vp8_start(payload) :])
        if payload[0] & 0x17 == 0x10:
            raise ValueError("VP8 frame begins twice")
    # RFC 7741 4.3: the P bit is zero in a key frame.
    return Assembled(b"".join(parts), not parts[0][0] & 1, temporal_id)


def starts_vp8_keyframe(payload: bytes) -> bool:
    try:
        start, begins, _ = _vp8_descriptor(payload)
    except ValueError:
        return False
    return begins and not payload[start] & 1


def _vp8_descriptor(payload: bytes) -> tuple[int, bool, int]:
    """(length, whether the frame begins here, temporal layer), RFC 7741 4.2."""
    length = _vp8_start(payload)
    first = payload[0]
    # N: no frame needs this one; without a layer index it counts as above the base.
    temporal_id = first >> 5 & 1
    if first & 0x80 and payload[1] & 0x20:  # T: the last octet, shared with K
        temporal_id = payload[length - 1] >> 6
    return length, bool(first & 0x10) and not first & 0x07, temporal_id


def _vp8_start(payload: bytes) -> int:
    """Where the descriptor ends (RFC 7741 4.2): within the payload."""
    try:
        if payload[0] & 0x80:  # X
            extensions = payload[1]
            length = _VP8_EXTENDED[extensions >> 4]
            if extensions & 0x80 and payload[2] & 0x80:  # I, M: a picture id of 15 bits
                length += 1
        else:
            length = 1
    except IndexError as error:
        raise ValueError("VP8 payload descriptor is truncated") from error
    if len(payload) <= length:
        raise ValueError("VP8 payload is empty")
    return length


def join_vp9(payloads: Sequence[bytes]) -> Assembled:
    """Flexible and non-flexible mode; the layer frames of a picture become a superframe."""
    layers: list[list[bytes]] = []  # the pieces of each spatial layer's frame
    is_open, temporal_id = False, 0  # the last of them has no end yet
    for payload in payloads:
        start, found, _ = _vp9_descriptor(payload)
        begins, ends = payload[0] & 0x08, payload[0] & 0x04
        if bool(begins) == is_open:
            raise ValueError("VP9 frame does not begin where the one before it ends")
        if begins:
            # Of spatial layers the lowest one's, by which pictures are left out.
            temporal_id = temporal_id if layers else found
            layers.append([])
            if len(layers) > vp9.MAX_SUPERFRAME_FRAMES:
                raise ValueError("VP9 picture has too many layers")
        layers[-1].append(payload[start:])
        is_open = not ends
    if is_open:
        raise ValueError("VP9 picture is incomplete")
    frames = [b"".join(pieces) for pieces in layers]
    picture = frames[0]
    if len(frames) > 1:
        # An encoder may have made a superframe of a layer already.
        split = [frame for each in frames for frame in vp9.split_superframe(each)]
        picture = vp9.join_superframe(split)
    return Assembled(picture, vp9.begins_keyframe(picture[:1]), temporal_id)


def starts_vp9_keyframe(payload: bytes) -> bool:
    try:
        start, _, spatial_id = _vp9_descriptor(payload)
    except ValueError:
        return False
    begins = bool(payload[0] & 0x08) and not spatial_id
    return begins and vp9.begins_keyframe(payload[start : start + 1])


def _vp9_descriptor(payload: bytes) -> tuple[int, int, int]:
    """(length, temporal layer, spatial layer), RFC 9628 4.2."""
    try:
        first = payload[0]
        length, temporal_id, spatial_id = 1, 0, 0
        if first & 0x80:  # I: picture id of 7 or 15 bits
            length += 2 if payload[length] & 0x80 else 1
        if first & 0x20:  # L: layers; in non-flexible mode (F=0) TL0PICIDX follows
            temporal_id, spatial_id = payload[length] >> 5, payload[length] >> 1 & 7
            length += 1 if first & 0x10 else 2
        if first & 0x50 == 0x50:  # P and F: up to three P_DIFF, N says that another follows
            references = 1
            while payload[length] & 1 and references < 3:
                length, references = length + 1, references + 1
            length += 1
        if first & 0x02:  # V
            length = _vp9_scalability_end(payload, length)
    except IndexError as error:
        raise ValueError("VP9 payload descriptor is truncated") from error
    if len(payload) <= length:
        raise ValueError("VP9 payload is empty")
    return length, temporal_id, spatial_id


def _vp9_scalability_end(payload: bytes, start: int) -> int:
    """Where the scalability structure at `start` ends (RFC 9628 4.2.1)."""
    head, at = payload[start], start + 1
    if head & 0x10:  # Y: width and height of each spatial layer
        at += 4 * ((head >> 5) + 1)
    if head & 0x08:  # G: a picture group, of each picture its references
        pictures, at = payload[at], at + 1
        for _ in range(pictures):
            at += 1 + (payload[at] >> 2 & 3)
    return at


_LENGTH = struct.Struct("!I")
_SIZE = struct.Struct("!H")
_IDR, _SPS, _STAP_A, _FU_A = 5, 7, 24, 28


def join_h264(payloads: Sequence[bytes]) -> Assembled:
    """Packetisation modes 0 and 1: single NAL units, STAP-A and FU-A; each behind its length."""
    units = _h264_units(payloads)
    # nal_ref_idc: other frames need this one.
    referenced = any(unit[0] & 0x60 for unit in units)
    parts = [part for unit in units for part in (_LENGTH.pack(len(unit)), unit)]
    keyframe = any(unit[0] & 0x1F == _IDR for unit in units)
    return Assembled(b"".join(parts), keyframe, 0 if referenced else 1)


def _h264_units(payloads: Sequence[bytes]) -> list[bytes]:
    units: list[bytes] = []
    pieces: list[bytes] = []  # of a fragmented unit without its end yet
    for payload in payloads:
        if len(payload) < 2:
            raise ValueError("H.264 payload is truncated")
        if payload[0] & 0x1F == _FU_A:
            # RFC 6184 5.8: FU indicator, FU header (S, E, R, type), then the fragment.
            header = payload[1]
            if header & 0x80:
                if pieces:
                    raise ValueError("H.264 fragmentation unit begins twice")
                pieces.append(bytes((payload[0] & 0xE0 | header & 0x1F,)))
            elif not pieces:
                raise ValueError("H.264 fragmentation unit does not begin")
            pieces.append(payload[2:])
            if header & 0x40:
                units.append(b"".join(pieces))
                pieces.clear()
        elif pieces:
            raise ValueError("H.264 fragmentation unit has no end")
        else:
            units += _whole_units(payload)
        if len(units) > MAX_UNITS:
            raise ValueError("H.264 access unit has too many NAL units")
    if pieces or not units:
        raise ValueError("H.264 access unit is incomplete")
    return units


def _whole_units(payload: bytes) -> list[bytes]:
    unit_type = payload[0] & 0x1F
    if 1 <= unit_type <= 23:
        return [payload]
    if unit_type == _STAP_A:
        return _aggregated(payload)
    raise ValueError(f"H.264 packet type {unit_type} is not of modes 0 and 1")


def starts_h264_keyframe(payload: bytes) -> bool:
    """Senders put a parameter set before each IDR picture, in the same access unit.

    An IDR slice does not count: the parameter sets or slices before it may be lost.
    """
    if len(payload) < 2:
        return False
    unit_type = payload[0] & 0x1F
    if unit_type != _STAP_A:
        return unit_type == _SPS
    try:
        return any(unit[0] & 0x1F == _SPS for unit in _aggregated(payload))
    except ValueError:
        return False


def _aggregated(payload: bytes) -> list[bytes]:
    """The NAL units of a STAP-A (RFC 6184 5.7.1)."""
    units = []
    pos = 1
    while pos < len(payload):
        if pos + 2 > len(payload):
            raise ValueError("H.264 aggregation packet is truncated")
        (size,) = _SIZE.unpack_from(payload, pos)
        unit = payload[pos + 2 : pos + 2 + size]
        if size == 0 or len(unit) < size:
            raise ValueError("H.264 aggregation packet is truncated")
        units.append(unit)
        pos += 2 + size
    return units


def join_av1(payloads: Sequence[bytes]) -> Assembled:
    """OBU elements joined and written with their sizes, as a recording stores them."""
    stored, temporal_id = [], 0
    for unit in _av1_units(payloads):
        sized = av1.sized(unit)
        kind = av1.obu_type(unit[0])
        if kind in av1.NOT_STORED:
            continue
        if kind in (av1.OBU_FRAME, av1.OBU_FRAME_HEADER) and unit[0] & 0x04:
            temporal_id = unit[1] >> 5
        stored.append(sized)
    if not stored:
        raise ValueError("AV1 temporal unit is empty")
    payload = b"".join(stored)
    return Assembled(payload, av1.is_keyframe(payload), temporal_id)


def _av1_units(payloads: Sequence[bytes]) -> list[bytes]:
    units: list[bytes] = []
    pieces: list[bytes] = []  # of an OBU without its end yet
    for payload in payloads:
        elements = _av1_elements(payload)
        continues, goes_on = payload[0] & 0x80, payload[0] & 0x40
        if bool(continues) != bool(pieces):
            raise ValueError("AV1 fragment without its beginning or end")
        pieces.append(elements[0])
        for element in elements[1:]:
            units.append(b"".join(pieces))
            pieces = [element]
        if not goes_on:
            units.append(b"".join(pieces))
            pieces = []
        if len(units) > MAX_UNITS:
            raise ValueError("AV1 temporal unit has too many OBUs")
    if pieces:
        raise ValueError("AV1 temporal unit is incomplete")
    return units


def starts_av1_keyframe(payload: bytes) -> bool:
    # AV1 RTP 4.4: N is set in the first packet of a coded video sequence, and Z is not.
    return len(payload) > 1 and payload[0] & 0x88 == 0x08


def _av1_elements(payload: bytes) -> list[bytes]:
    """The OBU elements behind the aggregation header (AV1 RTP 4.3, 4.4); at least one."""
    if len(payload) < 2:
        raise ValueError("AV1 payload is empty")
    elements: list[bytes] = []
    count, at = payload[0] >> 4 & 3, 1
    while at < len(payload):
        if count and len(elements) == count - 1:  # W: the last one has no length
            elements.append(payload[at:])
            return elements
        length, at = av1.read_leb128(payload, at)
        if length > len(payload) - at:
            raise ValueError("AV1 OBU element is truncated")
        elements.append(payload[at : at + length])
        at += length
    if count:
        raise ValueError("AV1 payload has fewer OBU elements than it says")
    return elements


DEPACKETISERS = {
    Codec.VP8: Depacketiser(join_vp8, starts_vp8_keyframe),
    Codec.VP9: Depacketiser(join_vp9, starts_vp9_keyframe),
    Codec.H264: Depacketiser(join_h264, starts_h264_keyframe),
    Codec.AV1: Depacketiser(join_av1, starts_av1_keyframe),
}
