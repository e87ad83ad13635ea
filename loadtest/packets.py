"""Encoded frames cut into RTP payloads once, with room for the stamp of each sending.

H.264 by RFC 6184 (STAP-A, single NAL unit and FU-A; packetization-mode 1), VP8 by RFC 7741,
VP9 by RFC 9628 (flexible mode), AV1 by its RTP payload format 1.0, Opus by RFC 7587. The numbers
of the stamp, and the payload descriptors of VP8 and VP9 with their picture id, differ at each
sending: `Packet.payload` fills them in.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from loadtest.media import TEMPORAL_IDS, Clip
from loadtest.stamp import MAGIC, NUMBERS_SIZE
from server.core import av1

#: Bytes of RTP payload: with headers, SRTP tag and UDP/IP below 1280, as browsers keep it.
MAX_PAYLOAD = 1150

_NAL_TYPE = 0x1F
_NAL_REF_IDC = 0x60
_IDR, _SEI, _SPS, _PPS, _STAP_A, _FU_A = 5, 6, 7, 8, 24, 28
_SEI_USER_DATA_UNREGISTERED = 5
_BLANK = bytes([0x80]) * NUMBERS_SIZE
#: RFC 7741 4.2: TID and the Y bit, which the first frames of the upper layers have: after a
#: frame of the base layer they need no other.
_LAYERS = tuple(
    temporal_id << 6 | sync << 5
    for temporal_id, sync in zip(TEMPORAL_IDS, (0, 1, 1, 0), strict=True)
)
_TOP_LAYER = max(_LAYERS) & 0xC0


#: VP9 Annex B: the marker of an index of one frame whose size has four bytes.
_SUPERFRAME_OF_ONE = 0b110_11_000
#: AV1 6.7.1: metadata_type of "unregistered user private" data.
_METADATA_PRIVATE = 31
_DELIMITER_BYTES = 2  # AV1 7.5: a temporal unit begins with one, OBU header and size 0
_LENGTH_BYTES = 2  # of a leb128 up to MAX_PAYLOAD


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP payload in two halves, between which the stamp's numbers go if it has any."""

    head: bytes
    tail: bytes = b""
    stamped: bool = False
    start: bool = False  #: first packet of its frame
    marker: bool = False  #: last packet of its frame
    layer: int = 0  #: VP8: temporal layer and Y bit, as in the payload descriptor
    vp9: bytes = b""  #: VP9: what follows the picture id in the payload descriptor

    def payload(self, descriptor: bytes, numbers: bytes) -> bytes:
        if self.stamped:
            return descriptor + self.head + numbers + self.tail
        return descriptor + self.head


Frame = tuple[Packet, ...]


@dataclass(frozen=True, slots=True)
class PacketisedClip:
    """A clip ready to send; shared by all candidates of its codec."""

    clip: Clip
    video: tuple[Frame, ...]
    audio: tuple[Frame, ...]  #: empty: nothing is sent
    screen: "PacketisedClip | None" = None  #: shared beside it
    #: The video again at lower bitrates, for candidates who adapt theirs; empty: they do not.
    lower: tuple[tuple[Frame, ...], ...] = ()
    #: The video again in smaller pictures, sent beside it as a simulcast; empty: there is none.
    layers: tuple[tuple[Frame, ...], ...] = ()


def packetise(
    clip: Clip,
    screen: Clip | None = None,
    lower: Sequence[Clip] = (),
    layers: Sequence[Clip] = (),
) -> PacketisedClip:
    assert all(each.keyframes == clip.keyframes for each in (*lower, *layers))
    audio = (packetise_opus(packet) if packet else () for packet in clip.audio)
    shared = packetise(screen) if screen is not None else None
    levels = tuple(_video(each) for each in lower)
    smaller = tuple(_video(each) for each in layers)
    return PacketisedClip(clip, _video(clip), tuple(audio), shared, levels, smaller)


def _video(clip: Clip) -> tuple[Frame, ...]:
    match clip.codec:
        case "h264":
            return tuple(map(packetise_h264, clip.video))
        case "vp8":
            return tuple(map(packetise_vp8, clip.video, cycle(_LAYERS)))
        case "vp9":
            return tuple(map(packetise_vp9, clip.video, _since_keyframe(clip)))
        case "av1":
            return tuple(map(packetise_av1, clip.video))


def packetise_vp8(frame: bytes, layer: int = 0) -> Frame:
    """The descriptor is left out: `vp8_descriptor` makes it for each sending."""
    parts = _even_parts(frame + MAGIC + _BLANK)
    return _frame(parts, layer)


