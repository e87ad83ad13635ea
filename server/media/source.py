"""One interview's media: the candidate's current tracks, and everyone who takes from them.

A source outlives the candidate's connections: down tracks and sinks stay and follow the
newest publisher's tracks.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from server.core.frames import Codec, EncodedFrame, FrameSink, Gap, GapCause, TrackName
from server.media.down_track import DownTrack
from server.media.up_track import UpTrack

log = logging.getLogger(__name__)


#: A candidate who stops sharing without a goodbye: without a picture for this long the screen is
#: gone. A still one is repeated by browsers each second, and asked for every four.
SCREEN_SILENT_S = 6.0
#: What was captured before a screen's end was told may be that much later than what had come.
STRAGGLERS_S = 0.5


@dataclass(frozen=True, slots=True)
class TrackStats:
    """Counters of one track since its publisher connected."""

    codec: Codec
    packets: int
    bytes: int
    packets_lost: int
    jitter_s: float
    nacks: int
    keyframe_requests: int
    frames: int


@dataclass(frozen=True, slots=True)
class SourceStats:
    tracks: dict[TrackName, TrackStats] = field(default_factory=dict)
    round_trip_s: float | None = None


def _unknown() -> None: ...


class Source:
    """Not to be awaited, not thread-safe: used on the media loop only."""

    def __init__(self, interview_id: str) -> None:
        self.interview_id = interview_id
        self.first_media_s: float | None = None
        self._ups: dict[TrackName, UpTrack] = {}
        self._downs: dict[TrackName, list[DownTrack]] = {name: [] for name in TrackName}
        self._sinks: list[FrameSink] = []
        self._last_capture_s: dict[TrackName, float] = {}
        self._screen_ended_s = -math.inf
        self._round_trip: Callable[[], float | None] = _unknown

    # ---- subscribers

    def add_sink(self, sink: FrameSink) -> None:
        self._sinks.append(sink)
        for name in self._ups:
            self.request_keyframe(name)

    def remove_sink(self, sink: FrameSink) -> None:
        if sink in self._sinks:
            self._sinks.remove(sink)

    def add_down(self, name: TrackName, down: DownTrack) -> None:
        self._downs[name].append(down)
        down.attach(self._ups.get(name))
        self.request_keyframe(name)

    def remove_down(self, name: TrackName, down: DownTrack) -> None:
        if down in self._downs[name]:
            self._downs[name].remove(down)

    def request_keyframe(self, name: TrackName) -> None:
        up = self._ups.get(name)
        if up is not None:
            up.request_keyframe()

    # ---- the publisher's side

    def downs(self, name: TrackName) -> Sequence[DownTrack]:
        """The live list that an up track forwards to."""
        return self._downs[name]

    def publisher_connected(self, round_trip: Callable[[], float | None], now: float) -> None:
        """A new publisher takes over; `round_trip` tells its round trip in seconds."""
        self._round_trip = round_trip
        for name in list(self._ups):
            self.remove_up(self._ups[name], now)

    def publisher_closed(self, round_trip: Callable[[], float | None]) -> None:
        """The one of this `round_trip` is gone, if no other has taken over."""
        if self._round_trip == round_trip:
            self._round_trip = _unknown

    def add_up(self, up: UpTrack) -> None:
        self._ups[up.name] = up
        for down in self._downs[up.name]:
            down.attach(up)

    def remove_up(self, up: UpTrack, now: float) -> None:
        up.close(now)
        if self._ups.get(up.name) is not up:
            return
        del self._ups[up.name]
        ended = up.name is TrackName.SCREEN and self._screen_has_ended(up)
        if up.last_capture_s is not None and not ended:
            self._last_capture_s[up.name] = up.last_capture_s
        for down in self._downs[up.name]:
            down.attach(None)

    def on_frame(self, frame: EncodedFrame) -> None:
        if self.first_media_s is None:
            self.first_media_s = frame.capture_s
        self._declare_disconnected(frame.track, frame.capture_s)
        for sink in self._sinks:
            try:
                sink.on_frame(frame)
            except Exception:
                # Subscribers are foreign code: one that fails must not cost the others a frame.
                log.exception("a subscriber failed on a frame")

    def on_gap(self, gap: Gap) -> None:
        self._declare_disconnected(gap.track, gap.start_s)
        for sink in self._sinks:
            try:
                sink.on_gap(gap)
            except Exception:
                log.exception("a subscriber failed on a gap")

    def _declare_disconnected(self, name: TrackName, until_s: float) -> None:
        """What was missed between two publishers, up to the first sign of the second one."""
        missed_since = self._last_capture_s.pop(name, None)
        if missed_since is not None and until_s > missed_since:
            self.on_gap(Gap(name, missed_since, until_s, GapCause.DISCONNECTED))

    def end_screen(self) -> None:
        """The candidate shares no more: what comes just after are stragglers."""
        up = self._ups.get(TrackName.SCREEN)
        if up is not None and up.last_capture_s is not None:
            self._screen_ended_s = up.last_capture_s

    def _screen_has_ended(self, up: UpTrack) -> bool:
        return (up.last_capture_s or 0.0) <= self._screen_ended_s + STRAGGLERS_S

    def shows_screen(self, now: float) -> bool:
        """Whether the candidate shares a screen; `now` in Unix seconds."""
        up = self._ups.get(TrackName.SCREEN)
        if up is None or up.last_capture_s is None or self._screen_has_ended(up):
            return False
        return now - up.last_capture_s <= SCREEN_SILENT_S

    # ---- counters

    def stats(self, now: float) -> SourceStats:
        """What the up direction has counted; `now` in Unix seconds."""
        tracks = {
            name: TrackStats(
                up.codec,
                up.packets,
                up.octets,
                up.packets_lost,
                up.jitter_s,
                up.nacks.requested if up.nacks is not None else 0,
                up.keyframe_requests,
                up.frames,
            )
            for name, up in self._ups.items()
        }
        return SourceStats(tracks, self._round_trip() if tracks else None)
