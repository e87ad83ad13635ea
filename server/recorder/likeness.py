"""How near pictures that were encoded anew come to what they are made of.

Only for a process that decodes.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

from server.recorder.detail import detail_left, least_vmaf
from server.recorder.recode_job import Quality

_STEP = Fraction(1, 90_000)
#: Of each fragment so many are looked at for their detail; odd, as encoders spend more on every
#: second, fourth and eighth picture.
DETAIL_EVERY = 3
_MOST_DB = 100.0  # of a picture that is the same
_XPSNR = "lavfi.xpsnr.xpsnr.y"


class Likeness:
    """What was made is decoded, and each picture held against its source.

    Give each picture's source before what was made of it, then :meth:`finish`.
    """

    def __init__(self, width: int, height: int) -> None:
        decoder = av.CodecContext.create("libdav1d", "r")
        assert isinstance(decoder, av.VideoCodecContext)
        self._decoder = decoder
        self._sources: deque[tuple[int, bool, av.VideoFrame]] = deque()
        self._xpsnr = _Xpsnr(width, height)
        self._fragment = self._in_fragment = -1
        self._details: defaultdict[int, list[float]] = defaultdict(list)
        self._decibels: defaultdict[int, list[float]] = defaultdict(list)

    def begin_fragment(self) -> None:
        """What is given from now on belongs together."""
        self._fragment, self._in_fragment = self._fragment + 1, 0

    def add_source(self, frame: av.VideoFrame) -> None:
        detailed = self._in_fragment % DETAIL_EVERY == 0
        self._sources.append((self._fragment, detailed, frame))
        self._in_fragment += 1

    def add_made(self, data: bytes) -> None:
        self._compare(self._decoder.decode(av.Packet(data)))

    def finish(self) -> tuple[Quality, ...]:
        """Of each fragment that has pictures.

        ValueError if what was made can't be decoded.
        """
        self._compare(self._decoder.decode(None))
        self._add(self._xpsnr.finish())
        if self._sources or not self._decibels:
            raise ValueError("what was made does not decode")
        return tuple(
            Quality(least_vmaf(_mean(self._details[each])), _mean(self._decibels[each]))
            for each in sorted(self._decibels)
        )

    def _compare(self, frames: Iterable[av.VideoFrame]) -> None:
        for frame in frames:
            fragment, detailed, source = self._sources.popleft()
            if detailed:
                self._details[fragment].append(detail_left(_luma(source), _luma(frame)))
            self._add(self._xpsnr.compare(fragment, frame, source))

    def _add(self, measured: Iterable[tuple[int, float]]) -> None:
        for fragment, decibels in measured:
            self._decibels[fragment].append(decibels)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _luma(frame: av.VideoFrame) -> NDArray[np.uint8]:
    plane = frame.planes[0]
    luma: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8)
    return luma.reshape(plane.height, plane.line_size)[:, : plane.width]


class _Xpsnr:
    """FFmpeg's filter (Helmrich et al., ICASSP 2020): what the eye sees of an error, in dB."""

    def __init__(self, width: int, height: int) -> None:
        self._graph = av.filter.Graph()
        self._made, self._source = (
            self._graph.add_buffer(
                width=width, height=height, format=av.VideoFormat("yuv420p"), time_base=_STEP
            )
            for _ in range(2)
        )
        xpsnr, self._sink = self._graph.add("xpsnr"), self._graph.add("buffersink")
        self._made.link_to(xpsnr, 0, 0)
        self._source.link_to(xpsnr, 0, 1)
        xpsnr.link_to(self._sink)
        self._graph.configure()
        self._given = 0
        self._waiting: deque[int] = deque()  # their fragments

    def compare(
        self, fragment: int, made: av.VideoFrame, source: av.VideoFrame
    ) -> Iterator[tuple[int, float]]:
        """What is known by now, each picture's fragment before it."""
        for frame, into in ((made, self._made), (source, self._source)):
            frame.pts, frame.time_base = self._given, _STEP
            into.push(frame)
        self._given += 1
        self._waiting.append(fragment)
        yield from self._measured()

    def finish(self) -> Iterator[tuple[int, float]]:
        self._made.push(None)
        self._source.push(None)
        yield from self._measured()

    def _measured(self) -> Iterator[tuple[int, float]]:
        with suppress(BlockingIOError, EOFError):
            while True:
                said = self._sink.pull().metadata[_XPSNR]
                yield self._waiting.popleft(), min(float(said), _MOST_DB)