def vp8_descriptor(packet: Packet, picture_id: int, base_frames: int) -> bytes:
    """RFC 7741 4.2: X, N and S; I, L and T; a 15-bit picture id; TL0PICIDX; the layer."""
    non_reference = packet.layer & 0xC0 == _TOP_LAYER
    first = 0x80 | non_reference << 5 | packet.start << 4
    picture_id &= 0x7FFF
    return bytes(
        (first, 0xE0, 0x80 | picture_id >> 8, picture_id & 0xFF, base_frames & 0xFF, packet.layer)
    )


def packetise_vp9(frame: bytes, since_keyframe: int) -> Frame:
    """`since_keyframe`: frames sent since the last one. `vp9_descriptor` tells the rest."""
    size = len(frame).to_bytes(4, "little")
    index = bytes((_SUPERFRAME_OF_ONE,)) + size + bytes((_SUPERFRAME_OF_ONE,))
    description = _vp9_layer(since_keyframe)
    parts = _even_parts(frame + MAGIC + _BLANK + index)
    return tuple(replace(packet, vp9=description) for packet in _frame(parts))


def _vp9_layer(since_keyframe: int) -> bytes:
    """RFC 9628 4.2: TID, U, SID, D; of an interframe P_DIFF of each frame it may need.

    What libvpx's pattern refers to: the last frame of the base layer and that of the next one,
    either of which is the keyframe at first.
    """
    temporal_id = TEMPORAL_IDS[since_keyframe % len(TEMPORAL_IDS)]
    layer = bytes((temporal_id << 5,))
    if not since_keyframe:
        return layer
    at = since_keyframe % 4
    base = at or 4
    middle = {0: base, 1: 3, 2: 4, 3: 1}[at]
    diffs = sorted({base, min(middle, since_keyframe)})
    more = [1] * (len(diffs) - 1) + [0]
    return layer + bytes(diff << 1 | more for diff, more in zip(diffs, more, strict=True))


def _since_keyframe(clip: Clip) -> Iterator[int]:
    keyframes = frozenset(clip.keyframes)
    since = 0
    for index in range(len(clip.video)):
        since = 0 if index in keyframes else since + 1
        yield since


def vp9_descriptor(packet: Packet, picture_id: int, base_frames: int) -> bytes:
    """RFC 9628 4.2: I, P where a frame is referred to, L, F, B, E; a 15-bit picture id."""
    interframe = len(packet.vp9) > 1
    first = 0xB0 | interframe << 6 | packet.start << 3 | packet.marker << 2
    picture_id &= 0x7FFF
    return bytes((first, 0x80 | picture_id >> 8, picture_id & 0xFF)) + packet.vp9


def no_descriptor(packet: Packet, picture_id: int, base_frames: int) -> bytes:
    """Of a codec whose payloads are the same at each sending."""
    return b""


#: What goes before a packet's payload: of the packet, the frame's number, the number of frames
#: of the base layer before it.
Describe = Callable[[Packet, int, int], bytes]
DESCRIPTORS: dict[str, Describe] = {"vp8": vp8_descriptor, "vp9": vp9_descriptor}


def packetise_av1(temporal_unit: bytes) -> Frame:
    """OBUs without sizes (AV1 RTP 4.5), a stamp in a metadata OBU before the first frame."""
    units = list(_av1_elements(temporal_unit))
    begins = av1.is_keyframe(temporal_unit[_DELIMITER_BYTES:])
    payloads = _aggregate_av1(units, 0x08 if begins else 0)  # N
    return _frame(payloads)


def _av1_elements(temporal_unit: bytes) -> Iterator[bytes]:
    stamped = False
    for unit in av1.obus(temporal_unit):
        if unit.type == av1.OBU_TEMPORAL_DELIMITER:
            continue
        if unit.type in (av1.OBU_FRAME, av1.OBU_FRAME_HEADER) and not stamped:
            stamped = True
            yield bytes((av1.OBU_METADATA << 3, _METADATA_PRIVATE)) + MAGIC + _BLANK + b"\x80"
        yield bytes((unit.type << 3,)) + unit.payload


def _aggregate_av1(elements: list[bytes], flags: int) -> list[bytes]:
    """As many OBU elements to a packet as fit, each behind its length (W = 0).

    `flags`: of the first aggregation header; Z and Y are added here (AV1 RTP 4.4).
    """
    payloads, header, body = [], flags, b""
    for element in elements:
        rest = element
        while rest:
            room = MAX_PAYLOAD - 1 - len(body) - _LENGTH_BYTES
            if room > 0:
                part, rest = rest[:room], rest[room:]
                body += av1.write_leb128(len(part)) + part
            if rest:
                fragmented = len(rest) < len(element)
                payloads.append(bytes((header | fragmented << 6,)) + body)
                header, body = fragmented << 7, b""
    return [*payloads, bytes((header,)) + body]


