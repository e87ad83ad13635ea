"""Which pictures an observer's network has room for; sound is always sent. Pure.

A picture is held back when what it takes has exceeded what there is for long, and comes back
when there is room to spare: each time later, if that was a mistake.
"""

import enum
import math

#: In seconds of all that there is: the queue that would have built up, more than once over where
#: it is far too much. A picture of three times what there is goes after half a second, one of
#: twice as much after two, one that is a tenth too much after forty: estimates waver.
MAX_DEBT_S = 2.0
#: Per second. And as much counts at most where nothing is lost: a machine that stands still for
#: a moment looks like a slow network.
FORGIVEN = 0.05
MOST_WITHOUT_LOSS = 0.5
#: What must be left over before it comes back.
HEADROOM = 1.2
#: How long it stays away at least, and at most; it grows where it has been back for less than
#: TRIAL_S.
AWAY_S, MAX_AWAY_S = 4.0, 60.0
TRIAL_S = 20.0


#: A bitrate is the mean of about so long.
METER_S = 1.0
#: Sought beyond what is wanted: what comes back needs headroom, and a probe tells a little less.
PROBE_BEYOND, PROBE_STEP = 1.3, 2.0
#: A probe that found something is followed by the next; after others it takes ever longer.
PROBE_GAIN, PROBE_AFTER_S, MAX_PROBE_AFTER_S = 1.2, 1.0, 8.0


class Change(enum.Enum):
    HOLD_BACK = enum.auto()
    SHOW = enum.auto()


class Allotment:
    """Of one picture. Contract: `look` about once a second, and do what it says."""

    def __init__(self) -> None:
        self.shown = True
        self._debt_s = 0.0
        self._changed_s = -math.inf
        self._away_s = AWAY_S

    def look(
        self,
        needed_bps: float,
        available_bps: float,
        elapsed_s: float,
        now: float,
        *,
        losing: bool,
    ) -> Change | None:
        """`needed_bps`: of the least there is of it; `elapsed_s`: since the last look."""
        if self.shown:
            excess = (needed_bps - available_bps) / max(available_bps, 1.0)
            counts = excess * max(1.0, excess) if losing else min(excess, MOST_WITHOUT_LOSS)
            self._debt_s = max(0.0, self._debt_s + (counts - FORGIVEN) * elapsed_s)
            return self._hold_back(now) if self._debt_s > MAX_DEBT_S else None
        rested = now - self._changed_s >= self._away_s
        if rested and available_bps >= HEADROOM * needed_bps:
            self.shown, self._debt_s, self._changed_s = True, 0.0, now
            return Change.SHOW
        return None

    def _hold_back(self, now: float) -> Change:
        on_trial = now - self._changed_s < TRIAL_S
        self._away_s = min(2 * self._away_s, MAX_AWAY_S) if on_trial else AWAY_S
        self.shown, self._changed_s = False, now
        return Change.HOLD_BACK


class Meter:
    """The bitrate of a stream whose octets are read now and then."""

    def __init__(self) -> None:
        self.bitrate_bps = 0.0
        self._read: tuple[int, int] | None = None  # the stream, its octets

    def read(self, stream: int, octets: int, elapsed_s: float) -> None:
        """Another stream takes at first what the one before did."""
        before, self._read = self._read, (stream, octets)
        if before is None or before[0] != stream or elapsed_s <= 0:
            return
        weight = 1 - math.exp(-elapsed_s / METER_S)
        self.bitrate_bps += weight * (8 * (octets - before[1]) / elapsed_s - self.bitrate_bps)


class ProbePlan:
    """When to try whether the network takes more than the estimate says."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._after_s = PROBE_AFTER_S
        self._before_bps = math.inf  # the estimate when it was tried last

    def look(self, wanted_bps: float, estimated_bps: float, now: float) -> float | None:
        """The bitrate to try now, if any."""
        if now < self._next_s or estimated_bps >= PROBE_BEYOND * wanted_bps:
            return None
        found = estimated_bps >= PROBE_GAIN * self._before_bps
        self._after_s = PROBE_AFTER_S if found else min(2 * self._after_s, MAX_PROBE_AFTER_S)
        self._before_bps = estimated_bps
        self._next_s = now + self._after_s
        return min(PROBE_STEP * estimated_bps, PROBE_BEYOND * wanted_bps)
