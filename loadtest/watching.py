"""What of a VP8 stream a browser could show, and where its picture would stand still. Pure.

A picture is shown when it and all that it refers to have come; there is no playout delay that
hides a late one. A freeze is one by WebRTC's definition, for which the picture must have moved
before: who shows next to nothing hardly ever freezes. So the time in which no picture moves is
counted as well.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from loadtest.media import FPS

#: https://www.w3.org/TR/webrtc-stats/#dom-rtcinboundrtpstreamstats-freezecount: longer than three
#: of the last 30 intervals on average, and by 150 ms; as libwebrtc has it, of five at least.
FREEZE_INTERVALS, FREEZE_S, WINDOW, MIN_INTERVALS = 3, 0.15, 30, 5
#: The same for a picture before which as many were shown as the load test's cameras send.
STANDING_S = max(FREEZE_INTERVALS / FPS, 1 / FPS + FREEZE_S)
#: Whole pictures that wait for others; more are between two keyframes in no clip.
MAX_WAITING = 256
_KEYFRAME_START_CODE = b"\x9d\x01\x2a"


class Place(NamedTuple):
    """Where a picture stands among others (RFC 7741 4.2)."""

    keyframe: bool
    base: int  #: TL0PICIDX, 8 bits: of the base layer's last picture, maybe itself
    temporal_id: int
    base_only: bool  #: Y: it refers to nothing but the base layer


def read_place(payload: bytes) -> Place | None:
    """From the first packet of a picture; None where it does not tell."""
    # X, no partition before; I, and L and T as `vp8_descriptor` has it, or neither.
    if len(payload) < 6 or payload[0] & 0x97 != 0x90:
        return None
    at = 4 if payload[2] & 0x80 else 3
    match payload[1] & 0xF0:
        case 0xE0:
            base, layer, frame = payload[at], payload[at + 1], payload[at + 2 :]
        case 0x80:  # each refers to the one before it
            base, layer, frame = payload[at - 1], 0, payload[at:]
        case _:
            return None
    keyframe = frame[3:6] == _KEYFRAME_START_CODE and not frame[0] & 1
    return Place(keyframe, base, layer >> 6, bool(layer & 0x20))


@dataclass(slots=True)
class Freezes:
    """Contract: `show` at each picture, `end` when nobody looks on; what comes then counts not."""

    count: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0
    standing_s: float = 0.0  #: in all, whatever was shown before
    shown_s: float | None = None  #: when the last picture was
    _ended: bool = False
    _intervals_s: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def show(self, now: float) -> None:
        if self._ended:
            return
        if self.shown_s is not None:
            self._add(now - self.shown_s)
        self.shown_s = now

    def end(self, now: float) -> None:
        """The picture that stands now may be a freeze, too."""
        if self.shown_s is not None:
            self.show(now)
        self._ended = True

    def _add(self, interval_s: float) -> None:
        intervals = self._intervals_s
        intervals.append(interval_s)
        if interval_s >= STANDING_S:
            self.standing_s += interval_s
        mean_s = sum(intervals) / len(intervals)
        longest_s = max(FREEZE_INTERVALS * mean_s, mean_s + FREEZE_S)
        if len(intervals) >= MIN_INTERVALS and interval_s >= longest_s:
            self.count += 1
            self.total_s += interval_s
            self.longest_s = max(self.longest_s, interval_s)


@dataclass(slots=True)
class Screen:
    """Contract: `take` each whole picture once, `freezes.end` when nobody looks on."""

    freezes: Freezes = field(default_factory=Freezes)
    pictures: int = 0  #: shown
    _waiting: dict[int, Place] = field(default_factory=dict)
    _base: int | None = None  # TL0PICIDX of the last one shown of the base layer, and
    _layers: set[int] = field(default_factory=set)  # the layers shown since
    _newest: int = -1

    def take(self, frame: int, place: Place, now: float) -> None:
        """Whole picture number `frame`: it is shown, and what waited for it, or waits itself."""
        self._waiting[frame] = place
        shown = 0
        while (ready := self._next()) is not None:
            self._show(ready, self._waiting.pop(ready))
            shown += 1
        if shown:
            self.pictures += shown
            self.freezes.show(now)
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[min(self._waiting)]

    def _next(self) -> int | None:
        """The oldest that can be shown after the newest; a keyframe needs none before it."""
        fitting = (frame for frame, place in self._waiting.items() if self._fits(frame, place))
        return min(fitting, default=None)

    def _fits(self, frame: int, place: Place) -> bool:
        if frame < self._newest:
            return False
        if place.keyframe or self._base is None:
            return place.keyframe
        if place.temporal_id == 0:
            return place.base == (self._base + 1) & 0xFF
        needed = place.temporal_id - 1 in self._layers or place.base_only
        return place.base == self._base and needed

    def _show(self, frame: int, place: Place) -> None:
        if place.temporal_id == 0:
            self._base, self._layers = place.base, {0}
        self._layers.add(place.temporal_id)
        self._newest = frame
        self._waiting = {each: of for each, of in self._waiting.items() if each > frame}


def decodable(pictures: Iterable[tuple[int, bytes]]) -> int:
    """How many of these, by number and first payload, have all that they refer to with them."""
    screen = Screen()
    for number, payload in sorted(pictures):
        place = read_place(payload)
        if place is not None:
            screen.take(number, place, 0.0)
    return screen.pictures
