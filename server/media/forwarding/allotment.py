"""Which pictures an observer's network has room for; sound is always sent. Pure.

A picture is held back when what it takes has exceeded what there is for long, and comes back
when there is room to spare: each time later, if that was a mistake.
"""

import enum
import math

from server.media.forwarding.probe import Result, Verdict

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
AWAY_S, MAX_AWAY_S = 4.0, 30.0
TRIAL_S = 20.0


#: A bitrate is the mean of about so long.
METER_S = 1.0
#: Sought beyond what is wanted: what comes back needs headroom, and a probe on a busy machine
#: tells less than there is. The least has enough packets to tell something.
PROBE_BEYOND, PROBE_STEP, LEAST_PROBE_BPS = 1.5, 2.0, 160e3
#: A probe that came through is followed by the next; one that tells nothing after the first of
#: these, one that met the network's limit after ever longer. Less than that limit may be tried.
PROBE_AFTER_S, MAX_PROBE_AFTER_S = 1.0, 5.0
BELOW_LIMIT = 0.9
#: Not worth a try: so little more.
PROBE_GAIN = 1.1
#: For so long what came through is believed, whatever delays are seen meanwhile.
PROVEN_S = 5.0


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
    """When to try whether the network takes more than the estimate says.

    Contract: `look` now and then, and `told` what has become of what it gave.
    """

    def __init__(self) -> None:
        self._trying = False
        self._next_s = 0.0
        self._limit_bps = math.inf  # met of late,
        self._beyond_s = 0.0  # and tried again from then on
        self._after_s = PROBE_AFTER_S
        self._proven_bps = self._proven_s = 0.0

    def look(self, wanted_bps: float, estimated_bps: float, now: float) -> float | None:
        """The bitrate to try now, if any."""
        sought_bps = PROBE_BEYOND * wanted_bps
        if self._trying or now < self._next_s or estimated_bps >= sought_bps:
            return None
        tried_bps = max(LEAST_PROBE_BPS, min(PROBE_STEP * estimated_bps, sought_bps))
        if now < self._beyond_s:
            tried_bps = min(tried_bps, BELOW_LIMIT * self._limit_bps)
        if tried_bps < PROBE_GAIN * estimated_bps:
            return None
        self._trying = True
        return tried_bps

    def proven_bps(self, now: float) -> float:
        """What came through just now, or zero."""
        return self._proven_bps if now - self._proven_s < PROVEN_S else 0.0

    def told(self, result: Result, now: float) -> None:
        self._trying = False
        self._next_s = now + PROBE_AFTER_S
        limited = result.verdict is Verdict.LIMIT
        if limited or result.bitrate_bps > self.proven_bps(now):
            self._proven_bps, self._proven_s = result.bitrate_bps, now
        match result.verdict:
            case Verdict.THROUGH:
                self._next_s = now
                if result.bitrate_bps > self._limit_bps:  # the network has become faster
                    self._limit_bps, self._after_s = math.inf, PROBE_AFTER_S
            case Verdict.LIMIT:
                self._limit_bps = result.bitrate_bps
                self._beyond_s = now + self._after_s
                self._after_s = min(2 * self._after_s, MAX_PROBE_AFTER_S)
            case Verdict.UNTOLD:
                pass
