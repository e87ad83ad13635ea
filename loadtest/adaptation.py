"""How many bits a candidate sends: it does what the server's REMB and transport-wide feedback ask.

Pure. It is much simpler than a browser's congestion control: a few bitrates, down at once, up
slowly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from server.core.rtp import Unwrapper
from server.core.twcc import TICK_S, TransportFeedback

#: More than this share of a second's packets lost, and it steps down.
MAX_LOSS = 0.10
#: Packets that take so much longer than the quickest of late stand in a queue that grows.
MAX_QUEUE_S = 0.15
#: Judged once so many packets were reported.
MIN_PACKETS = 50
#: No second step before the first one can have helped.
STEP_S = 2.0
#: It steps up after so long without a reason not to, when there is so much room above it.
CALM_S = 5.0
#: After each rise that did not hold it waits twice as long, up to this.
MAX_CALM_S = 60.0
HEADROOM = 1.2
#: Packets of which it remembers when they were sent: about eight seconds.
HISTORY = 2048


@dataclass(slots=True)
class Adaptation:
    """Which of `rates_bps`, the highest first, is to be sent. Times by one steady clock."""

    rates_bps: Sequence[int]
    level: int = 0  #: index in `rates_bps`
    beside_bps: float = 0.0  #: sent besides, which is counted in what the server takes
    _max_bps: float = inf
    _next: int = 0
    _sent_s: list[float] = field(default_factory=lambda: [0.0] * HISTORY)
    _numbers: list[int] = field(default_factory=lambda: [-1] * HISTORY)
    _ticks: Unwrapper = field(default_factory=lambda: Unwrapper(32))
    _lost: int = 0
    _delays_s: list[float] = field(default_factory=list)
    _quickest_s: float = inf
    _stepped_s: float = -inf
    _rose: bool = False  #: the last step was up
    _calm_s: float = CALM_S
    _calm_since_s: float | None = None

    def number(self, now: float) -> int:
        """The transport-wide number of a packet that is sent at `now`."""
        seqno = self._next
        self._next = (seqno + 1) & 0xFFFF
        self._sent_s[seqno % HISTORY], self._numbers[seqno % HISTORY] = now, seqno
        return seqno

    def max_bitrate(self, bitrate_bps: int, now: float) -> None:
        """The server takes no more than this of all (REMB, as browsers have it)."""
        self._max_bps = bitrate_bps - self.beside_bps
        fitting = [each for each, rate in enumerate(self.rates_bps) if rate <= self._max_bps]
        lowest = min(fitting, default=len(self.rates_bps) - 1)
        if lowest > self.level:
            self._step(lowest, now)
        else:
            self._rise(now)

    def feedback(self, feedback: TransportFeedback, now: float) -> None:
        """The server says what came, and when."""
        for seqno, arrival in enumerate(feedback.arrivals, feedback.base_seqno):
            if self._numbers[seqno % HISTORY] != seqno & 0xFFFF:
                continue  # forgotten, or never sent
            if arrival is None:
                self._lost += 1
            else:
                arrived_s = self._ticks.unwrap(arrival) * TICK_S
                self._delays_s.append(arrived_s - self._sent_s[seqno % HISTORY])
        if self._lost + len(self._delays_s) >= MIN_PACKETS:
            self._judge(now)

    def _judge(self, now: float) -> None:
        count = self._lost + len(self._delays_s)
        lossy = self._lost > MAX_LOSS * count
        middle_s = sorted(self._delays_s)[len(self._delays_s) // 2] if self._delays_s else None
        self._quickest_s = min([self._quickest_s, *self._delays_s])
        queued = middle_s is not None and middle_s - self._quickest_s > MAX_QUEUE_S
        self._lost, self._delays_s = 0, []
        if not lossy and not queued:
            self._rise(now)
        elif now - self._stepped_s >= STEP_S:
            if self._rose:
                self._calm_s = min(2 * self._calm_s, MAX_CALM_S)
            self._step(min(self.level + 1, len(self.rates_bps) - 1), now)
        else:
            self._calm_since_s = None

    def _step(self, level: int, now: float) -> None:
        self._rose = level < self.level
        self.level, self._stepped_s, self._calm_since_s = level, now, None

    def _rise(self, now: float) -> None:
        """One level, after a while in which there was room for it all the time."""
        room = self.level > 0 and self._max_bps >= HEADROOM * self.rates_bps[self.level - 1]
        if not room:
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = now
        elif now - self._calm_since_s >= self._calm_s:
            self._step(self.level - 1, now)
