"""The uncompressed start of a VP8 frame (RFC 6386 9.1 and 19.1)."""

from dataclasses import dataclass

#: VPCodecConfigurationRecord (VP Codec ISO Media File Format Binding 2.2): profile 0, level
#: undefined, 8 bits, 4:2:0; BT.601 (RFC 6386 9.2).
CONFIGURATION = bytes([0, 0, 8 << 4 | 1 << 1, 6, 6, 6, 0, 0])
_START_CODE = b"\x9d\x01\x2a"
_KEYFRAME_HEADER_BYTES = 10
_FRAME_TAG_BYTES = 3


class Vp8Error(ValueError):
    """The bytes do not begin a VP8 frame; the sender is at fault."""


@dataclass(frozen=True, slots=True)
class Vp8Header:
    """``width`` and ``height`` in pixels are 0 for an interframe, which does not carry them."""

    keyframe: bool
    version: int
    shown: bool
    width: int = 0
    height: int = 0


def parse_header(frame: bytes) -> Vp8Header:
    """Parse the frame tag and, of a key frame, its size; Vp8Error if it is neither."""
    if len(frame) < _FRAME_TAG_BYTES:
        raise Vp8Error(f"frame of {len(frame)} bytes")
    tag = int.from_bytes(frame[:3], "little")
    # RFC 6386 9.1: bit 0 is 0 for key frames; 3 bits of version; 1 bit of show_frame.
    keyframe, version, shown = not tag & 1, (tag >> 1) & 7, bool((tag >> 4) & 1)
    if not keyframe:
        return Vp8Header(False, version, shown)
    if len(frame) < _KEYFRAME_HEADER_BYTES or frame[3:6] != _START_CODE:
        raise Vp8Error("key frame without its start code")
    # The upper two bits of each size are a scaling hint for the display.
    width = int.from_bytes(frame[6:8], "little") & 0x3FFF
    height = int.from_bytes(frame[8:10], "little") & 0x3FFF
    if not width or not height:
        raise Vp8Error("key frame without a size")
    return Vp8Header(True, version, shown, width, height)
