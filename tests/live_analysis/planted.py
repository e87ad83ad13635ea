"""Media with planted truth: faces at known places, tones, speech with known pauses, encoded."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from loadtest.svtav1 import encode, open_like_others
from server.core.frames import Codec, EncodedFrame, TrackName
from server.live_analysis.port import SAMPLE_RATE, Image, Picture, Samples

MEDIA = Path(__file__).parent / "media"
OPUS_RATE = 48_000
PACKET_S = 0.02
FPS = 30

#: Where the face lies in `portrait.jpg`, in pixels of its 240 x 256, measured by eye:
#: from the brows to the chin and from temple to temple.
PORTRAIT_FACE_X = 122
PORTRAIT_FACE_Y = 118
PORTRAIT_FACE_HEIGHT = 100

#: Real recordings beside the checkout; tests use them besides where they are there.
SHARED = Path(__file__).parents[3] / "shared" / "media"

Packets = list[tuple[bytes, bool]]


@cache
def portrait() -> Image:
    with av.open(str(MEDIA / "portrait.jpg")) as file:
        return np.asarray(next(file.decode(video=0)).to_ndarray(format="rgb24"), np.uint8)


@cache
def speech() -> Samples:
    """Three seconds of reading, 16 kHz, trimmed to where the voice is."""
    with av.open(str(MEDIA / "speech.flac")) as file:
        parts = [frame.to_ndarray().ravel() for frame in file.decode(audio=0)]
    samples = np.concatenate(parts).astype(np.float32) / 32768
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return np.asarray(samples[loud[0] : loud[-1]], np.float32)


def speech_with_pauses(pauses_s: Iterable[float]) -> Samples:
    """The reading, then each pause followed by the reading again."""
    parts = [speech()]
    for pause_s in pauses_s:
        parts += [np.zeros(round(pause_s * SAMPLE_RATE), np.float32), speech()]
    return np.concatenate(parts)


def tone(hertz: float, duration_s: float, peak: float = 0.5) -> Samples:
    t = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    return (peak * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def voice(hertz: float, duration_s: float) -> Samples:
    """Harmonics falling by 6 dB an octave, as of vocal folds."""
    count = int(4000 / hertz)
    harmonics = [tone(hertz * n, duration_s, 0.3 / n) for n in range(1, count + 1)]
    return np.asarray(np.sum(harmonics, axis=0), np.float32)


def scene(
    *places: tuple[float, float], scale: float = 1.5, size: tuple[int, int] = (1280, 720)
) -> Image:
    """Grey, with the portrait so that each face's middle is at a place (shares of the size)."""
    width, height = size
    picture = np.full((height, width, 3), 110, np.uint8)
    face = scaled(portrait(), scale)
    for x, y in places:
        left = round(x * width - PORTRAIT_FACE_X * scale)
        top = round(y * height - PORTRAIT_FACE_Y * scale)
        rows = slice(max(top, 0), min(top + face.shape[0], height))
        columns = slice(max(left, 0), min(left + face.shape[1], width))
        picture[rows, columns] = face[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
    return picture


def scaled(image: Image, scale: float) -> Image:
    height, width = (round(length * scale) for length in image.shape[:2])
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame = frame.reformat(width, height, interpolation="BICUBIC")
    return np.asarray(frame.to_ndarray(), np.uint8)


def picture(rgb: Image, capture_s: float = 0.0) -> Picture:
    """What an analyser is given of a picture, through the worker's own scaler."""
    from server.live_analysis.decode import DecodedPicture, Scaler

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    decoded = DecodedPicture(frame, Scaler())
    return Picture(decoded.luma, capture_s, decoded.rgb)


def opus(samples: Samples) -> list[bytes]:
    """16 kHz samples as Opus packets of 20 ms."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.format, encoder.layout = OPUS_RATE, "flt", "mono"
    encoder.bit_rate = 32_000
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    resampler = av.AudioResampler("flt", "mono", OPUS_RATE, round(PACKET_S * OPUS_RATE))
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    whole = [frame for frame in frames if frame.samples == round(PACKET_S * OPUS_RATE)]
    return [bytes(packet) for frame in whole for packet in encoder.encode(frame)]


def length_prefixed(annex_b: bytes) -> bytes:
    """H.264 with start codes to four-byte lengths, as the media layer gives it."""
    units = annex_b.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def without_delimiter(temporal_unit: bytes) -> bytes:
    """AV1 as the media layer gives it: without the delimiter that comes first (AV1 7.5)."""
    return temporal_unit.removeprefix(b"\x12\0")


# Negative: this very speed; a positive one would follow the clock, and tests with it.
#: VP8 by several threads waits by turning in circles: ten times the CPU for pictures this small.
_LIBVPX = {"deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0", "threads": "1"}
#: Encoder, its options, and how its packets become payloads.
_ENCODERS: dict[Codec, tuple[str, dict[str, str], Callable[[bytes], bytes]]] = {
    Codec.VP8: ("libvpx", _LIBVPX, bytes),
    Codec.VP9: ("libvpx-vp9", {**_LIBVPX, "cpu-used": "8"}, bytes),
    Codec.H264: (
        "libx264",
        {"preset": "superfast", "tune": "zerolatency", "profile": "baseline"},
        length_prefixed,
    ),
    Codec.AV1: (
        "libsvtav1",
        {"preset": "10", "svtav1-params": "rc=2:pred-struct=1:rtc=1:lp=1"},
        without_delimiter,
    ),
}
VIDEO_CODECS = tuple(_ENCODERS)


def video(
    codec: Codec,
    pictures: Iterable[Image],
    size: tuple[int, int] = (640, 360),
    gop: int = 10_000,
) -> Packets:
    """Frames of a stream as a browser would send it: deltas, with a keyframe every ``gop``."""
    name, options, convert = _ENCODERS[codec]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = size
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, FPS)
    encoder.bit_rate, encoder.gop_size = 600_000, gop
    encoder.options = options
    open_like_others(encoder)
    packets = []
    for pts, image in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(*size, format="yuv420p", interpolation="AREA")
        frame.pts = pts
        packets += encode(encoder, frame)
    packets += encode(encoder, None)
    return [(convert(bytes(it)), bool(it.is_keyframe)) for it in packets]


def noise(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def camera(codec: Codec, payload: bytes, keyframe: bool, at_s: float) -> EncodedFrame:
    return EncodedFrame(TrackName.CAMERA, codec, payload, at_s, keyframe, at_s)


def microphone(payload: bytes, at_s: float) -> EncodedFrame:
    return EncodedFrame(TrackName.MICROPHONE, Codec.OPUS, payload, at_s, True, at_s)
