"""What an observer is sent a second time, as the first one may have been lost. Pure.

A network that loses a packet often loses its neighbours with it: a copy beside the original is
lost with it, one that comes a little later is not.
"""

from collections import deque
from collections.abc import Iterator

from server.media.forwarding.estimate import MOST_LOSS, Estimate
from server.media.forwarding.thinner import ALL_LAYERS

#: So long after the first one: three packets of video at 1 Mbit/s.
APART_S = 0.02
#: So late it is not worth sending any more: what was lost is asked for by then.
STALE_S = 0.1
#: That wait at a time: more than a second of repairs, or a keyframe of any size.
MAX_WAITING = 512

#: A stream is doubled where the path itself loses so much,
MUCH_LOST, LITTLE_LOST = 0.02, 0.01
#: all of it where it fits twice, else what all of it refers to, about half, where that does.
ROOM_FOR_ALL, ROOM_FOR_BASE = 2.0, 1.5
#: Where the network turns out not to take the copies, it is not tried again within this.
AWAY_S = 30.0


class Copies:
    """Contract: `add` what is to come again; every 10 ms while there is some, send what is `due`.

    Numbers are those of a down track, as sent, extended.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, int]] = deque(maxlen=MAX_WAITING)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, seqno: int, now: float) -> None:
        """It has been sent at `now`. Of too many the oldest are left out."""
        self._waiting.append((now + APART_S, seqno))

    def clear(self) -> None:
        self._waiting.clear()

    def due(self, now: float) -> Iterator[int]:
        while self._waiting and self._waiting[0][0] <= now:
            due_s, seqno = self._waiting.popleft()
            if now - due_s < STALE_S:
                yield seqno


class Doubling:
    """How much of the pictures is doubled. Contract: `look` now and then."""

    def __init__(self) -> None:
        self.through: int | None = None  #: the highest temporal layer that is, None: none
        self._begun_s = self._may_s = 0.0

    def look(self, wanted_bps: float, estimate: Estimate, now: float) -> int | None:
        """What `through` is now. `wanted_bps`: all that is sent, but for copies."""
        doubled = self.through is not None
        # More than any path loses by itself, or more than before, is lost to a full queue.
        own = estimate.lost <= MOST_LOSS and not estimate.losing
        lossy = own and estimate.lost >= (LITTLE_LOST if doubled else MUCH_LOST)
        room = estimate.bitrate_bps / max(wanted_bps, 1.0)
        if doubled and room < ROOM_FOR_BASE and estimate.queued_s > self._begun_s:
            self._may_s = now + AWAY_S
        if not lossy or room < ROOM_FOR_BASE or now < self._may_s:
            self.through = None
        else:
            self._begun_s = self._begun_s if doubled else now
            self.through = ALL_LAYERS if room >= ROOM_FOR_ALL else 0
        return self.through
