"""Whether the line of who sends to us is full, and how much it carries then. Pure.

Browsers find their bitrate by themselves, over seconds, and others who follow REMB alone only
ever hear of a fixed limit. Where a line is full it carries its rate to the octet: so much is
told, at once.
"""

import math
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

LOOK_S = 0.1
#: Judged by the looks of so long; of fewer packets loss tells nothing.
WINDOW_S, MIN_PACKETS = 0.5, 10
#: Full is where more than SOME gets lost of what is late by QUEUED_S; or where more than MOST
#: does: no path loses so much by itself, and of one that was full from the first packet on
#: nobody knows how late it is. More than MUCH: what is asked for again keeps it full.
SOME_LOSS, MUCH_LOSS, MOST_LOSS = 0.10, 0.30, 0.60
QUEUED_S = 0.1
#: A sender whose packets are later than that has set its clock.
MAX_QUEUE_S = 3.0
#: Seconds per second by which crystals run apart.
MAX_DRIFT = 2e-4
#: Of what a full line carries; the queue has to drain.
SHARE = 0.85
MIN_BPS = 60_000.0
#: The limit holds so long after the line was full; twice as long each time that it is full again
#: within AGAIN_S.
HELD_S, MAX_HELD_S = 5.0, 60.0
AGAIN_S = 20.0
#: No second keyframe is asked for before what follows the first one can have come.
KEYFRAME_SPACING_S = 5.0


class Counted(NamedTuple):
    """Of all that has come so far."""

    octets: int  #: on the wire
    expected: int  #: packets of pictures, by their numbers
    received: int  #: those of them that came without being asked for again


class Uplink:
    """Contract: `look` each LOOK_S."""

    def __init__(self) -> None:
        self.limit_bps = math.inf  #: for all that is sent
        self.is_flooded = False  #: full, and more is lost than can be sent again
        #: At this look: a keyframe that fits is worth more than what is missing.
        self.begins_anew = False
        self._looks: deque[tuple[float, Counted, float]] = deque()
        self._least_s: dict[int, float] = {}
        self._full_s = self._freed_s = self._begun_anew_s = -math.inf
        self._held_s = HELD_S

    def look(self, counted: Counted, transits_s: Mapping[int, float], now: float) -> None:
        """`transits_s`: of each stream's newest packet, from its sending by any clock of its own
        to its arrival.
        """
        looks = self._looks
        aged_s = MAX_DRIFT * (now - looks[-1][0]) if looks else 0.0
        looks.append((now, counted, self._queued_s(transits_s, aged_s)))
        while now - looks[0][0] > WINDOW_S + LOOK_S / 2:
            looks.popleft()
        lost = self._lost(counted)
        is_full = lost > SOME_LOSS and (lost > MOST_LOSS or self._is_queued)
        self.is_flooded = is_full and lost > MUCH_LOSS
        self.begins_anew = self.is_flooded and now - self._begun_anew_s > KEYFRAME_SPACING_S
        if self.begins_anew:
            self._begun_anew_s = now
        if is_full:
            self._limit(counted, now)
        elif now - self._full_s > self._held_s and self.limit_bps < math.inf:
            self.limit_bps, self._freed_s = math.inf, now

    def _queued_s(self, transits_s: Mapping[int, float], aged_s: float) -> float:
        """By how much packets are later than the quickest of their stream."""
        longest_s = 0.0
        for stream, transit_s in transits_s.items():
            least_s = min(self._least_s.get(stream, transit_s) + aged_s, transit_s)
            if transit_s - least_s > MAX_QUEUE_S:
                least_s = transit_s
            self._least_s[stream] = least_s
            longest_s = max(longest_s, transit_s - least_s)
        return longest_s

    @property
    def _is_queued(self) -> bool:
        return median(queued_s for _, _, queued_s in self._looks) > QUEUED_S

    def _lost(self, counted: Counted) -> float:
        """The share of the window's packets, repaired or not."""
        before = self._looks[0][1]
        expected = counted.expected - before.expected
        if expected < MIN_PACKETS:
            return 0.0
        return 1 - (counted.received - before.received) / expected

    def _limit(self, counted: Counted, now: float) -> None:
        if self.limit_bps == math.inf:
            again = now - self._freed_s < AGAIN_S
            self._held_s = min(2 * self._held_s, MAX_HELD_S) if again else HELD_S
        begun_s, before, _ = self._looks[0]
        carried_bps = 8 * (counted.octets - before.octets) / (now - begun_s)
        self.limit_bps, self._full_s = max(MIN_BPS, SHARE * carried_bps), now
