"""One interview's media: the candidate's and an interviewer's current tracks, and who takes them.

A source outlives their connections: down tracks and sinks stay and follow the tracks of the
newest candidate and of the newest interviewer.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from server.core.frames import OF_CANDIDATE, OF_INTERVIEWER, Codec, FrameSink, TrackName
from server.media.forwarding.down_track import DownTrack
from server.media.forwarding.layer import Layer
from server.media.forwarding.track import Track
from server.media.receiving.up_track import UpTrack

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
        self._tracks = {name: Track(name) for name in OF_CANDIDATE}
        # An interviewer who waits for the candidate is no part of the interview.
        first = tuple(self._tracks.values())
        self._tracks |= {name: Track(name, after=first) for name in OF_INTERVIEWER}
        self._left: set[TrackName] = set()  # whoever sends these has said goodbye
        self._screen_ended_s = -math.inf
        self._round_trip: Callable[[], float | None] = _unknown

    @property
    def first_media_s(self) -> float | None:
        """When the candidate's first frame was captured, in Unix seconds."""
        began = (self._tracks[name].first_frame_s for name in OF_CANDIDATE)
        return min((each for each in began if each is not None), default=None)

    # ---- subscribers

    def add_sink(
        self,
        sink: FrameSink,
        enough_lines: int | None = None,
        *,
        tracks: Collection[TrackName] = tuple(TrackName),
    ) -> None:
        """It gets the frames and gaps of `tracks`, and of no other.

        `enough_lines`: of a picture's layers the smallest of so many will do; None: the best.
        """
        for name in tracks:
            self._tracks[name].add_sink(sink, enough_lines)

    def remove_sink(self, sink: FrameSink) -> None:
        for track in self._tracks.values():
            track.remove_sink(sink)

    def expect_down(self, name: TrackName) -> None:
        """A down track for it will be added as soon as its observer is connected."""
        self._tracks[name].expect_down()

    def add_down(self, name: TrackName, down: DownTrack, now: float) -> None:
        """`now` in Unix seconds."""
        self._tracks[name].add_down(down, now)

    def remove_down(self, name: TrackName, down: DownTrack) -> None:
        self._tracks[name].remove_down(down)

    def downs(self, name: TrackName) -> list[DownTrack]:
        return self._tracks[name].downs

    def request_keyframe(self, name: TrackName, enough_lines: int | None = None) -> None:
        """For the sinks that were added with so many lines."""
        self._tracks[name].request_keyframe(enough_lines)

    # ---- the publisher's side

    def publisher_connected(
        self,
        tracks: Collection[TrackName],
        round_trip: Callable[[], float | None],
        now: float,
    ) -> None:
        """A new publisher takes these tracks over; `round_trip` tells its round trip in seconds."""
        if TrackName.CAMERA in tracks:
            self._round_trip = round_trip
        for name in tracks:
            self._left.discard(name)
            for up in self._tracks[name].ups:
                self.remove_up(up, now)

    def publisher_closed(self, round_trip: Callable[[], float | None]) -> None:
        """The one of this `round_trip` is gone, if no other has taken over."""
        if self._round_trip == round_trip:
            self._round_trip = _unknown

    def layer(self, name: TrackName, rid: str = "") -> Layer:
        """For a new stream of a track: what its up track calls; then `add_up`."""
        return self._tracks[name].layer(rid)

    def add_up(self, up: UpTrack, layer: Layer) -> None:
        """A stream: the one of its track, or a layer of a simulcast."""
        layer.up = up
        self._tracks[up.name].add(layer)

    def remove_up(self, up: UpTrack, now: float) -> None:
        up.close(now)
        track = self._tracks[up.name]
        screen_ended = up.name is TrackName.SCREEN and self._screen_has_ended(up.last_capture_s)
        for layer in [each for each in track.layers if each.up is up]:
            track.remove(layer, ended=screen_ended or up.name in self._left)

    def goodbye(self, tracks: Collection[TrackName]) -> None:
        """Whoever sends these is about to leave on purpose: what comes no more is not missing."""
        self._left.update(tracks)

    def tick(self, now: float) -> None:
        """Chooses layers; called with the publisher's timers."""
        for track in self._tracks.values():
            track.tick(now)

    def end_screen(self) -> None:
        """The candidate shares no more: what comes just after are stragglers."""
        last_capture_s = self._tracks[TrackName.SCREEN].last_capture_s
        if last_capture_s is not None:
            self._screen_ended_s = last_capture_s

    def _screen_has_ended(self, last_capture_s: float | None) -> bool:
        return (last_capture_s or 0.0) <= self._screen_ended_s + STRAGGLERS_S

    def shows_screen(self, now: float) -> bool:
        """Whether the candidate shares a screen; `now` in Unix seconds."""
        last_capture_s = self._tracks[TrackName.SCREEN].last_capture_s
        if last_capture_s is None or self._screen_has_ended(last_capture_s):
            return False
        return now - last_capture_s <= SCREEN_SILENT_S

    # ---- counters

    def stats(self, now: float) -> SourceStats:
        """What has been counted of the candidate's tracks; `now` in Unix seconds."""
        candidates = {name: self._tracks[name].ups for name in OF_CANDIDATE}
        tracks = {name: _stats(ups) for name, ups in candidates.items() if ups}
        return SourceStats(tracks, self._round_trip() if tracks else None)


def _stats(ups: Sequence[UpTrack]) -> TrackStats:
    return TrackStats(
        ups[0].codec,
        sum(up.packets for up in ups),
        sum(up.octets for up in ups),
        sum(up.packets_lost for up in ups),
        max(up.jitter_s for up in ups),
        sum(up.nacks.requested for up in ups if up.nacks is not None),
        sum(up.keyframe_requests for up in ups),
        sum(up.frames for up in ups),
    )
