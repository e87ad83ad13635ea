"""Decoders of a worker process: Opus packets to 16 kHz mono, video to the newest picture.

What they are given comes from a candidate's browser: bytes that do not decode raise
``Undecodable``, and sizes are limited before memory is taken for them.
"""

from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter
from numpy.lib.stride_tricks import as_strided

from server.core.frames import Codec
from server.live_analysis.port import SAMPLE_RATE, Image, Samples

#: Width in pixels of the luma that analysers see; also what sharpness is defined at.
PICTURE_WIDTH = 320
#: Larger pictures are refused by the decoder before it allocates: 4096x2304.
MAX_PIXELS = 4096 * 2304
#: A picture that is a thin upright line is not drawn out further than this.
MOST_HEIGHT = 4 * PICTURE_WIDTH
#: Sizes of which scaling contexts are kept: a stream that changes its size all the time
#: must not collect them.
MOST_SIZES = 8
#: Opus always decodes at 48 kHz here (RFC 7587 4.1).
_DECIMATION = 48_000 // SAMPLE_RATE


class Undecodable(ValueError):
    """The bytes are not what their codec says: the sender's fault."""


def _packet(data: bytes) -> "av.Packet[Any]":
    if not data:
        # To libavcodec an empty packet is the end of the stream, after which nothing decodes.
        raise Undecodable("no bytes")
    return av.Packet(data)


def annex_b(access_unit: bytes) -> bytes:
    """Replace the four-byte lengths before NAL units by start codes (H.264 Annex B)."""
    out = bytearray(access_unit)
    at = 0
    while at < len(out):
        size = int.from_bytes(out[at : at + 4], "big")
        if size == 0 or at + 4 + size > len(out):
            raise Undecodable(f"NAL unit of {size} bytes at {at} does not fit its access unit")
        out[at : at + 4] = b"\0\0\0\1"
        at += 4 + size
    return bytes(out)


def _low_pass() -> Samples:
    """A windowed sinc of 7.2 kHz at 48 kHz: what folds is under -30 dB, below 6 kHz under -60."""
    taps = 16 * _DECIMATION + 1
    n = np.arange(taps) - (taps - 1) / 2
    filter_ = np.sinc(2 * n * 7_200 / 48_000) * np.blackman(taps)
    return np.asarray(filter_ / filter_.sum(), np.float32)


_FILTER = _low_pass()
#: Samples out at once: the filter as a matrix that brings a stretch of samples to these.
_AT_ONCE = 32
_STRETCH = _DECIMATION * (_AT_ONCE - 1) + len(_FILTER)
_MATRIX = np.zeros((_STRETCH, _AT_ONCE), np.float32)
for _column in range(_AT_ONCE):
    _MATRIX[_DECIMATION * _column :][: len(_FILTER), _column] = _FILTER


class OpusDecoder:
    """Opus packets of one stream to 16 kHz mono float samples."""

    def __init__(self) -> None:
        self._context = av.CodecContext.create("opus", "r")
        assert isinstance(self._context, av.AudioCodecContext)
        # A mono decoder downmixes stereo packets itself (RFC 6716 3.1).
        self._context.layout = "mono"
        self._context.sample_rate = 48_000
        self._context.thread_count = 1
        self._tail = np.zeros(len(_FILTER) - 1, np.float32)

    def decode(self, packet: bytes) -> Samples:
        """The packet's samples at 48 kHz; give them to ``decimate``."""
        try:
            frames = self._context.decode(_packet(packet))
        except (av.FFmpegError, ValueError) as error:
            raise Undecodable(str(error)) from error
        if not frames:
            return np.zeros(0, np.float32)
        # Planar float, which is what FFmpeg's own decoder gives.
        parts = [np.frombuffer(memoryview(it.planes[0]), np.float32, it.samples) for it in frames]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def decimate(self, samples: Samples) -> Samples:
        """A stretch of 48 kHz samples, a multiple of three, at 16 kHz."""
        if not len(samples):
            return samples
        count = len(samples) // _DECIMATION
        rows = -(-count // _AT_ONCE)
        padding = np.zeros(_DECIMATION * (rows * _AT_ONCE - count), np.float32)
        joined = np.concatenate((self._tail, samples, padding))
        self._tail = joined[len(samples) :][: len(self._tail)]
        step, item = joined.itemsize * _DECIMATION * _AT_ONCE, joined.itemsize
        stretches = as_strided(joined, (rows, _STRETCH), (step, item), writeable=False)
        return np.asarray((stretches @ _MATRIX).ravel()[:count], np.float32)


_DECODERS = {
    Codec.VP8: "vp8",
    Codec.VP9: "vp9",
    Codec.H264: "h264",
    Codec.AV1: "libdav1d",
}


class VideoDecoder:
    """Frames of one codec in decoding order, of H.264 and VP8 without loop filter but in keyframes.

    That is two fifths of the work. What the deltas drift by ends with the next keyframe, which
    the media plane asks for every few seconds: it blurs nothing, but blocks show. Of VP9 and AV1
    the libraries filter every frame.
    """

    def __init__(self, codec: Codec) -> None:
        context = av.CodecContext.create(_DECODERS[codec], "r")
        assert isinstance(context, av.VideoCodecContext)
        context.thread_count = 1
        context.flags |= Flags.low_delay
        context.options = {"max_pixels": str(MAX_PIXELS), "skip_loop_filter": "nokey"}
        self.codec = codec
        self._context = context

    def decode(self, payload: bytes) -> av.VideoFrame | None:
        """The frame's picture, if it has one to show."""
        data = annex_b(payload) if self.codec is Codec.H264 else payload
        try:
            frames = self._context.decode(_packet(data))
        except (av.FFmpegError, ValueError) as error:
            raise Undecodable(str(error)) from error
        return frames[-1] if frames else None


class Scaler:
    """Scales a stream's frames; one swscale context per size, since making one takes 1.7 ms."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[str, int, int], VideoReformatter] = {}

    def scale(
        self, frame: av.VideoFrame, width: int, height: int, pixels: str, method: str
    ) -> av.VideoFrame:
        if len(self._contexts) > MOST_SIZES:
            self._contexts.clear()
        context = self._contexts.setdefault((pixels, width, height), VideoReformatter())
        return context.reformat(
            frame, width, height, format=pixels, interpolation=method, threads=1
        )


class DecodedPicture:
    """A decoded frame at ``PICTURE_WIDTH``, from which smaller pictures are cheap."""

    def __init__(self, frame: av.VideoFrame, scaler: Scaler) -> None:
        height = round(frame.height * PICTURE_WIDTH / frame.width)
        height = min(max(height, 2), MOST_HEIGHT)
        self._scaler = scaler
        self._frame = scaler.scale(frame, PICTURE_WIDTH, height, "yuv420p", "AREA")
        plane = self._frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        self.luma: Image = rows[:height, :PICTURE_WIDTH]

    def rgb(self, width: int, height: int) -> Image:
        """The whole picture as ``height`` x ``width`` x 3, red first."""
        frame = self._scaler.scale(self._frame, width, height, "rgb24", "BILINEAR")
        return np.asarray(frame.to_ndarray(), np.uint8)
