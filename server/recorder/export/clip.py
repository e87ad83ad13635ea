"""Part of a recording as a recording of its own, for what exports it."""

from collections.abc import Iterator

from server.core.frames import TrackName
from server.recorder.format.sealing import Flags
from server.recorder.format.tracks import VISIT_STILL_US, Fragment, Sample, Tracks, to_ticks
from server.recorder.replay.reader import RecordingReader

#: By track: what says that a fragment has pictures of it, and that one of them is a keyframe.
_PICTURES = {
    TrackName.CAMERA: (Flags.VIDEO, Flags.KEYFRAME),
    TrackName.SCREEN: (Flags.SCREEN, Flags.SCREEN_KEYFRAME),
    TrackName.INTERVIEWER_CAMERA: (Flags.INTERVIEWER_VIDEO, Flags.INTERVIEWER_KEYFRAME),
}
#: A clip may begin without a picture for so long, if it then needs nothing of before.
_LATE_US = 100_000


class Clip:
    """From ``start_us`` to ``end_us`` since the recording's start; its own times begin at 0.

    Samples before 0 are what a decoder needs to show the first picture: they are not to be shown
    or heard themselves.
    """

    def __init__(self, reader: RecordingReader, start_us: int, end_us: int) -> None:
        """ValueError unless there is something between the two."""
        self.path = reader.path
        self._reader, self._start_us = reader, start_us
        self._end_us = min(end_us, reader.duration_us)
        first = next(fragments_between(reader, start_us, self._end_us), None)
        if first is None:
            raise ValueError("the recording has nothing there")
        *_, last = fragments_between(reader, start_us, self._end_us)
        self._indices = range(_decodes_from(reader, first, start_us), last + 1)

    @property
    def began_us(self) -> int:
        return self._reader.began_us + self._start_us

    @property
    def duration_us(self) -> int:
        return self._end_us - self._start_us

    @property
    def recorded_tracks(self) -> tuple[Tracks, ...]:
        """As `RecordingReader.recorded_tracks`."""
        return tuple(dict.fromkeys(self._reader.tracks(index) for index in self._indices))

    def __len__(self) -> int:
        return len(self._indices)

    def span_us(self, index: int) -> tuple[int, int]:
        start_us, end_us = self._reader.span_us(self._indices[index])
        return start_us - self._start_us, min(end_us, self._end_us) - self._start_us

    def all_samples(self) -> Iterator[tuple[Tracks, Fragment]]:
        """As `RecordingReader.all_samples`."""
        for index in self._indices:
            yield self._reader.tracks(index), self._moved(self._reader.samples(index))

    def _moved(self, fragment: Fragment) -> Fragment:
        moved = {name: self._cut(name, samples) for name, samples in fragment.by_track()}
        return Fragment(*(moved[name] for name in TrackName))

    def _cut(self, name: TrackName, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        start, end = to_ticks(name, self._start_us), to_ticks(name, self._end_us)
        return tuple(
            sample._replace(time=sample.time - start) for sample in samples if sample.time < end
        )


def fragments_between(reader: RecordingReader, start_us: int, end_us: int) -> Iterator[int]:
    """The indices of those that have something of that time."""
    for index in range(len(reader)):
        header = reader.header(index)
        if header.end_us > start_us and header.start_us < end_us:
            yield index


def _decodes_from(reader: RecordingReader, index: int, start_us: int) -> int:
    """The fragment with which decoding begins, so that that at ``index`` has all its pictures."""
    fragment = dict(reader.samples(index).by_track())
    return min(
        index
        if _begins_by_itself(track, fragment[track], start_us)
        else _keyframe_before(reader, index, *flags)
        for track, flags in _PICTURES.items()
    )


def _begins_by_itself(track: TrackName, samples: tuple[Sample, ...], start_us: int) -> bool:
    late = to_ticks(track, start_us + _LATE_US)
    return bool(samples) and samples[0].keyframe and samples[0].time <= late


def _keyframe_before(reader: RecordingReader, index: int, pictures: Flags, keyframe: Flags) -> int:
    """``index`` where there is none, or the track was not there any more."""
    seen_us = reader.header(index).start_us
    for earlier in range(index - 1, -1, -1):
        header = reader.header(earlier)
        if seen_us - header.end_us > VISIT_STILL_US:
            break
        if header.flags & keyframe:
            return earlier
        if header.flags & pictures:
            seen_us = header.start_us
    return index
