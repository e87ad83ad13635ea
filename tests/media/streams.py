"""Real encoded pictures as RTP packets, packetised by others: the oracles of these tests.

VP8 and H.264 by aiortc, VP9 and AV1 by FFmpeg's RTP muxer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder

from loadtest.svtav1 import encode, open_like_others
from server.core.frames import Codec
from server.core.h264 import join_nal_units
from server.core.rtp import is_rtcp, pack_header, payload_of, unpack_header
from server.media.publisher import Stream
from server.media.receiving.assembler import Packet

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
    if codec in _MUXED:
        return tuple(_muxed(codec, count, keyframe_every))
    return tuple(_packetise(codec, *each) for each in _encode(codec, count, keyframe_every))


_LIBVPX = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "threads": "1"}
_OPTIONS = {
    Codec.VP8: ("libvpx", _LIBVPX),
    Codec.VP9: ("libvpx-vp9", _LIBVPX),
    Codec.H264: (
        "libx264",
        {"tune": "zerolatency", "preset": "ultrafast", "x264-params": "slices=2"},
    ),
    Codec.AV1: (
        "libsvtav1",
        {"preset": "10", "svtav1-params": "rc=2:pred-struct=1:rtc=1:lp=1"},
    ),
}
_MUXED = (Codec.VP9, Codec.AV1)


def _prepare(encoder: av.VideoCodecContext, keyframe_every: int) -> None:
    encoder.width, encoder.height, encoder.pix_fmt = 320, 240, "yuv420p"
    encoder.time_base, encoder.bit_rate = Fraction(1, 30), 2_000_000
    encoder.gop_size = keyframe_every


def _noise(count: int) -> Iterator[av.VideoFrame]:
    noise = np.random.default_rng(7).integers(0, 255, (240, 640, 3), np.uint8)
    for shift in range(count):
        picture = np.ascontiguousarray(noise[:, 5 * shift : 5 * shift + 320])
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = shift
        yield frame


def _encode(codec: Codec, count: int, keyframe_every: int) -> Iterator[tuple[bytes, bool, int]]:
    name, options = _OPTIONS[codec]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    _prepare(encoder, keyframe_every)
    encoder.options = options
    open_like_others(encoder)
    index = 0
    for frame in _noise(count):
        for packet in encode(encoder, frame):
            yield bytes(packet), packet.is_keyframe, index
            index += 1


def _packetise(codec: Codec, data: bytes, keyframe: bool, index: int) -> Picture:
    if codec is Codec.VP8:
        return Picture(tuple(Vp8Encoder._packetize(data, index)), data, keyframe)
    units = list(H264Encoder._split_bitstream(data))
    return Picture(tuple(H264Encoder._packetize(units)), join_nal_units(units), keyframe)


class _Wire:
    """What a muxer sends, one entry a packet."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.packets.append(bytes(data))
        return len(data)


def _muxed(codec: Codec, count: int, keyframe_every: int) -> Iterator[Picture]:
    wire = _Wire()
    name, options = _OPTIONS[codec]
    sent = {"packetsize": "1200", "strict": "experimental"}
    with av.open(wire, "w", format="rtp", options=sent) as muxer:
        stream = muxer.add_stream(name, options=options)
        assert isinstance(stream, av.VideoStream)
        _prepare(stream.codec_context, keyframe_every)
        open_like_others(stream.codec_context)
        for frame in _noise(count):
            for packet in encode(stream.codec_context, frame):
                packet.stream = stream
                data, keyframe = bytes(packet), packet.is_keyframe
                wire.packets.clear()
                muxer.mux(packet)
                payloads = tuple(each[12:] for each in wire.packets if not is_rtcp(each))
                # AV1 7.5: a temporal unit begins with its delimiter, which is not sent.
                yield Picture(payloads, data.removeprefix(b"\x12\0"), keyframe)


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


def described(data: bytes, number: int, element: bytes) -> bytes:
    """With a header extension of one element (RFC 8285 4.2), a long one where it has to be."""
    if len(element) <= 16:
        profile, body = b"\xbe\xde", bytes([number << 4 | len(element) - 1]) + element
    else:
        profile, body = b"\x10\x00", bytes([number, len(element)]) + element
    body += bytes(-len(body) % 4)
    head = profile + (len(body) // 4).to_bytes(2, "big")
    return bytes([data[0] | 0x10]) + data[1:12] + head + body + data[12:]


def receive(stream: Stream, data: bytes, now: float) -> None:
    """Gives it a packet as a publisher does."""
    _, second, seqno, timestamp, _ = unpack_header(data)
    stream.receive(second > 127, seqno, timestamp, payload_of(data), now, data)


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
            result.append((seqno, now, last, payload))
            seqno += 1
    return result
