"""What people would have seen and heard, from the stamps in what arrived. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from math import inf

from loadtest.histogram import Histogram

#: A picture that stands still for longer is a freeze.
FREEZE_S = 0.2
#: Media of one second may come this many seconds after the first of a later one.
SPREAD_S = 3
#: Offsets are counted in steps of 0.1 ms.
STEPS_PER_S = 10_000
#: A drift is told from at least so many seconds: of fewer it would be noise.
MIN_DRIFT_S = 60


@dataclass(slots=True)
class Viewing:
    """The pictures of one track as they are shown: each when it is whole, unless a newer was."""

    shown: int = 0
    out_of_order: int = 0  #: whole only after a newer one: swapped on the way, or repaired late
    freezes_s: Histogram = field(default_factory=Histogram)
    _highest: int = -1
    _shown_s: float | None = None

    def show(self, frame: int, now: float) -> None:
        """Frame number `frame` has become whole at `now` (any clock in seconds)."""
        if frame < self._highest:
            self.out_of_order += 1
            return
        self.end(now)
        self._highest, self._shown_s = frame, now
        self.shown += 1

    def end(self, now: float) -> None:
        """Nobody looks from `now` on, or a new picture comes: was the last one a freeze?"""
        if self._shown_s is not None and now - self._shown_s > FREEZE_S:
            self.freezes_s.add(now - self._shown_s)
        self._shown_s = None


@dataclass(slots=True)
class Offsets:
    """How much later than its sound a picture is presented; counts, so memory is bounded."""

    counts: Counter[int] = field(default_factory=Counter)  #: by steps of 1 / STEPS_PER_S

    def add(self, offset_s: float) -> None:
        self.counts[round(offset_s * STEPS_PER_S)] += 1

    def merge(self, other: "Offsets") -> None:
        self.counts.update(other.counts)

    @property
    def samples(self) -> int:
        return self.counts.total()

    def median_s(self) -> float | None:
        """With its sign: above zero the picture comes after its sound."""
        return _percentile(self.counts, 50)

    def size_s(self, percent: float) -> float | None:
        """The offset, to either side, that `percent` of the samples do not exceed."""
        sizes: Counter[int] = Counter()
        for step, count in self.counts.items():
            sizes[abs(step)] += count
        return _percentile(sizes, percent)


class LipSync:
    """The offset between picture and sound, one for each second in which both were sent.

    A frame's media time minus the time of its sending says how far it is moved on the time line;
    of each track the frame counts that was sent least late in its second, as the others may have
    waited at the sender. Add frames as they come, `finish`, then read.
    """

    def __init__(self) -> None:
        self.offsets = Offsets()
        self._moved: dict[int, list[float]] = {}  # by second: the most that picture, sound moved
        self._first_s: int | None = None
        self._sums = [0.0] * 5  # of 1, t, t * t, offset, t * offset

    def add(self, video: bool, sent_s: float, media_s: float) -> None:
        """Times are seconds, `media_s` by a clock that both tracks share."""
        second = int(sent_s)
        moved = self._moved.get(second)
        if moved is None:
            moved = self._moved[second] = [-inf, -inf]
            for older in [each for each in self._moved if each < second - SPREAD_S]:
                self._close(older)
        moved[video] = max(moved[video], media_s - sent_s)

    def finish(self) -> None:
        for second in sorted(self._moved):
            self._close(second)

    def _close(self, second: int) -> None:
        sound, picture = self._moved.pop(second)
        if sound == -inf or picture == -inf:
            return
        offset = picture - sound
        self.offsets.add(offset)
        self._first_s = second if self._first_s is None else self._first_s
        at = second - self._first_s
        for index, term in enumerate((1, at, at * at, offset, at * offset)):
            self._sums[index] += term

    def drift(self) -> float | None:
        """Seconds of offset gained per second: the slope of the line of least squares."""
        count, time, square, offset, product = self._sums
        if count < MIN_DRIFT_S:
            return None
        return (count * product - time * offset) / (count * square - time * time)


def _percentile(counts: Counter[int], percent: float) -> float | None:
    rank, seen = counts.total() * percent / 100, 0
    for step in sorted(counts):
        seen += counts[step]
        if seen >= rank:
            return step / STEPS_PER_S
    return None
