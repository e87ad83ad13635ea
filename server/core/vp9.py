"""VP9 frames and superframes (VP9 Bitstream Specification 0.6), as recording needs them.

What is read of a frame is the start of its uncompressed header (6.2); a superframe (Annex B)
holds the frames of one picture, one for each spatial layer.
"""

import struct
from dataclasses import dataclass
from itertools import accumulate, pairwise

from server.core.bits import Bits

#: Annex B: the index counts them in three bits.
MAX_SUPERFRAME_FRAMES = 8
#: Of uncompressed headers what is read lies within this: 84 bits, were all of it there.
_HEADER_BYTES = 16
_SYNC_CODE = 0x498342
_CS_RGB = 7

#: Level by pictures' luma samples, luma samples a second, and longest side (Annex A).
_LEVELS = (
    (10, 36_864, 829_440, 512),
    (11, 73_728, 2_764_800, 768),
    (20, 122_880, 4_608_000, 960),
    (21, 245_760, 9_216_000, 1_344),
    (30, 552_960, 20_736_000, 2_048),
    (31, 983_040, 36_864_000, 2_752),
    (40, 2_228_224, 83_558_400, 4_160),
    (41, 2_228_224, 160_432_128, 4_160),
    (50, 8_912_896, 311_951_360, 8_384),
    (51, 8_912_896, 588_251_136, 8_384),
    (52, 8_912_896, 1_176_502_272, 8_384),
    (60, 35_651_584, 1_176_502_272, 16_832),
    (61, 35_651_584, 2_353_004_544, 16_832),
    (62, 35_651_584, 4_706_009_088, 16_832),
)
#: A camera's pictures a second, which no header tells.
_FRAME_RATE = 30
#: color_space (7.2.2) as primaries, transfer and matrix of ITU-T H.273; 0 and 6 say nothing.
_COLOUR = {
    1: (6, 6, 6),
    2: (1, 1, 1),
    3: (6, 6, 6),
    4: (7, 7, 7),
    5: (9, 14, 9),
    _CS_RGB: (1, 13, 0),
}
_COLOUR_UNKNOWN = (2, 2, 2)


class Vp9Error(ValueError):
    """The bytes are not what VP9 allows here; the sender is at fault."""


@dataclass(frozen=True, slots=True)
class Colour:
    """How the samples of a frame are to be understood (VP9 7.2.2)."""

    bit_depth: int = 8
    color_space: int = 0
    full_range: bool = False
    subsampling_x: int = 1
    subsampling_y: int = 1


@dataclass(frozen=True, slots=True)
class Vp9Header:
    """``width`` and ``height`` in pixels are 0 where the frame takes them from another one."""

    profile: int
    keyframe: bool
    shown: bool
    width: int = 0
    height: int = 0
    colour: Colour = Colour()


def split_superframe(data: bytes) -> list[bytes]:
    """The frames of a superframe (Annex B), or ``data`` itself where it is one frame.

    Bytes between the last frame and the index belong to no frame. Vp9Error if the index
    announces more than there is.
    """
    ends = [0, *accumulate(frame_lengths(data))]
    return [data[start:end] for start, end in pairwise(ends)]


def frame_lengths(data: bytes) -> list[int]:
    """Of the frames of a superframe, in bytes, or of the one that ``data`` is. Vp9Error."""
    if not data:
        raise Vp9Error("no frame")
    marker = data[-1]
    size_bytes, count = 1 + (marker >> 3 & 3), 1 + (marker & 7)
    index_bytes = 2 + size_bytes * count
    if marker & 0xE0 != 0xC0 or len(data) < index_bytes or data[-index_bytes] != marker:
        return [len(data)]
    lengths, left = [], len(data) - index_bytes
    for entry in range(left + 1, len(data) - 1, size_bytes):
        length = int.from_bytes(data[entry : entry + size_bytes], "little")
        if not 0 < length <= left:
            raise Vp9Error(f"frame of {length} bytes in {left}")
        lengths.append(length)
        left -= length
    return lengths


def join_superframe(frames: list[bytes]) -> bytes:
    """One frame as it is, several with an index behind them (Annex B)."""
    if len(frames) == 1:
        return frames[0]
    if not 0 < len(frames) <= MAX_SUPERFRAME_FRAMES:
        raise Vp9Error(f"superframe of {len(frames)} frames")
    size_bytes = (max(map(len, frames)).bit_length() + 7) // 8
    marker = bytes([0xC0 | size_bytes - 1 << 3 | len(frames) - 1])
    sizes = b"".join(len(frame).to_bytes(size_bytes, "little") for frame in frames)
    return b"".join(frames) + marker + sizes + marker


