"""Size and rate limits of everything a stranger can send. Pure: the time is an argument."""

from collections import OrderedDict
from dataclasses import dataclass, field

#: A Chromium offer with camera, microphone and simulcast is about 8 KiB.
MAX_SDP_BYTES = 64 * 1024
#: The largest JSON request is an interview's title.
MAX_JSON_BYTES = 16 * 1024
#: A WebSocket message carries at most one SDP.
MAX_MESSAGE_BYTES = 64 * 1024
MAX_TITLE_CHARS = 200
#: Addresses or links remembered at once; the least recently seen is forgotten first.
MAX_KEYS = 10_000
#: Sockets and sessions that one link may have: tabs and devices of some people, not a crowd.
MAX_OPENINGS_PER_LINK = 50


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` at once, then ``per_s`` each second."""

    per_s: float
    burst: float


#: Of what no link answers for. A whole office joins from one address, and a load test too.
PER_ADDRESS = Rate(per_s=100, burst=400)
#: Replay reads some fragments every few seconds, and a dozen times as often after each seek.
PER_LINK = Rate(per_s=50, burst=200)
#: A page sends an offer, a ping now and then, and a goodbye.
PER_SOCKET = Rate(per_s=5, burst=30)


@dataclass(slots=True)
class TokenBucket:
    """The classic bucket: full at first, refilled continuously, emptied by ``take``."""

    rate: Rate
    _level: float = field(init=False)
    _at_s: float | None = None

    def __post_init__(self) -> None:
        self._level = self.rate.burst

    def take(self, now: float) -> bool:
        """Take one; False when none is left. A clock that goes back refills nothing."""
        elapsed_s = max(0.0, now - self._at_s) if self._at_s is not None else 0.0
        self._level = min(self.rate.burst, self._level + elapsed_s * self.rate.per_s)
        self._at_s = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def is_full(self, now: float) -> bool:
        """Whether it is like a new one."""
        if self._at_s is None:
            return True
        return self._level + (now - self._at_s) * self.rate.per_s >= self.rate.burst


class KeyedLimit:
    """One bucket for each key, for the ``max_keys`` most recently seen keys.

    One that is full again is forgotten: links come and go for as long as the server runs.
    """

    def __init__(self, rate: Rate, max_keys: int = MAX_KEYS) -> None:
        self._rate = rate
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        bucket = self._buckets.get(key)
        if bucket is None:
            self._forget_full(now)
            bucket = self._buckets[key] = TokenBucket(self._rate)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket.take(now)

    def _forget_full(self, now: float) -> None:
        """From the least recently seen on, which is the first to be full but for the greedy."""
        while self._buckets and next(iter(self._buckets.values())).is_full(now):
            self._buckets.popitem(last=False)

    def __len__(self) -> int:
        return len(self._buckets)
