"""Which packets to ask for again, and when (RFC 4585 6.2.1). Pure: time is an argument."""

from collections.abc import Iterator
from itertools import islice

#: Ask again after this at the earliest, and after the round trip: browsers send nothing sooner.
MIN_RETRY_S = 0.04
RETRY_ROUND_TRIPS = 1.05
#: Without a measured round trip: a typical home connection.
DEFAULT_ROUND_TRIP_S = 0.1
MAX_TRIES = 10
#: Requests get lost, too: each try is made twice, so far apart. What is to be sent leaves once
#: all the same, as browsers send nothing again within a round trip. More holes than so many are
#: those of an outage, or of a queue that overflows.
DOUBLED_AFTER_S, MAX_DOUBLED = 0.01, 32
#: A hole is given up when all tries have been made, but not sooner or later than this: senders
#: keep what they sent for about three seconds, and what waits behind it is recorded late.
MIN_PATIENCE_S, MAX_PATIENCE_S = 0.8, 3.0
#: A gap wider than this is a restart or an outage: a keyframe mends it, not repair.
MAX_MISSING = 512
#: Asked for at a time: each may take four bytes of a packet that has room for 330.
MAX_PER_REQUEST = 128
#: Of pictures so many packets are asked for at most for each that came, and what was not asked for
#: is saved up, a second's worth: where more is missing than that, a network is full, and what is
#: sent again takes the place of what is new. A path that loses a quarter needs less.
SHARE_OF_CAME, MAX_SAVED = 0.5, 64.0
#: And where it is known to be full of a sender that is told to send less; the newest first then,
#: of which pictures that can still be shown are made.
FLOODED_SHARE, FLOODED_MAX_SAVED = 0.2, 4.0


class NackTracker:
    """The holes in one incoming stream of extended sequence numbers.

    `limited`: as is told of SHARE_OF_CAME; sound is little beside it, and never is.
    """

    def __init__(self, *, limited: bool) -> None:
        self._limited = limited
        self.flooded = False  #: the sender's line, of what is `limited` (`Uplink`)
        self._allowed = MAX_SAVED
        self._came = 0
        self._missing: dict[int, tuple[int, float]] = {}  # seqno -> (requests, next time)
        self.requested = 0

    def __bool__(self) -> bool:
        return bool(self._missing)

    def patience_s(self, round_trip_s: float | None) -> float:
        """How long a hole is worth waiting for: the longer the round trip, the longer; not where
        more is missing than may be asked for.
        """
        if self._limited and self._allowed < 1:
            return MIN_PATIENCE_S
        tries_s = (MAX_TRIES + 1) * _retry_s(round_trip_s)
        return min(MAX_PATIENCE_S, max(MIN_PATIENCE_S, tries_s))

    def hole(self, seqnos: range, now: float) -> None:
        """These have been overtaken by a later packet; extended, and told once."""
        if len(seqnos) >= MAX_MISSING:
            self._missing.clear()
            return
        for missing in seqnos:
            self._missing[missing] = (0, now)  # one that was overtaken is worth its repair
        self._shed()

    def late(self, seqno: int) -> None:
        """One of them has come."""
        self._missing.pop(seqno, None)

    def forget_before(self, seqno: int) -> None:
        """Packets nobody waits for any more."""
        for missing in [each for each in self._missing if each < seqno]:
            del self._missing[missing]

    def due(self, now: float, round_trip_s: float | None, came: int) -> list[int]:
        """The sequence numbers to ask for now, ascending; what is over waits for the next call.

        `came`: how many packets of the stream have come, repairs included.
        """
        share, most_saved = SHARE_OF_CAME, MAX_SAVED
        if self.flooded:
            share, most_saved = FLOODED_SHARE, FLOODED_MAX_SAVED
        self._allowed = min(most_saved, self._allowed) + share * (came - self._came)
        self._came = came
        due = list(islice(self._take_due(now, _retry_s(round_trip_s)), MAX_PER_REQUEST))
        self._allowed = min(most_saved, self._allowed)
        self.requested += len(due)
        return sorted(due)

    def _take_due(self, now: float, retry_s: float) -> Iterator[int]:
        missing = list(self._missing.items())
        for seqno, (requests, next_time) in reversed(missing) if self.flooded else missing:
            if next_time > now:
                continue
            if requests >= 2 * MAX_TRIES:
                del self._missing[seqno]
                continue
            if not _is_second(requests):  # nothing more is sent for that one
                if self._limited and self._allowed < 1:
                    continue
                self._allowed -= 1
            self._missing[seqno] = self._next(requests, now, retry_s)
            yield seqno

    def _next(self, requests: int, now: float, retry_s: float) -> tuple[int, float]:
        """After so many requests and one more: how many that is, and when the next one is due."""
        if _is_second(requests):
            return requests + 1, now + retry_s - DOUBLED_AFTER_S
        if len(self._missing) > MAX_DOUBLED:
            return requests + 2, now + retry_s
        return requests + 1, now + DOUBLED_AFTER_S

    def _shed(self) -> None:
        while len(self._missing) > MAX_MISSING:
            del self._missing[next(iter(self._missing))]


def _is_second(requests: int) -> bool:
    """Whether, after so many requests, the next one is the second of a try."""
    return bool(requests % 2)


def _retry_s(round_trip_s: float | None) -> float:
    return max(MIN_RETRY_S, RETRY_ROUND_TRIPS * (round_trip_s or DEFAULT_ROUND_TRIP_S))
