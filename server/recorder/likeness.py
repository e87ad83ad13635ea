"""How near pictures that were encoded anew come to what they are made of.

Only for a process that decodes.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction

import av
import av.filter

from server.recorder.recode_job import Quality
from server.recorder.vmaf import Measures, least_vmaf

_STEP = Fraction(1, 90_000)
#: VIF costs as much as to encode a picture: of each fragment so many are measured by it.
VIF_EVERY = 6
_MOST_DB = 100.0  # of a picture that is the same
_XPSNR, _SSIM = "lavfi.xpsnr.xpsnr.y", "lavfi.ssim.Y"
_VIF = tuple(f"lavfi.vif.scale.{scale}" for scale in range(4))


class Likeness:
    """What was made is decoded, and each picture held against its source.

    Give each picture's source before what was made of it, then :meth:`finish`.
    """

    def __init__(self, width: int, height: int) -> None:
        decoder = av.CodecContext.create("libdav1d", "r")
        assert isinstance(decoder, av.VideoCodecContext)
        self._decoder = decoder
        self._sources: deque[tuple[int, bool, av.VideoFrame]] = deque()
        self._all = _Filters(width, height, ("xpsnr", "ssim"))
        self._some = _Filters(width, height, ("vif",))
        self._fragment = self._in_fragment = -1
        self._measured: defaultdict[int, _Sums] = defaultdict(_Sums)

    def begin_fragment(self) -> None:
        """What is given from now on belongs together."""
        self._fragment, self._in_fragment = self._fragment + 1, 0

    def add_source(self, frame: av.VideoFrame) -> None:
        some = self._in_fragment % VIF_EVERY == 0
        self._sources.append((self._fragment, some, frame))
        self._in_fragment += 1

    def add_made(self, data: bytes) -> None:
        self._compare(self._decoder.decode(av.Packet(data)))

    def finish(self) -> tuple[Quality, ...]:
        """Of each fragment that has pictures.

        ValueError if what was made can't be decoded.
        """
        self._compare(self._decoder.decode(None))
        for filters in (self._all, self._some):
            self._add(filters.finish())
        if self._sources or not self._measured:
            raise ValueError("what was made does not decode")
        return tuple(sums.quality() for _, sums in sorted(self._measured.items()))

    def _compare(self, frames: Iterable[av.VideoFrame]) -> None:
        for frame in frames:
            fragment, some, source = self._sources.popleft()
            self._add(self._all.compare(fragment, frame, source))
            if some:
                self._add(self._some.compare(fragment, frame, source))

    def _add(self, measured: Iterable[tuple[int, dict[str, float]]]) -> None:
        for fragment, values in measured:
            self._measured[fragment].add(values)


class _Sums:
    """Of a fragment's pictures, by measure."""

    def __init__(self) -> None:
        self._values: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._values[name].append(value)

    def quality(self) -> Quality:
        means = {name: sum(each) / len(each) for name, each in self._values.items()}
        measures = Measures(means[_XPSNR], means[_SSIM], *(means[name] for name in _VIF))
        return Quality(least_vmaf(measures), measures.xpsnr_db)


class _Filters:
    """A chain of FFmpeg's filters that each compare two films, and hand the first one on."""

    def __init__(self, width: int, height: int, names: Sequence[str]) -> None:
        self._graph = av.filter.Graph()
        self._made, self._source = (
            self._graph.add_buffer(
                width=width, height=height, format=av.VideoFormat("yuv420p"), time_base=_STEP
            )
            for _ in range(2)
        )
        copies = self._graph.add("split", str(len(names)))
        self._source.link_to(copies)
        last = self._made
        for index, name in enumerate(names):
            compared = self._graph.add(name)
            last.link_to(compared, 0, 0)
            copies.link_to(compared, index, 1)
            last = compared
        self._sink = self._graph.add("buffersink")
        last.link_to(self._sink)
        self._graph.configure()
        self._given = 0
        self._waiting: deque[int] = deque()  # their fragments

    def compare(
        self, fragment: int, made: av.VideoFrame, source: av.VideoFrame
    ) -> Iterator[tuple[int, dict[str, float]]]:
        """What is known by now, each picture's fragment before it."""
        for frame, into in ((made, self._made), (source, self._source)):
            frame.pts, frame.time_base = self._given, _STEP
            into.push(frame)
        self._given += 1
        self._waiting.append(fragment)
        yield from self._measured()

    def finish(self) -> Iterator[tuple[int, dict[str, float]]]:
        if self._waiting:
            self._made.push(None)
            self._source.push(None)
            yield from self._measured()

    def _measured(self) -> Iterator[tuple[int, dict[str, float]]]:
        with suppress(BlockingIOError, EOFError):
            while True:
                said = self._sink.pull().metadata
                values = {
                    name: min(float(said[name]), _MOST_DB)
                    for name in (_XPSNR, _SSIM, *_VIF)
                    if name in said
                }
                yield self._waiting.popleft(), values
