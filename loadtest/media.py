"""The media of all simulated candidates: encoded once, kept in a cache file, shared.

A `Clip` is one loop: video frames and Opus packets of equal duration that begin and end in
step, so that it can be repeated, or entered at any keyframe, without the two drifting apart.
A shared screen is a clip without sound.
"""

import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

import av
import av.filter
import av.video.frame
import msgspec
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from loadtest import screen
from loadtest.scene import HEIGHT, PORTRAIT, WIDTH, Scene
from loadtest.svtav1 import encode, open_like_others

VideoCodec = Literal["h264", "vp8", "vp9", "av1"]
VIDEO_CODECS: tuple[VideoCodec, ...] = get_args(VideoCodec)
#: As recordings name them.
TrackName = Literal["camera", "microphone", "screen"]

FPS = 30
AUDIO_RATE_HZ = 48_000
AUDIO_PACKETS_PER_S = 50  # 20 ms each
AUDIO_BITRATE_BPS = 32_000
#: The temporal layers of a VP8 or VP9 clip's frames, from each keyframe on and over again.
TEMPORAL_IDS = (0, 2, 1, 2)
SPEECH = Path(__file__).parent / "assets" / "speech.ogg"
#: Samples of 16 bits that are smaller are none, -50 dBFS; ffmpeg's encoder has no DTX.
SILENCE = 100
DTX_AFTER = 10  # packets, as libopus's NB_SPEECH_FRAMES_BEFORE_DTX
DTX_REFRESH = 20  # packets, as its MAX_CONSECUTIVE_DTX: 400 ms
MAX_LOOP_S = 60  # a longer file is cut: every loop is held in memory

_SAMPLES_PER_PACKET = AUDIO_RATE_HZ // AUDIO_PACKETS_PER_S
_FORMAT_VERSION = 3  # of the cache file and of the encoders' settings below


