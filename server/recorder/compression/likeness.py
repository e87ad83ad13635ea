"""How near pictures that were encoded anew come to what they are made of.

Only for a process that decodes.
"""

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from math import inf

import av
import av.filter
import numpy as np
from av.filter.context import FilterContext
from numpy.typing import NDArray

from server.recorder.compression.detail import detail_left
from server.recorder.compression.information import information_left
from server.recorder.compression.recode_job import Quality
from server.recorder.compression.vmaf import Parts, vmaf

#: Of what is encoded and compared: with ten bits the encoder rounds less, which is worth a fifth
#: of the bits, also where the source has eight.
LAYOUT = "yuv420p10le"
_LEVELS = np.float32(4)  # of it in one of eight bits
_STEP = Fraction(1, 90_000)
#: Of each fragment every so many pictures are looked at closely; odd, as encoders spend more on
#: every second, fourth and eighth.
CLOSELY_EVERY = 5
_MOST_DB = 100.0  # of a picture that is the same
_XPSNR = "lavfi.xpsnr.xpsnr.y"
_MOTION = "lavfi.vmafmotion.score"


class _Fragment:
    """What is known of a fragment's pictures."""

    def __init__(self) -> None:
        self.details: list[float] = []
        self.quarters: list[float] = []
        self.eighths: list[float] = []
        self.motions: list[float] = []
        self.decibels: list[float] = []

    @property
    def quality(self) -> Quality:
        parts = Parts(*map(_mean, (self.details, self.quarters, self.eighths, self.motions)))
        return Quality(vmaf(parts), _mean(self.decibels))


class Likeness:
    """What was made is decoded, and each picture held against its source.

    Give each picture's source before what was made of it, then :meth:`finish`.
    """

    def __init__(self, width: int, height: int) -> None:
        decoder = av.CodecContext.create("libdav1d", "r")
        assert isinstance(decoder, av.VideoCodecContext)
        self._decoder = decoder
        self._sources: deque[tuple[_Fragment, bool, av.VideoFrame]] = deque()
        self._motion = _Motion(width, height)
        self._xpsnr = _Xpsnr(width, height)
        self._fragments: list[_Fragment] = []
        self._in_fragment = 0

    def begin_fragment(self) -> None:
        """What is given from now on belongs together."""
        self._in_fragment = 0

    def add_source(self, frame: av.VideoFrame) -> None:
        if self._in_fragment == 0:
            self._fragments.append(_Fragment())
        fragment = self._fragments[-1]
        self._sources.append((fragment, self._in_fragment % CLOSELY_EVERY == 0, frame))
        self._in_fragment += 1
        self._motion.add(fragment, frame)

    def add_made(self, data: bytes) -> None:
        self._compare(self._decoder.decode(av.Packet(data)))

    def finish(self) -> tuple[Quality, ...]:
        """Of each fragment that has pictures.

        ValueError if what was made can't be decoded.
        """
        self._compare(self._decoder.decode(None))
        self._motion.finish()
        self._xpsnr.finish()
        if self._sources or not self._fragments:
            raise ValueError("what was made does not decode")
        return tuple(each.quality for each in self._fragments)

    def _compare(self, frames: Iterable[av.VideoFrame]) -> None:
        for frame in frames:
            fragment, closely, source = self._sources.popleft()
            if closely:
                own, made = _luma(source), _luma(frame)
                fragment.details.append(detail_left(own, made))
                quarter, eighth = information_left(own, made)
                fragment.quarters.append(quarter)
                fragment.eighths.append(eighth)
            self._xpsnr.compare(fragment, frame, source)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _luma(frame: av.VideoFrame) -> NDArray[np.float32]:
    """In levels of eight bits."""
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)
    return luma[:, : plane.width].astype(np.float32) / _LEVELS


class _Motion:
    """FFmpeg's filter: how much a picture differs from the one before, as VMAF counts it."""

    def __init__(self, width: int, height: int) -> None:
        self._graph = av.filter.Graph()
        self._source = _buffer(self._graph, width, height)
        motion, self._sink = self._graph.add("vmafmotion"), self._graph.add("buffersink")
        self._source.link_to(motion)
        motion.link_to(self._sink)
        self._graph.configure()
        self._given = 0
        self._last: tuple[_Fragment, float] | None = None

    def add(self, fragment: _Fragment, frame: av.VideoFrame) -> None:
        frame.pts, frame.time_base = self._given, _STEP
        self._given += 1
        self._source.push(frame)
        motion = float(self._sink.pull().metadata[_MOTION])
        self._tell(motion)
        self._last = fragment, motion

    def finish(self) -> None:
        self._tell(inf)

    def _tell(self, following: float) -> None:
        """VMAF counts the smaller of the motions before and after a picture."""
        if self._last is not None:
            fragment, motion = self._last
            fragment.motions.append(min(motion, following))


class _Xpsnr:
    """FFmpeg's filter (Helmrich et al., ICASSP 2020): what the eye sees of an error, in dB."""

    def __init__(self, width: int, height: int) -> None:
        self._graph = av.filter.Graph()
        self._made, self._source = (_buffer(self._graph, width, height) for _ in range(2))
        xpsnr, self._sink = self._graph.add("xpsnr"), self._graph.add("buffersink")
        self._made.link_to(xpsnr, 0, 0)
        self._source.link_to(xpsnr, 0, 1)
        xpsnr.link_to(self._sink)
        self._graph.configure()
        self._given = 0
        self._waiting: deque[_Fragment] = deque()

    def compare(self, fragment: _Fragment, made: av.VideoFrame, source: av.VideoFrame) -> None:
        for frame, into in ((made, self._made), (source, self._source)):
            frame.pts, frame.time_base = self._given, _STEP
            into.push(frame)
        self._given += 1
        self._waiting.append(fragment)
        self._take()

    def finish(self) -> None:
        self._made.push(None)
        self._source.push(None)
        self._take()

    def _take(self) -> None:
        """What is known by now."""
        with suppress(BlockingIOError, EOFError):
            while True:
                said = self._sink.pull().metadata[_XPSNR]
                self._waiting.popleft().decibels.append(min(float(said), _MOST_DB))


def _buffer(graph: av.filter.Graph, width: int, height: int) -> FilterContext:
    layout = av.VideoFormat(LAYOUT)
    return graph.add_buffer(width=width, height=height, format=layout, time_base=_STEP)
