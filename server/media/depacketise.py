"""RTP payloads joined into encoded frames, without decoding.

VP8 (RFC 7741), VP9 (RFC 9628), H.264 (RFC 6184) and AV1 ("RTP Payload Format For AV1" 1.0).

A depacketiser is fed the payloads of one frame in order and then finished. It raises
`ValueError` on a payload that is not its codec's; the caller then drops the frame.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol

from server.core import av1, vp9
from server.core.frames import Codec

#: No camera frame of an interview comes near this; more is an attack on memory.
MAX_FRAME_LENGTH = 4 << 20


class Assembled(NamedTuple):
    """A whole frame, its payload as `EncodedFrame` wants it."""

    payload: bytes
    keyframe: bool
    temporal_id: int


class Depacketiser(Protocol):
    def add(self, payload: bytes) -> None: ...

    def finish(self) -> Assembled: ...

    def starts_keyframe(self, payload: bytes) -> bool:
        """Whether a keyframe begins in this payload; never raises."""
        ...


class Vp8Depacketiser:
    def __init__(self) -> None:
        self._frame = bytearray()
        self._temporal_id = 0

    def add(self, payload: bytes) -> None:
        start, begins, temporal_id = _vp8_descriptor(payload)
        if begins != (not self._frame):
            raise ValueError("VP8 frame does not begin with its first partition")
        if begins:
            self._temporal_id = temporal_id
        if len(self._frame) + len(payload) > MAX_FRAME_LENGTH:
            raise ValueError("VP8 frame is too long")
        self._frame += payload[start:]

    def finish(self) -> Assembled:
        payload, self._frame = bytes(self._frame), bytearray()
        if not payload:
            raise ValueError("VP8 frame is empty")
        # RFC 7741 4.3: the P bit is zero in a key frame.
        return Assembled(payload, not payload[0] & 1, self._temporal_id)

    def starts_keyframe(self, payload: bytes) -> bool:
        try:
            start, begins, _ = _vp8_descriptor(payload)
        except ValueError:
            return False
        return begins and not payload[start] & 1


def _vp8_descriptor(payload: bytes) -> tuple[int, bool, int]:
    """(length, whether the frame begins here, temporal layer), RFC 7741 4.2."""
    try:
        first = payload[0]
        length = 1
        # N: no frame needs this one; without a layer index it counts as above the base.
        temporal_id = first >> 5 & 1
        if first & 0x80:
            extensions = payload[1]
            length = 2
            if extensions & 0x80:  # I: picture id of 7 or 15 bits
                length += 2 if payload[length] & 0x80 else 1
            if extensions & 0x40:  # L
                length += 1
            if extensions & 0x30:  # T or K share an octet
                if extensions & 0x20:
                    temporal_id = payload[length] >> 6
                length += 1
    except IndexError as error:
        raise ValueError("VP8 payload descriptor is truncated") from error
    if len(payload) <= length:
        raise ValueError("VP8 payload is empty")
    return length, bool(first & 0x10) and not first & 0x07, temporal_id


class Vp9Depacketiser:
    """Flexible and non-flexible mode; the layer frames of a picture become a superframe."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._frames: list[bytearray] = []  # one for each spatial layer
        self._open = False  # the last of them has no end yet
        self._length = 0
        self._temporal_id = 0

    def add(self, payload: bytes) -> None:
        start, temporal_id, _ = _vp9_descriptor(payload)
        begins, ends = payload[0] & 0x08, payload[0] & 0x04
        if bool(begins) == self._open:
            raise ValueError("VP9 frame does not begin where the one before it ends")
        self._length += len(payload) - start
        if self._length > MAX_FRAME_LENGTH or len(self._frames) > vp9.MAX_SUPERFRAME_FRAMES:
            raise ValueError("VP9 picture is too long")
        if begins:
            self._frames.append(bytearray())
            self._temporal_id = temporal_id
        self._frames[-1] += payload[start:]
        self._open = not ends

    def finish(self) -> Assembled:
        layers, whole, temporal_id = self._frames, not self._open, self._temporal_id
        self._reset()
        if not layers or not whole:
            raise ValueError("VP9 picture is incomplete")
        payload = bytes(layers[0])
        if len(layers) > 1:
            # An encoder may have made a superframe of a layer already.
            payload = vp9.join_superframe(
                [frame for layer in layers for frame in vp9.split_superframe(bytes(layer))]
            )
        return Assembled(payload, vp9.begins_keyframe(payload[:1]), temporal_id)

    def starts_keyframe(self, payload: bytes) -> bool:
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


