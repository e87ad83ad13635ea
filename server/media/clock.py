"""From RTP timestamps to one time line per interview (RFC 3550 6.4.1). Pure: no clock is read.

Two clocks are in play besides the server's: each track's RTP clock, and the sender's wall
clock in its sender reports. A report pairs the two; the difference between the sender's wall
clock and the server's is estimated once per peer, so that its tracks stay aligned.
"""

from server.core.rtcp import unix_from_ntp

#: How fast a wrong first guess is corrected: seconds of correction per second of media. At 5 %
#: neither order nor lip-sync suffers, and 40 ms are gone within a second.
MAX_SLEW = 0.05
#: A first difference larger than this is not jitter: jump instead of slewing.
JUMP_S = 1.0


class PeerClock:
    """The sender's wall clock against the server's; shared by the tracks of one peer."""

    def __init__(self) -> None:
        self.offset_s: float | None = None

    def report_received(self, ntp: int, now: float) -> None:
        """`now`: Unix seconds. The smallest delay seen is the least delayed report."""
        offset = now - unix_from_ntp(ntp)
        if self.offset_s is None or offset < self.offset_s or offset - self.offset_s > JUMP_S:
            self.offset_s = offset


class TrackClock:
    """Maps one track's unwrapped RTP timestamps to Unix seconds on the server's clock."""

    def __init__(self, clock_rate: int, peer: PeerClock) -> None:
        self._rate = clock_rate
        self._peer = peer
        self._offset_s: float | None = None  # capture_s - timestamp / rate
        self._target_s = 0.0
        self._last_timestamp = 0
        self._pair: tuple[int, int] | None = None  # (NTP, RTP), kept as received
        self._reported = False

    @property
    def pair(self) -> tuple[int, int] | None:
        """The last (NTP, unwrapped RTP timestamp) of a sender report."""
        return self._pair

    def packet_received(self, timestamp: int, now: float) -> None:
        """Until the first sender report, the least delayed arrival is the best guess."""
        if self._reported:
            return
        guess = now - timestamp / self._rate
        if self._offset_s is None:
            self._offset_s = self._target_s = guess
            self._last_timestamp = timestamp
        elif guess < self._target_s:
            self._target_s = guess

    def report_received(self, ntp: int, timestamp: int, now: float) -> None:
        """A sender report; `timestamp` unwrapped, `now` in Unix seconds."""
        self._peer.report_received(ntp, now)
        self._pair = (ntp, timestamp)
        self._reported = True
        assert self._peer.offset_s is not None
        self._target_s = unix_from_ntp(ntp) + self._peer.offset_s - timestamp / self._rate
        if self._offset_s is None or abs(self._target_s - self._offset_s) > JUMP_S:
            self._offset_s = self._target_s

    def capture_s(self, timestamp: int) -> float:
        """Unix seconds at which the sample was captured; never runs backwards in order."""
        if self._offset_s is None:
            raise ValueError("no packet of this track has been seen")
        error = self._target_s - self._offset_s
        if error:
            elapsed = max(0, timestamp - self._last_timestamp) / self._rate
            step = MAX_SLEW * elapsed
            self._offset_s += max(-step, min(step, error))
        self._last_timestamp = max(self._last_timestamp, timestamp)
        return self._offset_s + timestamp / self._rate

    def timestamp_at(self, unix_s: float) -> int:
        """The RTP timestamp that belongs to a moment: what a sender report of ours states."""
        if self._offset_s is None:
            raise ValueError("no packet of this track has been seen")
        return round((unix_s - self._offset_s) * self._rate)