@dataclass(frozen=True, slots=True)
class Encoding:
    """What a clip is encoded to."""

    bitrate_bps: int
    fps: int
    #: Frames from a keyframe to the next: few, as requests are granted by a jump to the nearest.
    keyframe_interval: int
    buffer_s: float  #: of the bitrate, that a keyframe may take at once
    shrunk: int = 1  #: width and height are divided by it

    def x264(self) -> dict[str, str]:
        """Constrained baseline, parameter sets in band; one slice a frame as browsers send it."""
        rate, interval = self.bitrate_bps // 1000, self.keyframe_interval
        return {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "x264-params": "threads=1:sliced-threads=0:scenecut=0:repeat-headers=1:aud=0:"
            f"keyint={interval}:min-keyint={interval}:"
            f"vbv-maxrate={rate}:vbv-bufsize={round(rate * self.buffer_s)}",
        }

    def libvpx(self) -> dict[str, str]:
        rate = str(self.bitrate_bps)
        return {
            "deadline": "realtime",
            "cpu-used": "-12",  # negative: this very speed; positive would adapt it to the clock
            "lag-in-frames": "0",
            "error-resilient": "1",
            "minrate": rate,
            "maxrate": rate,
            "bufsize": str(round(self.bitrate_bps * self.buffer_s)),
            # L1T3 as our page asks browsers for; the shares of the layers are libwebrtc's.
            "ts-parameters": "ts_number_layers=3:ts_periodicity=4:ts_layering_mode=3:ts_layer_id="
            + ",".join(map(str, TEMPORAL_IDS))
            + ":ts_rate_decimator=4,2,1:ts_target_bitrate="
            + ",".join(str(self.bitrate_bps * share // 100_000) for share in (40, 60, 100)),
        }

    def libvpx_vp9(self) -> dict[str, str]:
        return {**self.libvpx(), "cpu-used": "8"}  # VP9 adapts to no clock

    def svtav1(self) -> dict[str, str]:
        """Constant bitrate, one layer; its real-time mode, each frame out at once."""
        params = f"rc=2:pred-struct=1:rtc=1:lp=1:scd=0:buf-sz={round(self.buffer_s * 1000)}"
        return {"preset": "10", "svtav1-params": params}


CAMERA = Encoding(1_000_000, FPS, 2 * FPS, 1.0)
#: For candidates who send less when they are asked to: smaller pictures, as browsers do. One of
#: full size never takes less than 220 kbit/s.
LOWER = tuple(
    replace(CAMERA, bitrate_bps=bitrate_bps, shrunk=shrunk)
    for bitrate_bps, shrunk in ((500_000, 2), (250_000, 2), (125_000, 4))
)
#: The smaller layers of a simulcast, sized as browsers have them.
LAYERS = (
    replace(CAMERA, bitrate_bps=400_000, shrunk=2),
    replace(CAMERA, bitrate_bps=150_000, shrunk=4),
)
#: Still for the most part; a keyframe of small print is as large as four seconds of the rest.
SCREEN = Encoding(250_000, screen.FPS, 4 * screen.FPS, 4.0)

Samples = NDArray[np.int16]


class Clip(msgspec.Struct, frozen=True):
    """One loop of encoded media."""

    codec: VideoCodec
    #: VP8 or VP9 frames, H.264 access units in Annex B form, or AV1 temporal units (AV1 5.2).
    video: list[bytes]
    keyframes: list[int]  #: indices in `video`; the first is 0
    #: Opus packets of 20 ms, AUDIO_PACKETS_PER_S / FPS times as many; empty: none is sent.
    audio: list[bytes]
    fps: int = FPS

    @property
    def duration_s(self) -> float:
        return len(self.video) / self.fps


class MediaError(Exception):
    """A media file given by the user cannot be used; the text says which and why."""


def default_cache() -> Path:
    """`VIVAVOCE_DATA_DIR`/loadtest-media where that is set, else the user's cache directory."""
    data_dir = os.environ.get("VIVAVOCE_DATA_DIR")
    if data_dir:
        return Path(data_dir) / "loadtest-media"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vivavoce"


def load_clip(
    codec: VideoCodec,
    cache: Path,
    video: Path | None = None,
    audio: Path | None = None,
    dtx: bool = False,
    encoding: Encoding = CAMERA,
) -> Clip:
    """The clip of these files (by default the portrait and the speech), encoded at first use.

    With `dtx` nothing is sent in pauses (RFC 7587 3.1.3). Raises MediaError when a given file
    cannot be decoded.
    """
    settings = f"{video is None} {dtx} {encoding.bitrate_bps} {encoding.shrunk}"
    files = (video or PORTRAIT, audio or SPEECH)
    path = cache / f"{codec}-{_fingerprint(codec, settings, files)}.clip"
    return _cached(path, lambda: _encode_clip(codec, video, audio, dtx, encoding))


def load_screen(codec: VideoCodec, cache: Path) -> Clip:
    """The clip of the shared screen, encoded at first use."""
    path = cache / f"screen-{codec}-{_fingerprint(codec, 'screen', (screen.PAGE,))}.clip"
    return _cached(path, lambda: _encode_screen(codec))


def _cached(path: Path, encode: Callable[[], Clip]) -> Clip:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Clip)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        clip = encode()
    except OSError as error:
        raise MediaError(f"cannot read {path}: {error.strerror}") from error
    try:
        _write_whole(path, msgspec.msgpack.encode(clip))
    except OSError as error:
        raise MediaError(f"cannot write the cache {path.parent}: {error.strerror}") from error
    return clip


def _fingerprint(codec: VideoCodec, settings: str, files: Iterable[Path]) -> str:
    digest = hashlib.sha256(f"{_FORMAT_VERSION} {codec} {settings}".encode())
    for path in files:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise MediaError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()[:16]


def _write_whole(path: Path, content: bytes) -> None:
    """Several load testers may make the same file at once: each reader sees a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


def _encode_clip(
    codec: VideoCodec, video: Path | None, audio: Path | None, dtx: bool, encoding: Encoding
) -> Clip:
    with _naming(audio or SPEECH):
        speech = _decode_audio(audio or SPEECH)
    if video is None:
        pictures = _portrait(speech, min(len(speech) / AUDIO_RATE_HZ, MAX_LOOP_S))
        frames, keyframes = encode_pictures(codec, _ahead(pictures), encoding)
    else:
        with _naming(video):
            frames, keyframes = encode_pictures(codec, _film(video), encoding)
    return Clip(codec, frames, keyframes, encode_sound(speech, len(frames), dtx))


def _encode_screen(codec: VideoCodec) -> Clip:
    pictures = _ahead(screen.Screen().pictures())
    frames, keyframes = encode_pictures(codec, pictures, SCREEN)
    return Clip(codec, frames, keyframes, [], SCREEN.fps)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, IndexError) as error:
        raise MediaError(f"cannot use {path}: {error}") from error


def _decode_audio(path: Path) -> Samples:
    """All of the first audio stream as mono at AUDIO_RATE_HZ."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=AUDIO_RATE_HZ)
    with av.open(str(path)) as container:
        parts = [
            piece.to_ndarray()[0]
            for frame in container.decode(container.streams.audio[0])
            for piece in resampler.resample(frame)
        ]
    parts += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    return np.concatenate(parts).astype(np.int16)


def _portrait(speech: Samples, duration_s: float) -> Iterator[av.VideoFrame]:
    """The moving portrait for `duration_s`, its mouth open as loud as the speech is."""
    scene = Scene()
    count = _whole_loop(duration_s)
    for index, mouth in enumerate(_openness(speech, count)):
        yield scene.picture(index / count, float(mouth))


def _ahead(pictures: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Draws the next picture while the one before is encoded: both let go of the GIL."""
    with ThreadPoolExecutor(1, "scene") as drawing:
        upcoming = drawing.submit(next, pictures, None)
        while (picture := upcoming.result()) is not None:
            upcoming = drawing.submit(next, pictures, None)
            yield picture


def _whole_loop(duration_s: float) -> int:
    """Video frames in the loop, such that a whole number of audio packets lasts as long."""
    return max(1, round(duration_s * 10)) * (FPS // 10)


def _openness(speech: Samples, count: int) -> NDArray[np.float64]:
    """How far the mouth is open (0..1) in each of `count` video frames."""
    per_frame = AUDIO_RATE_HZ // FPS
    padded = np.zeros(count * per_frame)
    part = speech[: len(padded)]
    padded[: len(part)] = part
    level = np.sqrt((padded.reshape(count, per_frame) ** 2).mean(axis=1))
    loud = np.percentile(level, 95) or 1.0
    smooth = np.convolve(level / loud, [0.25, 0.5, 0.25], mode="same")
    return np.clip(smooth, 0, 1)


def _film(path: Path) -> Iterator[av.VideoFrame]:
    """The file's pictures at FPS, scaled to fill WIDTH x HEIGHT, at most MAX_LOOP_S of them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        source = graph.add_buffer(template=stream)
        fps = graph.add("fps", str(FPS))
        cover = f"w={WIDTH}:h={HEIGHT}:force_original_aspect_ratio=increase"
        scale = graph.add("scale", cover)
        crop = graph.add("crop", f"{WIDTH}:{HEIGHT}")
        layout = graph.add("format", "yuv420p")
        graph.link_nodes(source, fps, scale, crop, layout, graph.add("buffersink")).configure()
        pictures = _filtered(graph, container.decode(stream))
        whole = _whole_loop(MAX_LOOP_S)
        yield from itertools.islice(pictures, whole)


def _filtered(graph: av.filter.Graph, pictures: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    for picture in itertools.chain(pictures, [None]):
        graph.vpush(picture)
        with suppress(BlockingIOError, EOFError):
            while True:
                yield graph.vpull()


def encode_pictures(
    codec: VideoCodec, pictures: Iterable[av.VideoFrame], encoding: Encoding = CAMERA
) -> tuple[list[bytes], list[int]]:
    """The encoded frames and the indices of the keyframes among them."""
    encoder = _video_encoder(codec, encoding)
    packets = []
    for index, drawn in enumerate(pictures):
        picture = drawn.reformat(encoder.width, encoder.height)
        picture.pts, picture.time_base = index, encoder.time_base
        # The encoder alone decides about keyframes, not the file that the picture comes from.
        picture.pict_type = av.video.frame.PictureType.NONE
        packets += encode(encoder, picture)
    packets += encode(encoder, None)
    usable = len(packets) // (encoding.fps // 10) * (encoding.fps // 10)  # see _whole_loop
    packets = packets[:usable]
    keyframes = [index for index, packet in enumerate(packets) if packet.is_keyframe]
    return [bytes(packet) for packet in packets], keyframes


def _video_encoder(codec: VideoCodec, encoding: Encoding) -> VideoCodecContext:
    match codec:
        case "h264":
            name, options = "libx264", encoding.x264()
        case "vp8":
            name, options = "libvpx", encoding.libvpx()
        case "vp9":
            name, options = "libvpx-vp9", encoding.libvpx_vp9()
        case "av1":
            name, options = "libsvtav1", encoding.svtav1()
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height = WIDTH // encoding.shrunk, HEIGHT // encoding.shrunk
    encoder.pix_fmt = "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, encoding.fps), Fraction(encoding.fps)
    encoder.bit_rate, encoder.gop_size = encoding.bitrate_bps, encoding.keyframe_interval
    # libvpx's threads wait for each other in a spin: on a busy machine that multiplies the cost.
    encoder.thread_count = 1
    encoder.options = options
    open_like_others(encoder)
    return encoder


def encode_sound(speech: Samples, video_frames: int, dtx: bool = False) -> list[bytes]:
    """Opus packets that last as long as `video_frames`, silent where the speech is shorter.

    With `dtx` those that would not be sent are empty.
    """
    count = video_frames * AUDIO_PACKETS_PER_S // FPS
    samples = np.zeros(count * _SAMPLES_PER_PACKET, np.int16)
    samples[: len(speech)] = speech[: len(samples)]
    encoder = _audio_encoder()
    packets = []
    for index, part in enumerate(samples.reshape(count, 1, _SAMPLES_PER_PACKET)):
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate, frame.pts = AUDIO_RATE_HZ, index * _SAMPLES_PER_PACKET
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    loud = np.abs(samples.reshape(count, -1)).max(axis=1) > SILENCE
    sent = transmitted(loud) if dtx else itertools.repeat(True, count)
    return [
        bytes(packet) if is_sent else b"" for packet, is_sent in zip(packets, sent, strict=False)
    ]


def transmitted(loud: Iterable[bool]) -> Iterator[bool]:
    """Which packets of 20 ms leave, as libopus has it: in a pause, after 200 ms, every 20th."""
    quiet = 0
    for is_loud in loud:
        quiet = 0 if is_loud else quiet + 1
        yield quiet <= DTX_AFTER or (quiet - DTX_AFTER) % DTX_REFRESH == 0


def _audio_encoder() -> AudioCodecContext:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = AUDIO_RATE_HZ, "mono", "s16"
    encoder.bit_rate, encoder.time_base = AUDIO_BITRATE_BPS, Fraction(1, AUDIO_RATE_HZ)
    encoder.options = {"application": "voip", "frame_duration": "20"}
    return encoder
