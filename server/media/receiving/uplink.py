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
#: A full line carries all the time. What got lost while nothing came for so long, as on the way
#: from one network to another, says nothing about it.
SILENCE_S = 0.25
#: Full is where more than SOME gets lost of what is late by QUEUED_S; or where more than MOST
#: does: no path loses so much by itself, and of one that was full from the first packet on
#: nobody knows how late it is. More than MUCH: what is asked for again keeps it full.
SOME_LOSS, MUCH_LOSS, MOST_LOSS = 0.10, 0.30, 0.60
QUEUED_S = 0.1
#: A sender whose packets are later than that has set its clock.
MAX_QUEUE_S = 3.0
#: The quickest packets are looked for among those of so long, at least: crystals run apart, and
#: another path may be a longer one.
LEAST_S = 30.0
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


class _Look(NamedTuple):
    now: float
    counted: Counted
    queued_s: float | None  #: None: nothing came


class Uplink:
    """Contract: `look` each LOOK_S."""

    def __init__(self) -> None:
        self.limit_bps = math.inf  #: for all that is sent
        self.is_flooded = False  #: full, and more is lost than can be sent again
        #: At this look: a keyframe that fits is worth more than what is missing.
        self.begins_anew = False
        self._looks: deque[_Look] = deque()
        self._came_s = -math.inf
        self._least_s: dict[int, float] = {}  # of each stream, in this LEAST_S and in
        self._before_s: dict[int, float] = {}  # the one before
        self._least_since_s = -math.inf
        self._full_s = self._freed_s = self._begun_anew_s = -math.inf
        self._held_s = HELD_S

    def look(self, counted: Counted, transits_s: Mapping[int, float], now: float) -> None:
        """`transits_s`: of each stream of which something has come since the last look, the newest
        packet's, from its sending by any clock of its own to its arrival.
        """
        looks = self._looks
        if not looks or counted.octets != looks[-1].counted.octets:
            if now - self._came_s > SILENCE_S:
                looks.clear()
            self._came_s = now
        looks.append(_Look(now, counted, self._queued_s(transits_s, now)))
        while now - looks[0].now > WINDOW_S + LOOK_S / 2:
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

    def _queued_s(self, transits_s: Mapping[int, float], now: float) -> float | None:
        """By how much packets are later than the quickest of their stream; None: there are none."""
        if now - self._least_since_s > LEAST_S:
            self._before_s, self._least_s, self._least_since_s = self._least_s, {}, now
        queued_s: list[float] = []
        for stream, transit_s in transits_s.items():
            spans = self._before_s, self._least_s
            least_s = min(transit_s, *(each.get(stream, transit_s) for each in spans))
            if transit_s - least_s > MAX_QUEUE_S:
                least_s = transit_s
                for each in spans:
                    each.pop(stream, None)
            self._least_s[stream] = min(self._least_s.get(stream, transit_s), transit_s)
            queued_s.append(transit_s - least_s)
        return max(queued_s, default=None)

    @property
    def _is_queued(self) -> bool:
        queued_s = [each.queued_s for each in self._looks if each.queued_s is not None]
        return bool(queued_s) and median(queued_s) > QUEUED_S

    def _lost(self, counted: Counted) -> float:
        """The share of the window's packets, repaired or not."""
        before = self._looks[0].counted
        expected = counted.expected - before.expected
        if expected < MIN_PACKETS:
            return 0.0
        return 1 - (counted.received - before.received) / expected

    def _limit(self, counted: Counted, now: float) -> None:
        if self.limit_bps == math.inf:
            again = now - self._freed_s < AGAIN_S
            self._held_s = min(2 * self._held_s, MAX_HELD_S) if again else HELD_S
        begun = self._looks[0]
        carried_bps = 8 * (counted.octets - begun.counted.octets) / (now - begun.now)
        self.limit_bps, self._full_s = max(MIN_BPS, SHARE * carried_bps), now
