"""H.264 access units and parameter sets (ITU-T H.264 = ISO/IEC 14496-10), as recording needs them.

Access units come with a four-byte big-endian length before each NAL unit, as in
:class:`server.core.frames.EncodedFrame`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from server.core.bits import Bits

NAL_TYPE_SPS = 7
NAL_TYPE_PPS = 8

#: Profiles whose SPS carries chroma format and bit depths (H.264 7.3.2.1.1).
HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
#: Level 6.2 allows 139264 macroblocks, at most sqrt(8 * 139264) to a side (H.264 A.3.1 f, g).
MAX_MACROBLOCKS_PER_SIDE = 1055
#: SubWidthC and SubHeightC by chroma_format_idc (H.264 table 6-1); monochrome crops like 4:4:4.
_CHROMA_UNITS = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}


class H264Error(ValueError):
    """The bytes are not what H.264 allows here; the sender is at fault."""


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """What a recording has to know of a sequence parameter set; sizes in pixels, cropped."""

    sps_id: int
    profile_idc: int
    constraint_flags: int
    level_idc: int
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int
    height: int


def nal_units(access_unit: bytes) -> Iterator[bytes]:
    """Yield the NAL units of one length-prefixed access unit; H264Error if it does not add up."""
    offset = 0
    while offset < len(access_unit):
        if offset + 4 > len(access_unit):
            raise H264Error("access unit ends inside a NAL unit's length")
        (length,) = struct.unpack_from(">I", access_unit, offset)
        offset += 4
        if not 0 < length <= len(access_unit) - offset:
            raise H264Error(f"NAL unit of {length} bytes in {len(access_unit) - offset}")
        yield access_unit[offset : offset + length]
        offset += length


def nal_type(nal: bytes) -> int:
    """nal_unit_type (H.264 7.3.1); ``nal`` must not be empty."""
    return nal[0] & 0x1F


def join_nal_units(nals: Iterator[bytes] | tuple[bytes, ...] | list[bytes]) -> bytes:
    """The inverse of :func:`nal_units`."""
    return b"".join(struct.pack(">I", len(nal)) + nal for nal in nals)


def parse_sps(nal: bytes) -> SequenceParameters:
    """Parse a sequence parameter set (H.264 7.3.2.1.1); H264Error if it is none."""
    if len(nal) < 5 or nal_type(nal) != NAL_TYPE_SPS:
        raise H264Error("not a sequence parameter set")
    bits = Bits(_unescape(nal[1:]), H264Error)
    profile_idc, constraint_flags, level_idc = bits.u(8), bits.u(8), bits.u(8)
    sps_id = _at_most(bits.ue(), 31, "seq_parameter_set_id")
    chroma, luma_depth, chroma_depth = 1, 8, 8
    if profile_idc in HIGH_PROFILES:
        chroma, luma_depth, chroma_depth = _read_high_profile(bits)
    _skip_picture_order(bits)
    bits.ue()  # max_num_ref_frames
    bits.u(1)  # gaps_in_frame_num_value_allowed_flag
    width, height = _read_size(bits, chroma)
    return SequenceParameters(
        sps_id,
        profile_idc,
        constraint_flags,
        level_idc,
        chroma,
        luma_depth,
        chroma_depth,
        width,
        height,
    )


def configuration(sps: tuple[bytes, ...], pps: tuple[bytes, ...]) -> bytes:
    """AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1) for four-byte lengths.

    H264Error if the first SPS cannot be parsed, or if there are too few or too many of either.
    """
    # 5.3.3.1.2: counts of 5 and 8 bits, lengths of 16.
    if not 0 < len(sps) < 32 or not 0 < len(pps) < 256:
        raise H264Error("keyframe without parameter sets")
    if max(map(len, sps + pps)) > 0xFFFF:
        raise H264Error("parameter set of more than 65535 bytes")
    first = parse_sps(sps[0])
    body = bytes([1, first.profile_idc, first.constraint_flags, first.level_idc, 0xFC | 3])
    body += bytes([0xE0 | len(sps)]) + _with_lengths(sps)
    body += bytes([len(pps)]) + _with_lengths(pps)
    if first.profile_idc in (100, 110, 122, 144):
        depths = (0xF8 | first.bit_depth_luma - 8, 0xF8 | first.bit_depth_chroma - 8)
        body += bytes([0xFC | first.chroma_format_idc, *depths, 0])
    return body


def _with_lengths(sets: tuple[bytes, ...]) -> bytes:
    return b"".join(struct.pack(">H", len(one)) + one for one in sets)


def _read_high_profile(bits: Bits) -> tuple[int, int, int]:
    chroma = _at_most(bits.ue(), 3, "chroma_format_idc")
    if chroma == 3:
        bits.u(1)  # separate_colour_plane_flag
    luma_depth = 8 + _at_most(bits.ue(), 6, "bit_depth_luma_minus8")
    chroma_depth = 8 + _at_most(bits.ue(), 6, "bit_depth_chroma_minus8")
    bits.u(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.u(1):  # seq_scaling_matrix_present_flag
        for index in range(8 if chroma != 3 else 12):
            if bits.u(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma, luma_depth, chroma_depth


def _skip_scaling_list(bits: Bits, size: int) -> None:
    # H.264 7.3.2.1.1.1: the list ends early once next_scale becomes 0.
    scale = 8
    for _ in range(size):
        scale = (scale + bits.se()) % 256
        if scale == 0:
            return


def _skip_picture_order(bits: Bits) -> None:
    bits.ue()  # log2_max_frame_num_minus4
    order_type = _at_most(bits.ue(), 2, "pic_order_cnt_type")
    if order_type == 0:
        bits.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif order_type == 1:
        bits.u(1)  # delta_pic_order_always_zero_flag
        bits.se()  # offset_for_non_ref_pic
        bits.se()  # offset_for_top_to_bottom_field
        for _ in range(_at_most(bits.ue(), 255, "num_ref_frames_in_pic_order_cnt_cycle")):
            bits.se()


def _read_size(bits: Bits, chroma: int) -> tuple[int, int]:
    columns = 1 + _at_most(bits.ue(), MAX_MACROBLOCKS_PER_SIDE - 1, "pic_width_in_mbs_minus1")
    rows = 1 + _at_most(bits.ue(), MAX_MACROBLOCKS_PER_SIDE - 1, "pic_height_in_map_units_minus1")
    frames_only = bits.u(1)
    if not frames_only:
        bits.u(1)  # mb_adaptive_frame_field_flag
    bits.u(1)  # direct_8x8_inference_flag
    width, height = columns * 16, rows * 16 * (2 - frames_only)
    if bits.u(1):  # frame_cropping_flag, in units of H.264 (7-19) to (7-22)
        unit_x, unit_y = _CHROMA_UNITS[chroma]
        width -= unit_x * (bits.ue() + bits.ue())
        height -= unit_y * (2 - frames_only) * (bits.ue() + bits.ue())
    if width <= 0 or height <= 0:
        raise H264Error("cropping leaves no picture")
    return width, height


def _at_most(value: int, limit: int, name: str) -> int:
    if value > limit:
        raise H264Error(f"{name} is {value}, more than {limit}")
    return value


def _unescape(data: bytes) -> bytes:
    # H.264 7.4.1: emulation_prevention_three_byte after two zero bytes.
    return data.replace(b"\x00\x00\x03", b"\x00\x00")