def begins_keyframe(data: bytes) -> bool:
    """Whether these first bytes of a frame say that it is a key frame; never raises."""
    if not data or data[0] >> 6 != 2:
        return False
    # 6.2: two bits of marker, two of profile, one reserved in profile 3 only, then
    # show_existing_frame and frame_type, both zero.
    is_profile_3 = data[0] & 0x30 == 0x30
    return not data[0] & (0x06 if is_profile_3 else 0x0C)


def parse_header(frame: bytes) -> Vp9Header:
    """The start of a frame's uncompressed header (6.2); Vp9Error if it is none."""
    bits = Bits(frame[:_HEADER_BYTES], Vp9Error)
    if bits.u(2) != 2:
        raise Vp9Error("not a VP9 frame")
    profile = bits.u(1) | bits.u(1) << 1
    if profile == 3 and bits.u(1):
        raise Vp9Error("reserved profile")
    if bits.u(1):  # show_existing_frame
        return Vp9Header(profile, False, True)
    keyframe, shown, error_resilient = not bits.u(1), bool(bits.u(1)), bits.u(1)
    if keyframe:
        _check_sync_code(bits)
        colour = _read_colour(bits, profile)
        return Vp9Header(profile, True, shown, *_read_size(bits), colour)
    intra_only = not shown and bits.u(1)
    if not error_resilient:
        bits.u(2)  # reset_frame_context
    if intra_only:
        _check_sync_code(bits)
        if profile:
            _read_colour(bits, profile)
        bits.u(8)  # refresh_frame_flags
        return Vp9Header(profile, False, shown, *_read_size(bits))
    bits.u(8 + 3 * 4)  # refresh_frame_flags, three times ref_frame_idx and sign bias
    if bits.u(1) or bits.u(1) or bits.u(1):  # found_ref: the size of a frame before
        return Vp9Header(profile, False, shown)
    return Vp9Header(profile, False, shown, *_read_size(bits))


def configuration(header: Vp9Header, width: int, height: int) -> bytes:
    """VPCodecConfigurationRecord (VP Codec ISO Media File Format Binding) of a key frame.

    ``width`` and ``height`` in pixels are the picture's, that is of its highest spatial layer.
    """
    colour = header.colour
    # 4:2:0 with luma's place, 4:2:2 or 4:4:4.
    chroma = 3 - colour.subsampling_x * (1 + colour.subsampling_y)
    described = _COLOUR.get(colour.color_space, _COLOUR_UNKNOWN)
    sampling = colour.bit_depth << 4 | chroma << 1 | colour.full_range
    level_idc = level(width, height)
    return struct.pack(">6BH", header.profile, level_idc, sampling, *described, 0)


def level(width: int, height: int) -> int:
    """Ten times the lowest level for pictures of this size at 30 a second (Annex A)."""
    samples = width * height
    for number, most, rate, side in _LEVELS:
        if samples <= most and samples * _FRAME_RATE <= rate and max(width, height) <= side:
            return number
    return _LEVELS[-1][0]


def _check_sync_code(bits: Bits) -> None:
    if bits.u(24) != _SYNC_CODE:
        raise Vp9Error("key frame without its sync code")


def _read_colour(bits: Bits, profile: int) -> Colour:
    """color_config() (6.2.2)."""
    depth = (12 if bits.u(1) else 10) if profile >= 2 else 8
    color_space = bits.u(3)
    with_chroma_format = profile in (1, 3)
    if color_space == _CS_RGB:
        if not with_chroma_format or bits.u(1):
            raise Vp9Error("RGB in a profile of 4:2:0")
        return Colour(depth, color_space, True, 0, 0)
    full_range = bool(bits.u(1))
    if not with_chroma_format:
        return Colour(depth, color_space, full_range)
    subsampling_x, subsampling_y, reserved = bits.u(1), bits.u(1), bits.u(1)
    if reserved:
        raise Vp9Error("reserved chroma format")
    return Colour(depth, color_space, full_range, subsampling_x, subsampling_y)


def _read_size(bits: Bits) -> tuple[int, int]:
    return bits.u(16) + 1, bits.u(16) + 1
