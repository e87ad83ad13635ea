"""Real encoded pictures as RTP packets, packetised by aiortc: the oracle of these tests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder

from server.core.frames import Codec
from server.core.h264 import join_nal_units
from server.core.rtp import pack_header
from server.media.assembler import Packet

VIDEO_PAYLOAD_TYPE = 96
TICKS = 3000  # of 90 kHz, a frame at 30 fps


@dataclass(frozen=True)
class Picture:
    """One encoded picture: its RTP payloads, and what an `EncodedFrame` carries of it."""

    payloads: tuple[bytes, ...]
    frame: bytes
    keyframe: bool


@cache
def pictures(codec: Codec, count: int = 12, keyframe_every: int = 4) -> tuple[Picture, ...]:
    """Moving noise at 320x240: each picture takes several packets."""
    return tuple(_packetise(codec, *each) for each in _encode(codec, count, keyframe_every))


def _encode(codec: Codec, count: int, keyframe_every: int) -> Iterator[tuple[bytes, bool, int]]:
    name = {Codec.VP8: "libvpx", Codec.H264: "libx264"}[codec]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 320, 240, "yuv420p"
    encoder.time_base, encoder.bit_rate = Fraction(1, 30), 2_000_000
    encoder.gop_size = keyframe_every
    if codec is Codec.H264:
        encoder.options = {"tune": "zerolatency", "preset": "ultrafast", "x264-params": "slices=2"}
    else:
        encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    noise = np.random.default_rng(7).integers(0, 255, (240, 640, 3), np.uint8)
    index = 0
    for shift in range(count):
        picture = np.ascontiguousarray(noise[:, 5 * shift : 5 * shift + 320])
        for packet in encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
            yield bytes(packet), packet.is_keyframe, index
            index += 1


def _packetise(codec: Codec, data: bytes, keyframe: bool, index: int) -> Picture:
    if codec is Codec.VP8:
        return Picture(tuple(Vp8Encoder._packetize(data, index)), data, keyframe)
    units = list(H264Encoder._split_bitstream(data))
    return Picture(tuple(H264Encoder._packetize(units)), join_nal_units(units), keyframe)


def rtp(
    seqno: int,
    timestamp: int,
    payload: bytes,
    *,
    marker: bool = False,
    payload_type: int = VIDEO_PAYLOAD_TYPE,
    ssrc: int = 1,
    padding: int = 0,
) -> bytes:
    """One RTP packet; `padding`: bytes of it, the count included."""
    first = 0xA0 if padding else 0x80
    second = (0x80 if marker else 0) | payload_type
    header = pack_header(first, second, seqno & 0xFFFF, timestamp & 0xFFFF_FFFF, ssrc)
    return header + payload + (bytes(padding - 1) + bytes([padding]) if padding else b"")


def packets(
    sequence: Sequence[Picture],
    *,
    seqno: int = 70_000,
    timestamp: int = 1 << 33,
    marker: bool = True,
) -> list[Packet]:
    """The pictures as the assembler gets them; extended numbers. `marker`: whether it is sent."""
    result: list[Packet] = []
    for index, picture in enumerate(sequence):
        for payload in picture.payloads:
            last = payload is picture.payloads[-1] and marker
            now = timestamp + TICKS * index
            data = rtp(seqno, now, payload, marker=last)
            result.append((seqno, now, last, data))
            seqno += 1
    return result