def packetise_opus(packet: bytes) -> Frame:
    """RFC 6716 3.2.5: a packet of one frame becomes code 3 with the stamp as its padding."""
    toc = packet[0]
    if toc & 3:
        raise ValueError("only Opus packets of one frame can be stamped")
    padding = MAGIC + _BLANK
    # Frame count byte: padding flag and one frame; then the padding's length in one byte.
    return _frame([bytes((toc | 3, 0x41, len(padding))) + packet[1:] + padding])


def packetise_h264(access_unit: bytes) -> Frame:
    """The access unit, given in Annex B form, with a stamp SEI before its first slice."""
    units = [nal for nal in split_annex_b(access_unit) if nal[0] & _NAL_TYPE != _SEI]
    slices = [nal for nal in units if nal[0] & _NAL_TYPE <= _IDR]
    leading = [nal for nal in units if nal[0] & _NAL_TYPE in (_SPS, _PPS)] + [_stamp_sei()]
    if len(slices) == 1 and _aggregate_size(leading + slices) <= MAX_PAYLOAD:
        return _frame([_aggregate(leading + slices)])
    payloads = [_aggregate(leading)]
    for nal in slices:
        payloads += [nal] if len(nal) <= MAX_PAYLOAD else _fragment(nal)
    return _frame(payloads)


def starts_frame(codec: str, payload: bytes) -> bool:
    """Whether a received payload (of ours, not empty) is the first of its frame."""
    if codec == "vp8":
        return payload[0] & 0x17 == 0x10  # RFC 7741 4.2: S set, partition 0
    if codec == "vp9":
        return payload[0] & 0x08 != 0  # RFC 9628 4.2: B, and there is one spatial layer
    return codec == "opus" or MAGIC in payload


def starts_keyframe(codec: str, payload: bytes) -> bool:
    """Whether a received payload (of ours, not empty) is the first of a keyframe."""
    if codec == "vp8":
        # RFC 7741 4.3: after our six bytes of descriptor, P = 0 means a key frame.
        return len(payload) > 6 and starts_frame(codec, payload) and payload[6] & 1 == 0
    if codec == "vp9":
        return payload[0] & 0x48 == 0x08  # RFC 9628 4.2: B without P
    if codec == "av1":
        return payload[0] & 0x88 == 0x08  # AV1 RTP 4.4: N without Z
    aggregate = len(payload) > 3 and payload[0] & _NAL_TYPE == _STAP_A
    return aggregate and payload[3] & _NAL_TYPE == _SPS


def split_annex_b(data: bytes) -> list[bytes]:
    """The NAL units between start codes (ITU-T H.264 B.1); none ends in a zero byte."""
    units = (part.rstrip(b"\0") for part in data.split(b"\0\0\1"))
    return [unit for unit in units if unit]


def _stamp_sei() -> bytes:
    body = MAGIC + _BLANK
    return bytes((_SEI, _SEI_USER_DATA_UNREGISTERED, len(body))) + body + b"\x80"


def _aggregate_size(nals: list[bytes]) -> int:
    return 1 + sum(2 + len(nal) for nal in nals)


def _aggregate(nals: list[bytes]) -> bytes:
    """RFC 6184 5.7.1: a STAP-A, or the unit itself where there is just one."""
    if len(nals) == 1:
        return nals[0]
    importance = max(nal[0] & _NAL_REF_IDC for nal in nals)
    return bytes([_STAP_A | importance]) + b"".join(
        len(nal).to_bytes(2, "big") + nal for nal in nals
    )


def _fragment(nal: bytes) -> list[bytes]:
    """RFC 6184 5.8: FU-A; the unit's own header byte is spread over indicator and header."""
    indicator = nal[0] & _NAL_REF_IDC | _FU_A
    parts = _even_parts(nal[1:], MAX_PAYLOAD - 2)
    last = len(parts) - 1
    return [
        bytes((indicator, (index == 0) << 7 | (index == last) << 6 | nal[0] & _NAL_TYPE)) + part
        for index, part in enumerate(parts)
    ]


def _even_parts(data: bytes, limit: int = MAX_PAYLOAD) -> list[bytes]:
    """Parts of nearly equal size, so that none is tiny (and a stamp at the end stays whole)."""
    count = -(-len(data) // limit)
    size = -(-len(data) // count)
    return [data[at : at + size] for at in range(0, len(data), size)]


def _frame(payloads: list[bytes], layer: int = 0) -> Frame:
    return tuple(_packets(payloads, layer))


def _packets(payloads: list[bytes], layer: int) -> Iterator[Packet]:
    for index, payload in enumerate(payloads):
        start, marker = index == 0, index == len(payloads) - 1
        at = payload.find(MAGIC) + len(MAGIC)
        if at < len(MAGIC):
            yield Packet(payload, b"", False, start, marker, layer)
        else:
            yield Packet(payload[:at], payload[at + NUMBERS_SIZE :], True, start, marker, layer)
