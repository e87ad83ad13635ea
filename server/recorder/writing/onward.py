"""A recording that goes on goes on after its end, also where the clock was set back. Pure.

Each start of a server reads the wall clock once. Where that was set back meanwhile, what comes
would lie before what is recorded, or over it, and no player takes times that go back.
"""

from server.recorder.format.manifest import Manifest

#: How long the hole is told to be then, as nobody knows: long enough to be seen.
HOLE_S = 1.0


class Onward:
    """Goes on after what ``manifest`` has. Times are Unix seconds."""

    def __init__(self, manifest: Manifest) -> None:
        ends_us = [segment.end_us for segment in manifest.segments]
        self._end_s = ((manifest.epoch_us or 0) + max(ends_us)) / 1e6 if ends_us else None
        self._later_s = 0.0

    def later_s(self, at_s: float) -> float:
        """How much later than their time says things lie. The first that is asked for decides."""
        if self._end_s is not None:
            if at_s < self._end_s:
                self._later_s = self._end_s + HOLE_S - at_s
            self._end_s = None
        return self._later_s
