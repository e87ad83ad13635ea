"""Counts of durations in buckets of 1 % width: bounded memory for hours of samples, mergeable."""

from collections import Counter
from collections.abc import Iterable
from math import ceil, exp, inf, log

_WIDTH = log(1.01)
#: All durations below are counted as this one: a microsecond, in seconds.
SMALLEST = 1e-6


class Histogram:
    """Durations in seconds; what it returns is exact to half a bucket, 0.5 %."""

    def __init__(self, samples: Iterable[float] = ()) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.max = 0.0
        for sample in samples:
            self.add(sample)

    def add(self, seconds: float) -> None:
        self._buckets[int(log(max(seconds, SMALLEST) / SMALLEST) / _WIDTH)] += 1
        self.count += 1
        if seconds > self.max:
            self.max = seconds

    def merge(self, other: "Histogram") -> None:
        mine = self._buckets
        known = mine.get  # half the time of Counter's own addition: runs merge many once a second
        for bucket, count in other._buckets.items():
            mine[bucket] = known(bucket, 0) + count
        self.count += other.count
        self.max = max(self.max, other.max)

    def since(self, earlier: "Histogram") -> "Histogram":
        """What was added after `earlier`, a former state of this one, was taken.

        Its `max` is exact where it is a new one, else it is that of its highest bucket.
        """
        later = Histogram()
        later._buckets = self._buckets - earlier._buckets
        later.count = self.count - earlier.count
        later.max = self.max if self.max > earlier.max else later._highest()
        return later

    def _highest(self) -> float:
        top = max(self._buckets, default=0)
        return min(SMALLEST * exp((top + 0.5) * _WIDTH), self.max or inf) if self.count else 0.0

    def percentile(self, percent: float) -> float | None:
        """The duration that `percent` of the samples do not exceed; None without samples."""
        rank = max(1, ceil(self.count * percent / 100))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                middle = SMALLEST * exp((bucket + 0.5) * _WIDTH)
                return min(middle, self.max)
        return None


def merged(parts: Iterable[Histogram]) -> Histogram:
    together = Histogram()
    for each in parts:
        together.merge(each)
    return together
