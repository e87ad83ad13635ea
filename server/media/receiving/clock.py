"""From RTP timestamps to one time line per interview (RFC 3550 6.4.1). Pure: no clock is read.

Two clocks are in play besides the server's: each track's RTP clock, and the sender's wall
clock in its sender reports. A report pairs the two; the difference between the sender's wall
clock and the server's is estimated once per peer, so that its tracks stay aligned.
"""

from server.core.rtcp import unix_from_ntp

#: How fast a wrong first guess is corrected: seconds of correction per second of media. At 5 %
#: neither order nor lip-sync suffers, and 40 ms are gone within a second.
MAX_SLEW = 0.05
#: An error larger than this is not jitter but a clock that was set: jump instead of slewing.
JUMP_S = 1.0
#: Seconds per second by which crystals run apart. The least delayed arrival is believed, and
#: ages by this, so that an estimate follows a slower clock for hours.
MAX_DRIFT = 2e-4


class _LeastDelayed:
    """The smallest of some offsets (arrival minus sending), each a true one plus a delay."""

    def __init__(self) -> None:
        self.value: float | None = None
        self._at_s = 0.0

    def add(self, offset: float, now: float) -> float:
        if self.value is not None:
            offset = min(offset, self.value + MAX_DRIFT * max(0.0, now - self._at_s))
        self.value, self._at_s = offset, now
        return offset

    def reset(self, offset: float, now: float) -> float:
        self.value, self._at_s = offset, now
        return offset


class PeerClock:
    """The sender's wall clock against the server's; shared by the tracks of one peer."""

    def __init__(self) -> None:
        self._offset = _LeastDelayed()

    @property
    def offset_s(self) -> float | None:
        """Server's Unix time minus the sender's, in seconds; None before the first report."""
        return self._offset.value

    def report_received(self, ntp: int, now: float) -> float:
        """`now`: Unix seconds. Returns the offset."""
        return self._offset.add(now - unix_from_ntp(ntp), now)

    def clock_was_set(self, ntp: int, now: float) -> float:
        """The sender's wall clock jumped: forgets what was known. Returns the offset."""
        return self._offset.reset(now - unix_from_ntp(ntp), now)


class TrackClock:
    """Maps one track's unwrapped RTP timestamps to Unix seconds on the server's clock."""

    def __init__(self, clock_rate: int, peer: PeerClock) -> None:
        self._rate = clock_rate
        self._peer = peer
        self._arrival = _LeastDelayed()
        self._offset_s: float | None = None  # capture_s - timestamp / rate
        self._target_s = 0.0
        self._last_timestamp = 0
        self._last_capture_s = float("-inf")
        self._pair: tuple[int, int] | None = None  # (NTP, RTP), kept as received

    @property
    def pair(self) -> tuple[int, int] | None:
        """The last (NTP, unwrapped RTP timestamp) of a sender report."""
        return self._pair

    def packet_received(self, timestamp: int, now: float) -> None:
        """Until the first sender report, the least delayed arrival is the best guess."""
        if self._pair is not None:
            return
        self._target_s = self._arrival.add(now - timestamp / self._rate, now)
        if self._offset_s is None:
            self._offset_s = self._target_s
            self._last_timestamp = timestamp

    def report_received(self, ntp: int, timestamp: int, now: float) -> None:
        """A sender report; `timestamp` unwrapped, `now` in Unix seconds."""
        sent_s = unix_from_ntp(ntp) - timestamp / self._rate
        target_s = sent_s + self._peer.report_received(ntp, now)
        if self._pair is not None and abs(target_s - self._target_s) > JUMP_S:
            # A late report leaves this sum as it was; only a clock that was set moves it.
            target_s = sent_s + self._peer.clock_was_set(ntp, now)
        self._pair = (ntp, timestamp)
        self._target_s = target_s
        if self._offset_s is None or abs(target_s - self._offset_s) > JUMP_S:
            self._offset_s = target_s

    def capture_s(self, timestamp: int, now: float) -> float:
        """Unix seconds at which the sample was captured: not after `now`, never backwards.

        Raises `ValueError` before the track's first packet.
        """
        if self._offset_s is None:
            raise ValueError("no packet of this track has been seen")
        error = self._target_s - self._offset_s
        if error:
            step = MAX_SLEW * max(0, timestamp - self._last_timestamp) / self._rate
            self._offset_s += max(-step, min(step, error))
        self._last_timestamp = max(self._last_timestamp, timestamp)
        # Clamped against timestamps and reports that contradict the server's own clock.
        capture_s = max(self._last_capture_s, min(now, self._offset_s + timestamp / self._rate))
        self._last_capture_s = capture_s
        return capture_s

    def media_s(self, timestamp: int) -> float:
        """Like `capture_s`, but of any packet, clamped by nothing and without effect."""
        return (self._offset_s or 0.0) + timestamp / self._rate

    def timestamp_at(self, unix_s: float) -> int:
        """The RTP timestamp that belongs to a moment: what a sender report of ours states."""
        if self._offset_s is None:
            raise ValueError("no packet of this track has been seen")
        return round((unix_s - self._offset_s) * self._rate)
