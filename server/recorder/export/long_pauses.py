"""A recording without the hours in which nothing of it was recorded, for what exports it.

An interview may go on the next day, by the same links. An MP4 file has no place for such a step
between two pictures (`movie.LONGEST_STEP`), and nobody wants a day of silence. Of so long a pause
a few seconds stay, and what follows moves up; the file tells by chapters when it was recorded.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple, Protocol

from server.core.frames import TrackName
from server.recorder.format.tracks import Fragment, Sample, Tracks, to_ticks

#: A longer pause is cut; hours apart nobody waits for what comes.
LONGEST_PAUSE_US = 3_600_000_000
#: What stays of it: to be noticed, and more than sound may come late (`MAX_SOUND_BEHIND_US`).
LEFT_US = 10_000_000


class Chapter(NamedTuple):
    """What lies between two cuts; ``began_us`` is the Unix time at which it was recorded."""

    start_us: int  #: in the file
    began_us: int


class Source(Protocol):
    """What may have long pauses; times are microseconds since its start."""

    @property
    def began_us(self) -> int:
        """The Unix time of its start."""

    @property
    def duration_us(self) -> int: ...
    @property
    def recorded_tracks(self) -> tuple[Tracks, ...]: ...
    def __len__(self) -> int: ...
    def span_us(self, index: int) -> tuple[int, int]:
        """From when to when the fragment at ``index`` lasts."""

    def all_samples(self) -> Iterator[tuple[Tracks, Fragment]]: ...


class WithoutLongPauses:
    """The source, with times of its own."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.recorded_tracks = source.recorded_tracks
        #: Before which fragment something is cut (as many as there are: at the end), and what.
        cuts = list(_cuts(source))
        self._before = [index for index, _ in cuts]
        self._earlier_us = [0, *accumulate(by_us for _, by_us in cuts)]
        self.duration_us = source.duration_us - self._earlier_us[-1]

    def __len__(self) -> int:
        return len(self._source)

    def all_samples(self) -> Iterator[tuple[Tracks, Fragment]]:
        for index, (tracks, fragment) in enumerate(self._source.all_samples()):
            by_us = self._earlier_us[bisect_right(self._before, index)]
            yield tracks, _earlier(fragment, by_us) if by_us else fragment

    def chapters(self) -> list[Chapter]:
        """None where nothing is cut."""
        began_us = self._source.began_us
        found = [Chapter(0, began_us)] if self._before else []
        for index, by_us in zip(self._before, self._earlier_us[1:], strict=True):
            if index < len(self):
                start_us, _ = self._source.span_us(index)
                found.append(Chapter(start_us - by_us, began_us + start_us))
        return found


def _cuts(source: Source) -> Iterator[tuple[int, int]]:
    ended_us = 0
    for index in range(len(source)):
        start_us, end_us = source.span_us(index)
        if start_us - ended_us > LONGEST_PAUSE_US:
            yield index, start_us - ended_us - LEFT_US
        ended_us = max(ended_us, end_us)
    if source.duration_us - ended_us > LONGEST_PAUSE_US:
        yield len(source), source.duration_us - ended_us - LEFT_US


def _earlier(fragment: Fragment, by_us: int) -> Fragment:
    return Fragment(*(_moved(name, by_us, samples) for name, samples in fragment.by_track()))


def _moved(name: TrackName, by_us: int, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    ticks = to_ticks(name, by_us)
    return tuple(sample._replace(time=sample.time - ticks) for sample in samples)