class H264Depacketiser:
    """Packetisation modes 0 and 1: single NAL units, STAP-A and FU-A."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._units = bytearray()  # each behind its length
        self._fragments: bytearray | None = None
        self._keyframe = False
        self._temporal_id = 1

    def add(self, payload: bytes) -> None:
        if len(payload) < 2:
            raise ValueError("H.264 payload is truncated")
        unit_type = payload[0] & 0x1F
        if self._fragments is not None and unit_type != _FU_A:
            raise ValueError("H.264 fragmentation unit has no end")
        if 1 <= unit_type <= 23:
            self._unit(payload)
        elif unit_type == _STAP_A:
            for unit in _aggregated(payload):
                self._unit(unit)
        elif unit_type == _FU_A:
            self._fragment(payload)
        else:
            raise ValueError(f"H.264 packet type {unit_type} is not of modes 0 and 1")

    def _fragment(self, payload: bytes) -> None:
        # RFC 6184 5.8: FU indicator, FU header (S, E, R, type), then the fragment.
        header = payload[1]
        if header & 0x80:
            if self._fragments is not None:
                raise ValueError("H.264 fragmentation unit begins twice")
            self._fragments = bytearray((payload[0] & 0xE0 | header & 0x1F,))
        if self._fragments is None:
            raise ValueError("H.264 fragmentation unit has no beginning")
        self._check_length(len(self._fragments) + len(payload))
        self._fragments += payload[2:]
        if header & 0x40:
            unit, self._fragments = self._fragments, None
            self._unit(unit)

    def _unit(self, unit: bytes | bytearray) -> None:
        self._check_length(len(unit))
        self._keyframe |= unit[0] & 0x1F == _IDR
        if unit[0] & 0x60:  # nal_ref_idc: other frames need this one
            self._temporal_id = 0
        self._units += _LENGTH.pack(len(unit))
        self._units += unit

    def _check_length(self, more: int) -> None:
        if len(self._units) + more > MAX_FRAME_LENGTH:
            raise ValueError("H.264 access unit is too long")

    def finish(self) -> Assembled:
        whole = bool(self._units) and self._fragments is None
        frame = Assembled(bytes(self._units), self._keyframe, self._temporal_id)
        self._reset()
        if not whole:
            raise ValueError("H.264 access unit is incomplete")
        return frame

    def starts_keyframe(self, payload: bytes) -> bool:
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


class Av1Depacketiser:
    """OBU elements joined and written with their sizes, as a recording stores them."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._units = bytearray()
        self._fragment: bytearray | None = None
        self._temporal_id = 0

    def add(self, payload: bytes) -> None:
        elements = _av1_elements(payload)
        continues, goes_on = payload[0] & 0x80, payload[0] & 0x40
        if bool(continues) != (self._fragment is not None):
            raise ValueError("AV1 fragment without its beginning or end")
        for element in elements[:-1]:
            self._element(element)
            self._unit()
        self._element(elements[-1])
        if not goes_on:
            self._unit()

    def _element(self, element: bytes) -> None:
        if self._fragment is None:
            self._fragment = bytearray()
        self._fragment += element
        if len(self._units) + len(self._fragment) > MAX_FRAME_LENGTH:
            raise ValueError("AV1 temporal unit is too long")

    def _unit(self) -> None:
        unit, self._fragment = bytes(self._fragment or b""), None
        sized = av1.sized(unit)
        kind = av1.obu_type(unit[0])
        if kind in av1.NOT_STORED:
            return
        if kind in (av1.OBU_FRAME, av1.OBU_FRAME_HEADER) and unit[0] & 0x04:
            self._temporal_id = unit[1] >> 5
        self._units += sized

    def finish(self) -> Assembled:
        payload, whole, temporal_id = bytes(self._units), self._fragment is None, self._temporal_id
        self._reset()
        if not payload or not whole:
            raise ValueError("AV1 temporal unit is incomplete")
        return Assembled(payload, av1.is_keyframe(payload), temporal_id)

    def starts_keyframe(self, payload: bytes) -> bool:
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


DEPACKETISERS: dict[Codec, Callable[[], Depacketiser]] = {
    Codec.VP8: Vp8Depacketiser,
    Codec.VP9: Vp9Depacketiser,
    Codec.H264: H264Depacketiser,
    Codec.AV1: Av1Depacketiser,
}
