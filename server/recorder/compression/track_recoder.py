"""One track of a recording, encoded anew segment by segment, as near as a bar asks for."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, floor, log
from typing import NamedTuple

from msgspec.structs import astuple

from server.core.frames import TrackName
from server.recorder.compression.recode_job import Begin, Pictures, Quality
from server.recorder.compression.recoder import Recoded, Recoder
from server.recorder.format.sealing import Flags
from server.recorder.format.tracks import Fragment, Sample, to_ticks
from server.recorder.replay.reader import RecordingReader

#: Playback can begin at least so often, where there are pictures.
KEYFRAME_US = 10_000_000
_KEYFRAME_TICKS = to_ticks(TrackName.CAMERA, KEYFRAME_US)
#: A step of the rate factor is worth so much; so many at once.
_STEPS_PER_POINT, _STEPS_PER_DB, _MIN_STEPS, _MAX_STEPS = 3, 8, 2, 12
#: And so many more bytes.
_GROWTH = 1.09
WORST_CRF = 63  # of SVT-AV1
#: What is made thoroughly (`Begin.thorough`) would take so much more else, with a rate factor that
#: is so much worse.
_THOROUGH_GAIN, _THOROUGH_STEPS = 1.12, 3

#: What is looked at as one: so many fragments, of a second each.
WINDOW = 10
#: A single one of them may be so much below what they have to come to.
_DIP = Quality(4.0, 2.0)


@dataclass(frozen=True, slots=True)
class Bar:
    """How near pictures have to come in any `WINDOW`, and where to begin with trying."""

    aim: Quality  #: while there is room for it
    least: Quality  #: what is below it is refused
    crf: int
    best_crf: int  #: what is below the bar with this one can't be compressed


#: docs/decisions/recorder-compression.md has the measurements. Of a screen's print every pixel
#: counts, and it costs little: it comes first, as long as nothing is known (`TrackRecoder.took`).
_FACE = Bar(Quality(91.0, 0.0), Quality(90.3, 0.0), 34, 12)
BARS = {
    TrackName.SCREEN: Bar(Quality(91.0, 42.0), Quality(90.3, 40.0), 42, 12),
    TrackName.CAMERA: _FACE,
    TrackName.INTERVIEWER_CAMERA: _FACE,
}

_KEYFRAME_FLAGS = {
    TrackName.CAMERA: Flags.KEYFRAME,
    TrackName.SCREEN: Flags.SCREEN_KEYFRAME,
    TrackName.INTERVIEWER_CAMERA: Flags.INTERVIEWER_KEYFRAME,
}


class NotNearEnough(Exception):
    """The message says how near it comes, and where."""


class TrackRecoder:
    """Remembers the rate factor, what it came to, and where the other process has got to."""

    def __init__(self, source: RecordingReader, name: TrackName, recoder: Recoder) -> None:
        self._source = source
        self._name = name
        self._recoder = recoder
        self._crf = BARS[name].crf  # for what is not made thoroughly
        self.took = 0  #: bytes, in the last segment that had any of its pictures
        self._wanted = 0  # bytes that it would have taken if it was not made thoroughly
        self._thorough = False
        self._next = 0  # the fragment that follows on what was decoded last

    def near_enough(
        self, indices: range, fragments: Sequence[Fragment], most: float
    ) -> Recoded | None:
        """The fragments' pictures, as small as they get above the bar; None: nothing to be seen.

        ``most``: bytes; what takes more need not be nearer than the least, and is made thoroughly.
        NotNearEnough; NotRecoded.
        """
        self._thorough = self._wanted > most
        found = self._searched(indices, fragments, most)
        if found is None:
            return None
        if found.size > most and not self._thorough:
            found = self._smaller(found, indices, fragments, most)
        self.took = found.size
        self._wanted = round(found.size * _THOROUGH_GAIN) if self._thorough else found.size
        return found

    def _smaller(
        self, quick: Recoded, indices: range, fragments: Sequence[Fragment], most: float
    ) -> Recoded:
        """The same made thoroughly, unless that takes as much."""
        self._thorough = True
        with suppress(NotNearEnough):
            found = self._searched(indices, fragments, most)
            if found is not None and found.size < quick.size:
                return found
        self._thorough = False
        return quick

    def _searched(
        self, indices: range, fragments: Sequence[Fragment], most: float
    ) -> Recoded | None:
        bar = BARS[self._name]
        better = _THOROUGH_STEPS if self._thorough else 0
        crf = max(bar.best_crf, self._crf - better)
        made: dict[int, Recoded] = {}
        tried: dict[int, Try] = {}
        while crf not in tried:
            found = self._recode(indices, fragments, crf)
            if found is None:
                return None
            made[crf] = found
            tried[crf] = Try(counted(found.quality), found.size)
            crf = next_crf(tried, crf, bar, most)
        near = tried[crf].quality
        if not _is_above(near, bar.least):
            at_s = self._source.header(indices[0]).start_us / 1e6
            raise NotNearEnough(
                f"{self._name}: around {at_s:.0f} s it comes no nearer than VMAF "
                f"{near.vmaf:.1f}, XPSNR {near.xpsnr_db:.1f} dB"
            )
        above = max(0.0, near.vmaf - bar.aim.vmaf)
        self._crf = min(WORST_CRF, crf + better + int(above * _STEPS_PER_POINT / 2))
        return made[crf]

    def _recode(self, indices: range, fragments: Sequence[Fragment], crf: int) -> Recoded | None:
        shown = [sample for each in fragments for sample in _of(self._name, each)]
        if not shown:
            return None
        video = self._source.tracks(indices[0]).videos()[self._name]
        # 4:2:0 is encoded in even sizes.
        size = max(2, video.width // 2 * 2), max(2, video.height // 2 * 2)
        anew = indices.start != self._next
        begin = Begin(self._name, *size, crf, self._thorough, anew)
        self._next = -1  # until all are taken
        made = self._recoder.recode(begin, self._pictures(indices, fragments, anew), shown)
        self._next = indices.stop
        return made

    def _pictures(
        self, indices: range, fragments: Sequence[Fragment], anew: bool
    ) -> Iterator[Pictures]:
        if anew:
            for index in range(self._decodes_from(indices.start), indices.start):
                earlier = _of(self._name, self._source.samples(index))
                yield from self._message(index, earlier, shown=False, keyframe=False)
        since = None
        for index, fragment in zip(indices, fragments, strict=True):
            samples = _of(self._name, fragment)
            due = since is None or (samples and samples[0].time - since >= _KEYFRAME_TICKS)
            if samples and due:
                since = samples[0].time
            yield from self._message(index, samples, shown=True, keyframe=bool(due))

    def _message(
        self, index: int, samples: Sequence[Sample], *, shown: bool, keyframe: bool
    ) -> Iterator[Pictures]:
        if samples:
            video = self._source.tracks(index).videos()[self._name]
            yield Pictures(video, tuple(each.data for each in samples), shown, keyframe)

    def _decodes_from(self, index: int) -> int:
        """The fragment with the keyframe that the one at ``index`` builds on."""
        for earlier in range(index - 1, -1, -1):
            if self._source.header(earlier).flags & _KEYFRAME_FLAGS[self._name]:
                return earlier
        return 0


def mean_of(made: Recoded) -> Quality:
    """Of all fragments."""
    return _mean(made.quality)


def worst_of(made: Recoded) -> Quality:
    """Of any fragment."""
    return _lowest(made.quality)


def counted(fragments: Sequence[Quality]) -> Quality:
    """What the bar is held against: the lowest mean of a window, or less where a single fragment
    is far below it."""
    last = max(1, len(fragments) - WINDOW + 1)
    window = _lowest([_mean(fragments[first : first + WINDOW]) for first in range(last)])
    single = _lowest(fragments)
    dips = Quality(single.vmaf + _DIP.vmaf, single.xpsnr_db + _DIP.xpsnr_db)
    return _lowest((window, dips))


def _mean(of: Sequence[Quality]) -> Quality:
    vmaf, xpsnr_db = (sum(each) / len(of) for each in zip(*map(astuple, of), strict=True))
    return Quality(vmaf, xpsnr_db)


def _lowest(of: Sequence[Quality]) -> Quality:
    return Quality(min(each.vmaf for each in of), min(each.xpsnr_db for each in of))


def _of(name: TrackName, fragment: Fragment) -> tuple[Sample, ...]:
    return dict(fragment.by_track())[name]


def _is_above(quality: Quality, bar: Quality) -> bool:
    return quality.vmaf >= bar.vmaf and quality.xpsnr_db >= bar.xpsnr_db


# ---- the search -------------------------------------------------------------------------


class Try(NamedTuple):
    """What came of a rate factor."""

    quality: Quality  #: as `counted`
    size: int


def next_crf(tried: Mapping[int, Try], crf: int, bar: Bar, most: float) -> int:
    """The rate factor to try after ``crf``, or one of those that were ``tried``: it is the one."""
    quality, size = tried[crf]
    wanted = min(WORST_CRF, crf - _steps(quality, size, bar, most))
    far = [each for each, found in tried.items() if not _is_above(found.quality, bar.least)]
    near = tried.keys() - far
    if far:
        wanted = min(wanted, min(far) - 1)
    if crf in far and near:
        wanted = max(wanted, *near)
    return max(bar.best_crf, wanted)


def _steps(quality: Quality, size: int, bar: Bar, most: float) -> int:
    """By how much to better the rate factor, or below 0 to worsen it."""
    to_aim, to_least = (_steps_to(each, quality) for each in (bar.aim, bar.least))
    if to_least > 0:
        return min(_MAX_STEPS, max(to_aim if size < most else to_least, _MIN_STEPS))
    room = floor(log(max(1.0, most) / size, _GROWTH))
    if room >= 0:
        # What is nearer than it has to be is not made again for that; the next is not so near.
        steps = min(to_aim, room, _MAX_STEPS)
        return steps if steps >= _MIN_STEPS else 0
    return max(to_least, room, -_MAX_STEPS)


def _steps_to(wanted: Quality, quality: Quality) -> int:
    points = (wanted.vmaf - quality.vmaf) * _STEPS_PER_POINT
    return ceil(max(points, (wanted.xpsnr_db - quality.xpsnr_db) * _STEPS_PER_DB))
