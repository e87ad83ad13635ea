"""Padding sent for a moment, to see whether more comes through than is sent anyway. Pure.

Of what is never sent nothing is known: an observer whose picture was held back would stay
without it, as sound alone cannot show that there is room again.
"""

import enum
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from server.media.forwarding.estimate import Arrival

LENGTH_S = 0.1
#: Fewer packets tell nothing; so much of what was sent must have come.
MIN_PACKETS = 5
MIN_SHARE = 0.8
#: Where it comes slower than it left, the queue that it has built up is the network's limit.
SATURATED = 0.9
#: But a queue delays each packet a little more. If one of them has so much of all the delay, a
#: machine stood still, or the network did.
STOOD_STILL = 0.5
#: Feedback comes within this, or not at all.
PATIENCE_S = 1.0


class Verdict(enum.Enum):
    THROUGH = enum.auto()  #: there may be room for more
    LIMIT = enum.auto()  #: there is no more room
    UNTOLD = enum.auto()  #: it is worth another try


class Result(NamedTuple):
    verdict: Verdict
    bitrate_bps: float  #: that came through at least


class Probe:
    """Contract: `octets_due` every 10 ms, and `sent` with what was, until it `is_sent`;
    `arrived` with each feedback until it has a result."""

    def __init__(self, bitrate_bps: float, octets_sent: int, now: float) -> None:
        """`octets_sent`: by the counter that `octets_due` is told, media included."""
        self.bitrate_bps = bitrate_bps
        self._octets = octets_sent
        self._begun_s = self._end_s = now
        self._sent = self._lost = 0
        self._arrivals: list[Arrival] = []
        self.is_sent = False

    def octets_due(self, octets_sent: int, now: float) -> int:
        """How much padding to send now, besides what was sent since it began."""
        elapsed_s = min(now - self._begun_s, LENGTH_S)
        return max(0, round(self.bitrate_bps * elapsed_s / 8) - (octets_sent - self._octets))

    def sent(self, octets_sent: int, now: float) -> None:
        """What was due has been, as late as that may be."""
        self._sent = octets_sent - self._octets
        self._end_s = now
        self.is_sent = now - self._begun_s >= LENGTH_S

    def arrived(self, arrivals: Sequence[Arrival], lost: int, now: float) -> Result | None:
        """`lost`: octets that were told to be missing. None: not all is told yet."""
        begun_s, end_s = self._begun_s, self._end_s
        self._arrivals += [each for each in arrivals if begun_s <= each.sent_s <= end_s]
        self._lost += lost
        later = self.is_sent and bool(arrivals) and arrivals[-1].sent_s > end_s
        if not later and now < end_s + PATIENCE_S:
            return None
        return self._result()

    def _result(self) -> Result:
        came = self._arrivals
        octets = sum(each.size for each in came)
        if octets < MIN_SHARE * self._sent:
            told = octets + self._lost >= MIN_SHARE * self._sent
            return Result(Verdict.LIMIT if told else Verdict.UNTOLD, 0.0)
        left_s = came[-1].sent_s - came[0].sent_s if came else 0.0
        arrived_s = max((each.arrived_s for each in came), default=0.0)
        came_s = arrived_s - came[0].arrived_s if came else 0.0
        if len(came) < MIN_PACKETS or left_s <= 0 or came_s <= 0:
            return Result(Verdict.UNTOLD, 0.0)
        left_bps = 8 * (octets - came[-1].size) / left_s
        came_bps = 8 * (octets - came[0].size) / came_s
        if came_bps >= SATURATED * left_bps:
            late = left_bps < MIN_SHARE * self.bitrate_bps  # our own machine stood still
            verdict = Verdict.UNTOLD if late else Verdict.THROUGH
        else:
            still = _longest_wait_s(came) > STOOD_STILL * (came_s - left_s)
            verdict = Verdict.UNTOLD if still else Verdict.LIMIT
        return Result(verdict, min(left_bps, came_bps))


def _longest_wait_s(came: Sequence[Arrival]) -> float:
    """By how much the packet that was delayed most came later than the one before it."""
    return max(
        (after.arrived_s - before.arrived_s - (after.sent_s - before.sent_s))
        for before, after in pairwise(came)
    )
