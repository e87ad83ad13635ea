"""Pictures encoded anew as AV1, and held against what they are made of.

Only for a process of its own: it decodes and encodes. SVT-AV1 holds some fifty pictures to see
what is coming; so many are in memory, whatever the length of what is encoded.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import Any

import av
from av.video.frame import PictureType

from server.recorder.compression.likeness import LAYOUT, Likeness
from server.recorder.compression.recode_job import Begin, Coded, Made, Pictures
from server.recorder.decoders import picture_decoder
from server.recorder.format.tracks import VideoConfig

#: Of SVT-AV1, 0 to 13. docs/decisions/recorder-compression.md has what each costs and gives.
PRESET = 6
_THOROUGH_PRESET = 4
#: Mini-GOPs of eight pictures, as faces hardly move; detail that is weak counts for more than the
#: error alone says, and less of it is filtered away.
_SETTINGS = "lp=1:hierarchical-levels=3:ac-bias=1.0:tf-strength=1"
#: The pictures of a mini-GOP are more alike in quality: where noise is to be kept, less of it is
#: lost by those that come last.
_THOROUGH_SETTINGS = f"{_SETTINGS}:qp-scale-compress-strength=2"
#: FFmpeg's filter of XPSNR crashes on smaller sides.
LEAST_PIXELS = 64
#: Only where they are asked for; the encoder's own would be every few seconds.
_NO_KEYFRAMES = 1 << 20
#: AV1 5.6: what an encoder puts before each temporal unit, and files leave out.
_TEMPORAL_DELIMITER = b"\x12\x00"
_STEP = Fraction(1, 90_000)
#: Opened now: a process that is shut in opens nothing.
_THREADS = os.open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY)


class RecodeError(Exception):
    """The encoder does not take these pictures, or does not give one back for each."""


class Recoding:
    """One track's pictures in one segment: give them, then :meth:`finish`. RecodeError."""

    def __init__(self, begin: Begin, decoding: "Decoding") -> None:
        self._decoding = decoding
        self._size = begin.width, begin.height
        if min(self._size) < LEAST_PIXELS:
            raise RecodeError(f"{begin.width}x{begin.height} is too small to be measured")
        with _refused(*self._size):
            self._encoder = _open_encoder(*self._size, _options(begin))
            self._likeness = Likeness(*self._size)
        self._waiting: deque[int] = deque()  # the encoder has these pictures
        self._given = 0  # to be shown
        self._made: list[Coded] = []

    def add(self, pictures: Pictures) -> None:
        """A fragment's."""
        keyframe = pictures.keyframe
        self._likeness.begin_fragment()
        for frame in self._decoding.decode(pictures.video, pictures.data):
            if not pictures.shown:
                continue
            if frame is not None:
                self._encode(frame, keyframe)
                keyframe = False
            self._given += 1

    def finish(self) -> Made:
        with _refused(*self._size):
            self._take(self._encoder.encode(None))
        if self._waiting:
            raise RecodeError("the encoder did not give back every picture")
        if not self._made:
            return Made((), ())
        try:
            return Made(tuple(self._made), self._likeness.finish())
        except ValueError as error:
            raise RecodeError(str(error)) from error

    def _encode(self, decoded: av.VideoFrame, keyframe: bool) -> None:
        with _refused(*self._size):
            frame = decoded.reformat(*self._size, LAYOUT)
            self._likeness.add_source(frame)
            frame.pts, frame.time_base = self._given, _STEP
            frame.pict_type = PictureType.I if keyframe else PictureType.NONE
            self._waiting.append(self._given)
            self._take(self._encoder.encode(frame))

    def _take(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            if not self._waiting:
                raise RecodeError("the encoder made more pictures than it got")
            data = bytes(packet).removeprefix(_TEMPORAL_DELIMITER)
            self._made.append(Coded(self._waiting.popleft(), packet.is_keyframe, data))
            self._likeness.add_made(data)


@contextmanager
def _refused(width: int, height: int) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        raise RecodeError(f"{width}x{height} is not encoded: {error.strerror}") from error


def _options(begin: Begin) -> dict[str, str]:
    preset, settings = PRESET, _SETTINGS
    if begin.thorough:
        preset, settings = _THOROUGH_PRESET, _THOROUGH_SETTINGS
    return {"preset": str(preset), "crf": str(begin.crf), "svtav1-params": settings}


def _open_encoder(width: int, height: int, options: dict[str, str]) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libsvtav1", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, LAYOUT
    encoder.time_base, encoder.framerate = _STEP, Fraction(30)
    encoder.gop_size = _NO_KEYFRAMES
    encoder.options = options
    os.environ.setdefault("SVT_LOG", "1")  # errors alone; else it tells its life on stderr
    policy = os.sched_getscheduler(0)
    encoder.open()
    _schedule(policy)
    return encoder


def _schedule(policy: int) -> None:
    """Run by root, `svt_av1_enc_init` makes its caller real-time, and so all that it starts."""
    for thread in os.listdir(_THREADS):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            if os.sched_getscheduler(int(thread)) != policy:
                os.sched_setscheduler(int(thread), policy, os.sched_param(0))


class Decoding:
    """Decodes the pictures of one track in order; what can't be decoded shows the one before."""

    def __init__(self) -> None:
        self._video: VideoConfig | None = None
        self._decoder: av.VideoCodecContext | None = None
        self._frame: av.VideoFrame | None = None

    def decode(
        self, video: VideoConfig, pictures: Iterable[bytes]
    ) -> Iterator[av.VideoFrame | None]:
        """One for each; None before the first that can be decoded."""
        if video != self._video:
            self._video, self._decoder = video, picture_decoder(video)
        for data in pictures:
            self._frame = self._decode(data) or self._frame
            yield self._frame

    def _decode(self, data: bytes) -> av.VideoFrame | None:
        assert self._decoder is not None
        try:
            frames = self._decoder.decode(av.Packet(data))
        except av.error.InvalidDataError:
            return None
        return frames[-1] if frames else None
