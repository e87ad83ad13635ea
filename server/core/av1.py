"""AV1 open bitstream units and sequence headers (AV1 Bitstream & Decoding Process Specification).

Temporal units are in the low-overhead format (5.2): each OBU carries its size. As in samples of
the "AV1 Codec ISO Media File Format Binding" they have no temporal delimiters and no padding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from server.core.bits import Bits

OBU_SEQUENCE_HEADER = 1
OBU_TEMPORAL_DELIMITER = 2
OBU_FRAME_HEADER = 3
OBU_METADATA = 5
OBU_FRAME = 6
OBU_REDUNDANT_FRAME_HEADER = 7
OBU_TILE_LIST = 8
OBU_PADDING = 15
#: What a stored temporal unit does without (AV1-ISOBMFF 2.4); tile lists are not sent by RTP.
NOT_STORED = frozenset(
    {OBU_TEMPORAL_DELIMITER, OBU_REDUNDANT_FRAME_HEADER, OBU_TILE_LIST, OBU_PADDING}
)

#: 5.3.3: spatial_id has two bits.
SPATIAL_LAYERS = 4
#: 4.10.5: a leb128 has at most eight bytes and a value below 2**32.
_LEB128_BYTES = 8
_LEB128_LIMIT = 1 << 32
#: 32 operating points of 89 bits and all else: what is longer is not read.
_SEQUENCE_HEADER_BYTES = 512
_SELECT_SCREEN_CONTENT_TOOLS = 2
_BT_709, _SRGB, _IDENTITY = 1, 13, 0


class Av1Error(ValueError):
    """The bytes are not what AV1 allows here; the sender is at fault."""


class Obu(NamedTuple):
    """An open bitstream unit without header and size; without extension its layers are 0."""

    type: int
    temporal_id: int
    payload: bytes
    spatial_id: int = 0


@dataclass(frozen=True, slots=True)
class SequenceHeader:
    """What a recording has to know of a sequence header; sizes in pixels."""

    profile: int
    level_idx: int
    tier: int
    bit_depth: int
    monochrome: bool
    subsampling_x: int
    subsampling_y: int
    chroma_sample_position: int
    width: int
    height: int


def read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` (4.10.5) and the place behind it; Av1Error if there is none."""
    value = 0
    for index, byte in enumerate(data[at : at + _LEB128_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            if value >= _LEB128_LIMIT:
                break
            return value, at + index + 1
    raise Av1Error("size without an end")


def write_leb128(value: int) -> bytes:
    """The inverse of :func:`read_leb128`, in as few bytes as it takes."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def obu_type(header: int) -> int:
    """obu_type of an OBU's first byte (5.3.2)."""
    return header >> 3 & 0xF


def sized(obu: bytes) -> bytes:
    """An OBU as RTP or a temporal unit carries it, written with its size (5.3.1).

    Av1Error if it ends early, or if it has a size that is not its own.
    """
    at = _header_bytes(obu, 0)
    if obu[0] & 0x02:  # obu_has_size_field
        size, start = read_leb128(obu, at)
        if size != len(obu) - start:
            raise Av1Error(f"OBU of {size} bytes in {len(obu) - start}")
        return obu
    size = len(obu) - at
    return bytes([obu[0] | 0x02]) + obu[1:at] + write_leb128(size) + obu[at:]


def obus(temporal_unit: bytes) -> Iterator[Obu]:
    """Yield the OBUs of a temporal unit (5.2); Av1Error if it does not add up."""
    at = 0
    while at < len(temporal_unit):
        header = temporal_unit[at]
        start = _header_bytes(temporal_unit, at)
        if not header & 0x02:
            raise Av1Error("OBU without a size")
        layers = temporal_unit[at + 1] if header & 0x04 else 0  # 5.3.3
        size, start = read_leb128(temporal_unit, start)
        at = start + size
        if at > len(temporal_unit):
            raise Av1Error(f"OBU of {size} bytes in {len(temporal_unit) - start}")
        yield Obu(obu_type(header), layers >> 5, temporal_unit[start:at], layers >> 3 & 3)


def _header_bytes(data: bytes, at: int) -> int:
    """Where the header at ``at`` ends (5.3.2, 5.3.3)."""
    end = at + 1
    if at < len(data):
        if data[at] & 0x80:
            raise Av1Error("forbidden bit of an OBU is set")
        end += bool(data[at] & 0x04)
    if end > len(data):
        raise Av1Error("OBU ends within its header")
    return end


def is_keyframe(temporal_unit: bytes) -> bool:
    """Whether a coded video sequence begins here (7.5): the place to cut and to seek.

    Av1Error if the temporal unit does not add up.
    """
    units = obus(temporal_unit)
    first = next(units, None)
    # 7.5: sequence headers come before all but the temporal delimiter.
    if first is None or first.type != OBU_SEQUENCE_HEADER:
        return False
    frame = next((unit for unit in units if unit.type in (OBU_FRAME, OBU_FRAME_HEADER)), None)
    # 5.9.2: show_existing_frame 0, frame_type 0 (KEY_FRAME), show_frame 1.
    return frame is not None and frame.payload[:1] != b"" and frame.payload[0] >> 4 == 0b0001


def sequence_header(temporal_unit: bytes) -> bytes | None:
    """The payload of the sequence header that it begins with, if it does; or Av1Error."""
    first = next(obus(temporal_unit), None)
    return first.payload if first is not None and first.type == OBU_SEQUENCE_HEADER else None


def parse_sequence_header(payload: bytes) -> SequenceHeader:
    """Parse a sequence_header_obu() (5.5.1), without header and size; Av1Error if it is none."""
    bits = Bits(payload[:_SEQUENCE_HEADER_BYTES], Av1Error)
    profile = bits.u(3)
    if profile > 2:
        raise Av1Error(f"reserved profile {profile}")
    bits.u(1)  # still_picture
    reduced = bits.u(1)
    level_idx, tier = (bits.u(5), 0) if reduced else _read_operating_points(bits)
    width, height = _read_size(bits)
    if not reduced and bits.u(1):  # frame_id_numbers_present_flag
        bits.u(4 + 3)
    bits.u(3)  # superblock size, two tools
    if not reduced:
        _skip_tools(bits)
    bits.u(3)  # superres, cdef, restoration
    return SequenceHeader(profile, level_idx, tier, *_read_colour(bits, profile), width, height)


def configuration(sequence_header: bytes) -> bytes:
    """AV1CodecConfigurationRecord (AV1-ISOBMFF 2.3) from a sequence header OBU's payload."""
    parsed = parse_sequence_header(sequence_header)
    head = bytes(
        [
            0x81,  # marker, version 1
            parsed.profile << 5 | parsed.level_idx,
            parsed.tier << 7
            | (parsed.bit_depth > 8) << 6
            | (parsed.bit_depth == 12) << 5
            | parsed.monochrome << 4
            | parsed.subsampling_x << 3
            | parsed.subsampling_y << 2
            | parsed.chroma_sample_position,
            0,  # no initial_presentation_delay
        ]
    )
    size = write_leb128(len(sequence_header))
    return head + bytes([OBU_SEQUENCE_HEADER << 3 | 0x02]) + size + sequence_header


def _read_operating_points(bits: Bits) -> tuple[int, int]:
    """seq_level_idx and seq_tier of the first operating point, that of all layers."""
    buffer_delay_bits = 0
    if bits.u(1):  # timing_info_present_flag
        bits.u(32 + 32)  # num_units_in_display_tick, time_scale
        if bits.u(1):  # equal_picture_interval
            bits.ue()  # num_ticks_per_picture_minus_1
        if bits.u(1):  # decoder_model_info_present_flag
            buffer_delay_bits = bits.u(5) + 1
            bits.u(32 + 5 + 5)
    with_display_delay = bits.u(1)
    first = None
    for _ in range(bits.u(5) + 1):
        bits.u(12)  # operating_point_idc
        level_idx = bits.u(5)
        tier = bits.u(1) if level_idx > 7 else 0
        if buffer_delay_bits and bits.u(1):  # decoder_model_present_for_this_op
            bits.u(2 * buffer_delay_bits + 1)
        if with_display_delay and bits.u(1):
            bits.u(4)
        first = first or (level_idx, tier)
    assert first is not None
    return first


def _read_size(bits: Bits) -> tuple[int, int]:
    width_bits, height_bits = bits.u(4) + 1, bits.u(4) + 1
    return bits.u(width_bits) + 1, bits.u(height_bits) + 1


def _skip_tools(bits: Bits) -> None:
    bits.u(4)  # interintra and masked compound, warped motion, dual filter
    order_hint = bits.u(1)
    if order_hint:
        bits.u(2)  # jnt_comp, ref_frame_mvs
    chosen_by_frame = bits.u(1)  # seq_choose_screen_content_tools
    screen_content = _SELECT_SCREEN_CONTENT_TOOLS if chosen_by_frame else bits.u(1)
    if screen_content and not bits.u(1):  # seq_choose_integer_mv
        bits.u(1)
    if order_hint:
        bits.u(3)  # order_hint_bits_minus_1


def _read_colour(bits: Bits, profile: int) -> tuple[int, bool, int, int, int]:
    """color_config() (5.5.2): depth, monochrome, subsampling of x and y, chroma's place."""
    depth = 10 if bits.u(1) else 8
    if profile == 2 and depth == 10 and bits.u(1):
        depth = 12
    monochrome = profile != 1 and bool(bits.u(1))
    described = (bits.u(8), bits.u(8), bits.u(8)) if bits.u(1) else None
    if monochrome:
        bits.u(1)  # color_range
        return depth, True, 1, 1, 0
    if described == (_BT_709, _SRGB, _IDENTITY):
        return depth, False, 0, 0, 0
    bits.u(1)  # color_range
    subsampling_x, subsampling_y = _read_subsampling(bits, profile, depth)
    position = bits.u(2) if subsampling_x and subsampling_y else 0
    return depth, False, subsampling_x, subsampling_y, position


def _read_subsampling(bits: Bits, profile: int, depth: int) -> tuple[int, int]:
    if profile == 0:
        return 1, 1
    if profile == 1:
        return 0, 0
    if depth != 12:
        return 1, 0
    subsampling_x = bits.u(1)
    return subsampling_x, bits.u(1) if subsampling_x else 0
