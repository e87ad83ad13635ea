"""Padding sent for a moment, to see whether more comes through than is sent anyway. Pure.

Of what is never sent nothing is known: an observer whose picture was held back would stay
without it, as sound alone cannot show that there is room again.
"""

from collections.abc import Sequence

from server.media.estimate import Arrival

LENGTH_S = 0.1
#: Fewer packets tell nothing; so much of what was sent must have come.
MIN_PACKETS = 5
MIN_SHARE = 0.8
#: Where it comes slower than it left, the queue that it has built up is the network's limit.
SATURATED = 0.9
#: Feedback comes within this, or not at all.
PATIENCE_S = 1.0


class Probe:
    """Contract: `octets_due` every 20 ms until it `is_sent`, `arrived` with each feedback."""

    def __init__(self, bitrate_bps: float, octets_sent: int, now: float) -> None:
        """`octets_sent`: by the counter that `octets_due` is told, media included."""
        self._bitrate_bps = bitrate_bps
        self._octets = octets_sent
        self._begun_s = now
        self._sent = 0
        self._arrivals: list[Arrival] = []

    def octets_due(self, octets_sent: int, now: float) -> int:
        """How much padding to send now, besides what was sent since it began."""
        elapsed_s = min(now - self._begun_s, LENGTH_S)
        self._sent = octets_sent - self._octets
        return max(0, round(self._bitrate_bps * elapsed_s / 8) - self._sent)

    def is_sent(self, now: float) -> bool:
        return now - self._begun_s >= LENGTH_S

    def arrived(self, arrivals: Sequence[Arrival], now: float) -> float | None:
        """The bitrate that came through; zero: it cannot be told; None: not all is here yet."""
        end_s = self._begun_s + LENGTH_S
        self._arrivals += [each for each in arrivals if self._begun_s <= each.sent_s <= end_s]
        later = bool(arrivals) and arrivals[-1].sent_s > end_s
        if not later and now < end_s + PATIENCE_S:
            return None
        return self._result()

    def _result(self) -> float:
        came = self._arrivals
        octets = sum(each.size for each in came)
        if len(came) < MIN_PACKETS or octets < MIN_SHARE * self._sent:
            return 0.0
        sent_s = came[-1].sent_s - came[0].sent_s
        arrived_s = max(each.arrived_s for each in came) - came[0].arrived_s
        if sent_s <= 0 or arrived_s <= 0:
            return 0.0
        left_bps = 8 * (octets - came[-1].size) / sent_s
        came_bps = 8 * (octets - came[0].size) / arrived_s
        return came_bps if came_bps < SATURATED * left_bps else min(left_bps, came_bps)
