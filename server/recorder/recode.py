"""Pictures encoded anew as AV1, each at its own time, and measured against what they are made of.

Only for a process of its own: it decodes and encodes. SVT-AV1 holds some fifty pictures to see
what is coming; so many are in memory, whatever the length of what is encoded.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.filter
from av.video.frame import PictureType

from server.core import av1
from server.core.frames import Codec
from server.recorder.decoders import picture_decoder
from server.recorder.tracks import Sample, VideoConfig

#: Of SVT-AV1, 0 to 13: a quarter fewer bits than 8 at the same quality, for twice the work.
PRESET = 6
#: Only where they are asked for; the encoder's own would be every few seconds.
_NO_KEYFRAMES = 1 << 20
_THREADS = Path("/proc/self/task")
#: AV1 5.6: what an encoder puts before each temporal unit, and files leave out.
_TEMPORAL_DELIMITER = b"\x12\x00"
_STEP = Fraction(1, 90_000)
_MOST_DB = 100.0  # of a picture that is the same


class RecodeError(Exception):
    """The encoder does not take these pictures, or does not give one back for each."""


class Picture(NamedTuple):
    """One to encode: as a keyframe where ``keyframe`` says so, and where it is the first."""

    sample: Sample  #: whose time it keeps
    frame: av.VideoFrame
    keyframe: bool


@dataclass(frozen=True, slots=True)
class Recoded:
    """What became of some pictures of a track, in their order."""

    video: VideoConfig
    samples: tuple[Sample, ...]
    xpsnr_db: float  #: of the luma against the source, the mean over all pictures


def recode(pictures: Iterable[Picture], video: VideoConfig, crf: int) -> Recoded:
    """As AV1 with this constant rate factor. At least one picture; RecodeError."""
    # 4:2:0 is encoded in even sizes.
    width, height = max(2, video.width // 2 * 2), max(2, video.height // 2 * 2)
    try:
        return _recode(pictures, width, height, crf)
    except av.FFmpegError as error:
        raise RecodeError(f"{width}x{height} is not encoded: {error.strerror}") from error


def _recode(pictures: Iterable[Picture], width: int, height: int, crf: int) -> Recoded:
    encoder = _open_encoder(width, height, crf)
    comparison = _Comparison(width, height)
    waiting: deque[Sample] = deque()
    made: list[Sample] = []

    def take(packets: Iterable[Any]) -> None:
        for packet in packets:
            if not waiting:
                raise RecodeError("the encoder made more pictures than it got")
            sample = waiting.popleft()
            data = bytes(packet).removeprefix(_TEMPORAL_DELIMITER)
            made.append(Sample(sample.time, sample.duration, packet.is_keyframe, data))
            comparison.add_made(data)

    for index, picture in enumerate(pictures):
        frame = picture.frame.reformat(width, height, "yuv420p")
        comparison.add_source(frame)
        frame.pts, frame.time_base = index, _STEP
        frame.pict_type = PictureType.I if picture.keyframe else PictureType.NONE
        waiting.append(picture.sample)
        take(encoder.encode(frame))
    take(encoder.encode(None))
    if waiting or not made:
        raise RecodeError("the encoder did not give back every picture")
    return Recoded(_config(made[0].data), tuple(made), comparison.finish())


def _config(keyframe: bytes) -> VideoConfig:
    sequence = av1.sequence_header(keyframe)
    if sequence is None:
        raise RecodeError("the encoder did not begin with a keyframe")
    header = av1.parse_sequence_header(sequence)
    return VideoConfig(Codec.AV1, header.width, header.height, av1.configuration(sequence))


def _open_encoder(width: int, height: int, crf: int) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libsvtav1", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = _STEP, Fraction(30)
    encoder.gop_size = _NO_KEYFRAMES
    encoder.options = {"preset": str(PRESET), "crf": str(crf), "svtav1-params": "lp=1"}
    os.environ.setdefault("SVT_LOG", "1")  # errors alone; else it tells its life on stderr
    policy = os.sched_getscheduler(0)
    encoder.open()
    _schedule(policy)
    return encoder


def _schedule(policy: int) -> None:
    """Run by root, `svt_av1_enc_init` makes its caller real-time, and so all that it starts."""
    for thread in _THREADS.iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            if os.sched_getscheduler(int(thread.name)) != policy:
                os.sched_setscheduler(int(thread.name), policy, os.sched_param(0))


class _Comparison:
    """What was made is decoded and held against what it was made of.

    By XPSNR (Helmrich et al., ICASSP 2020): what the eye sees of an error, in dB.
    """

    def __init__(self, width: int, height: int) -> None:
        decoder = av.CodecContext.create("libdav1d", "r")
        assert isinstance(decoder, av.VideoCodecContext)
        self._decoder = decoder
        self._sources: deque[av.VideoFrame] = deque()
        self._graph = av.filter.Graph()
        made, source = (
            self._graph.add_buffer(
                width=width, height=height, format=av.VideoFormat("yuv420p"), time_base=_STEP
            )
            for _ in range(2)
        )
        xpsnr, sink = self._graph.add("xpsnr"), self._graph.add("buffersink")
        made.link_to(xpsnr, 0, 0)
        source.link_to(xpsnr, 0, 1)
        xpsnr.link_to(sink)
        self._graph.configure()
        self._made, self._source, self._sink = made, source, sink
        self._given = self._compared = 0
        self._sum_db = 0.0

    def add_source(self, frame: av.VideoFrame) -> None:
        self._sources.append(frame)

    def add_made(self, data: bytes) -> None:
        self._compare(self._decoder.decode(av.Packet(data)))

    def finish(self) -> float:
        """The mean in dB. RecodeError if what was made can't be decoded."""
        self._compare(self._decoder.decode(None))
        self._made.push(None)
        self._source.push(None)
        self._pull()
        if self._sources or not self._compared:
            raise RecodeError("what was made does not decode")
        return self._sum_db / self._compared

    def _compare(self, frames: Iterable[av.VideoFrame]) -> None:
        for frame in frames:
            source = self._sources.popleft()
            for each, into in ((frame, self._made), (source, self._source)):
                each.pts, each.time_base = self._given, _STEP
                into.push(each)
            self._given += 1
            self._pull()

    def _pull(self) -> None:
        with suppress(BlockingIOError, EOFError):
            while True:
                said = self._sink.pull().metadata["lavfi.xpsnr.xpsnr.y"]
                self._sum_db += min(float(said), _MOST_DB)
                self._compared += 1


class Decoding:
    """Decodes the pictures of one track in order; what can't be decoded shows the one before."""

    def __init__(self) -> None:
        self._video: VideoConfig | None = None
        self._decoder: av.VideoCodecContext | None = None
        self._frame: av.VideoFrame | None = None

    def decode(
        self, video: VideoConfig, samples: tuple[Sample, ...]
    ) -> Iterator[tuple[Sample, av.VideoFrame]]:
        """Without those before the first that can be decoded."""
        if samples and video != self._video:
            self._video, self._decoder = video, picture_decoder(video)
        for sample in samples:
            self._frame = self._decode(sample) or self._frame
            if self._frame is not None:
                yield sample, self._frame

    def _decode(self, sample: Sample) -> av.VideoFrame | None:
        assert self._decoder is not None
        try:
            frames = self._decoder.decode(av.Packet(sample.data))
        except av.error.InvalidDataError:
            return None
        return frames[-1] if frames else None
