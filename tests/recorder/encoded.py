"""Real encoded media for the recorder's tests, made with PyAV's encoders as a browser would."""

import functools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from msgspec.structs import replace

from loadtest.svtav1 import encode, open_like_others
from server.core.frames import Codec, EncodedFrame, TrackName

#: Unix time at which all of these recordings begin.
START_S = 1_760_000_000.0
FPS = 30
#: The tracks of `interview`.
BOTH = (TrackName.CAMERA, TrackName.MICROPHONE)


def picture(index: int, width: int, height: int) -> np.ndarray:
    """A moving gradient with a white square that flashes in the first tenth of each second."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    plane = ((x + 3 * index) % 256 // 2 + y % 128).astype(np.uint8)
    image = np.stack([plane, plane[::-1], 255 - plane], axis=-1)
    if index % FPS < FPS // 10:
        image[: height // 2, : width // 2] = 255
    return image


#: Black or white squares along the upper edge of `numbered`, the most significant bit first.
NUMBER_BITS = 16


def numbered(index: int, width: int, height: int) -> np.ndarray:
    """A grey picture that says its index, whatever an encoder does to it."""
    image = np.full((height, width, 3), 96, np.uint8)
    cell = width // NUMBER_BITS
    for bit in range(NUMBER_BITS):
        white = index >> (NUMBER_BITS - 1 - bit) & 1
        image[: height // 2, bit * cell : (bit + 1) * cell] = 255 * white
    return image


def annexb_to_lengths(data: bytes) -> bytes:
    """Start codes (H.264 annex B) to four-byte lengths, as the media plane delivers."""
    nals = [nal.rstrip(b"\0") for nal in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")]
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals if nal)


def without_delimiters(data: bytes) -> bytes:
    """A temporal unit of an AV1 encoder as the media plane delivers it."""
    assert data[:2] == b"\x12\0", "a temporal delimiter comes first (AV1 7.5)"
    return data[2:]


_LIBVPX = {"deadline": "realtime", "lag-in-frames": "0", "cpu-used": "8", "threads": "1"}
#: Encoder, its options as a browser would choose them, and how its packets become payloads.
_ENCODERS: dict[Codec, tuple[str, dict[str, str], Callable[[bytes], bytes]]] = {
    Codec.VP8: ("libvpx", _LIBVPX, bytes),
    Codec.VP9: ("libvpx-vp9", _LIBVPX, bytes),
    Codec.H264: (
        "libx264",
        {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"},
        annexb_to_lengths,
    ),
    Codec.AV1: (
        "libsvtav1",
        {"preset": "10", "svtav1-params": "rc=2:pred-struct=1:rtc=1:lp=1"},
        without_delimiters,
    ),
}


VIDEO_CODECS = tuple(_ENCODERS)


@functools.cache
def video(
    codec: Codec,
    seconds: float = 2.0,
    width: int = 160,
    height: int = 120,
    keyframe_s: float = 1.0,
    draw: Callable[[int, int, int], np.ndarray] = picture,
) -> tuple[tuple[bytes, bool], ...]:
    """(payload, keyframe) of each picture at `FPS`."""
    name, options, convert = _ENCODERS[codec]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.gop_size = round(keyframe_s * FPS)
    encoder.bit_rate = 200_000
    encoder.options = options
    open_like_others(encoder)
    packets = []
    for index in range(round(seconds * FPS)):
        frame = av.VideoFrame.from_ndarray(draw(index, width, height), format="rgb24")
        frame.pts = index
        packets += encode(encoder, frame)
    packets += encode(encoder, None)
    return tuple((convert(bytes(packet)), packet.is_keyframe) for packet in packets)


@functools.cache
def opus(seconds: float = 2.0) -> tuple[bytes, ...]:
    """Opus packets of 20 ms: a beep of 440 Hz in the first tenth of each second."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "stereo", "s16"
    encoder.options = {"frame_duration": "20", "application": "lowdelay"}
    encoder.time_base = Fraction(1, 48_000)
    packets = []
    for index in range(round(seconds * 50)):
        at_s = (np.arange(960) + index * 960) / 48_000
        tone = np.sin(2 * np.pi * 440 * at_s) * 12_000 * (at_s % 1 < 0.1)
        samples = np.repeat(tone.astype(np.int16), 2).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, index * 960
        packets += encoder.encode(frame)
    return tuple(bytes(packet) for packet in packets)


def camera(
    codec: Codec = Codec.H264, seconds: float = 2.0, start_s: float = START_S, **options: Any
) -> list[EncodedFrame]:
    return [
        EncodedFrame(
            TrackName.CAMERA, codec, payload, start_s + index / FPS, keyframe, start_s + index / FPS
        )
        for index, (payload, keyframe) in enumerate(video(codec, seconds, **options))
    ]


def screen(
    codec: Codec = Codec.H264, seconds: float = 2.0, start_s: float = START_S, **options: float
) -> list[EncodedFrame]:
    """The camera's pictures, in another size."""
    frames = camera(codec, seconds, start_s, **{"width": 200, "height": 100, **options})
    return [replace(frame, track=TrackName.SCREEN) for frame in frames]


def interviewer(
    codec: Codec = Codec.H264, seconds: float = 2.0, start_s: float = START_S, **options: float
) -> list[EncodedFrame]:
    """Their camera, in a size of its own, and microphone."""
    pictures = camera(codec, seconds, start_s, **{"width": 120, "height": 90, **options})
    return in_order(
        [replace(frame, track=TrackName.INTERVIEWER_CAMERA) for frame in pictures],
        [
            replace(frame, track=TrackName.INTERVIEWER_MICROPHONE)
            for frame in microphone(seconds, start_s)
        ],
    )


def microphone(seconds: float = 2.0, start_s: float = START_S) -> list[EncodedFrame]:
    return [
        EncodedFrame(
            TrackName.MICROPHONE,
            Codec.OPUS,
            payload,
            start_s + index / 50,
            True,
            start_s + index / 50,
        )
        for index, payload in enumerate(opus(seconds))
    ]


def interview(
    codec: Codec = Codec.H264, seconds: float = 2.0, start_s: float = START_S
) -> list[EncodedFrame]:
    """Camera and microphone in order of arrival."""
    frames = camera(codec, seconds, start_s) + microphone(seconds, start_s)
    return sorted(frames, key=lambda frame: frame.capture_s)


def in_order(*tracks: list[EncodedFrame]) -> list[EncodedFrame]:
    """The frames of several tracks as they arrive."""
    return sorted((frame for each in tracks for frame in each), key=lambda frame: frame.capture_s)


def held_back(frames: list[EncodedFrame], from_s: float, by_s: float) -> list[EncodedFrame]:
    """As they come where sound waits so long for a packet that was lost at that time."""
    lost_s, comes_s = START_S + from_s, START_S + from_s + by_s

    def waits(frame: EncodedFrame) -> bool:
        return frame.track.is_sound and lost_s <= frame.capture_s < comes_s

    waiting = [frame for frame in frames if waits(frame)]
    others = [frame for frame in frames if not waits(frame)]
    place = next((n for n, each in enumerate(others) if each.capture_s >= comes_s), len(others))
    return [*others[:place], *waiting, *others[place:]]
