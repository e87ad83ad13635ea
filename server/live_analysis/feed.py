"""One interview's way into the analysis and back: what signalling holds.

Frames go to a worker, if its pipe takes them; indicators and alerts come back by callback.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from server.core.frames import EncodedFrame, Gap, TrackName
from server.core.indicators import Alert, Indicator
from server.live_analysis import network, wire
from server.live_analysis.alerts import Alerts
from server.live_analysis.layers import SpatialLayers, TemporalLayers
from server.live_analysis.network import NetworkSample

logger = logging.getLogger(__name__)

OnIndicators = Callable[[tuple[Indicator, ...]], None]
OnAlert = Callable[[Alert], None]
RequestKeyframe = Callable[[], None]

#: Keyframes cost the candidate's picture bits: asked for again only after this long, and after
#: twice as long each time video is lost once more, up to the longest, until it went well for as
#: long as that: the recording must not suffer for an analysis that cannot keep up.
KEYFRAME_RETRY_S = 2.0
LONGEST_RETRY_S = 32.0


#: A feed over which so many workers ended in so long is not analysed for as long again: bytes
#: that crash a decoder must not cost the other interviews their indicators again and again.
MOST_BLAMES = 2
BLAME_S = 60.0


class Pipe(Protocol):
    """Where a feed's messages go: never blocks; False when a frame found no room."""

    def send(self, message: wire.ToWorker) -> bool: ...


@dataclass(slots=True)
class FrameCounters:
    sent: int = 0
    #: Not sent or not decoded because a worker did not keep up or restarted.
    dropped: int = 0
    #: Not sent because lower temporal layers are enough.
    skipped: int = 0
    keyframes_requested: int = 0


class Feed:
    """A ``FrameSink`` for one interview; call it from the event loop's thread.

    Video starts, and after a loss goes on, at a keyframe; one is asked for when a delta comes
    first. ``close`` ends the callbacks; it may be called twice.
    """

    def __init__(
        self,
        id_: int,
        pipe: Pipe,
        counters: FrameCounters,
        on_indicators: OnIndicators,
        on_alert: OnAlert,
        request_keyframe: RequestKeyframe,
        on_close: Callable[["Feed"], None],
    ) -> None:
        self.id = id_
        self._pipe = pipe
        self._counters = counters
        self._on_indicators = on_indicators
        self._on_alert = on_alert
        self._request_keyframe = request_keyframe
        self._on_close = on_close
        self._alerts = Alerts()
        self._layers = TemporalLayers()
        self._sizes = SpatialLayers()
        self._video_open = False
        self._asked_s = self._lost_s = -math.inf
        self._retry_s = KEYFRAME_RETRY_S
        self._closed = False
        self._kept: dict[str, bytes] = {}
        self._now_s = 0.0
        self._blamed_s: list[float] = []
        self._banned_until_s = -math.inf
        self._pipe.send(wire.Open(id_, {}))

    def on_frame(self, frame: EncodedFrame) -> None:
        if frame.track is TrackName.SCREEN:
            return  # what is shown there says nothing about the candidate
        self._now_s = frame.arrived_s
        if self._closed or not self._admit(frame):
            return
        message = wire.Frame(
            self.id,
            frame.track,
            frame.codec,
            self._sizes.lowest(frame),
            frame.capture_s,
            frame.arrived_s,
            frame.keyframe,
        )
        if self._pipe.send(message):
            self._counters.sent += 1
            return
        self._counters.dropped += 1
        if frame.track is TrackName.CAMERA:
            self._lose_video()

    def on_gap(self, gap: Gap) -> None:
        """Deltas after lost frames show what was never sent; audio's holes are seen by time."""
        if gap.track is TrackName.CAMERA:
            self._video_open = False

    def on_network(self, stats: NetworkSample) -> None:
        if not self._closed:
            self.deliver(network.measure(stats))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._pipe.send(wire.Close(self.id))
            self._on_close(self)

    def deliver(self, indicators: tuple[Indicator, ...]) -> None:
        """Hand values out, and the alerts that change with them."""
        if self._closed:
            return
        # The callbacks belong to one interview: their faults must not reach the others'.
        try:
            self._on_indicators(indicators)
            for alert in self._alerts.update(indicators):
                self._on_alert(alert)
        except Exception:
            logger.exception("a subscriber of indicators failed")

    def resume_at_keyframe(self, dropped: int) -> None:
        """The worker cannot decode on from here: ``dropped`` frames are lost to it."""
        self._counters.dropped += dropped
        self._lose_video()

    def keep(self, kept: dict[str, bytes]) -> None:
        """What the next worker is to know, should this one end."""
        self._kept = kept

    def blame(self) -> None:
        """A worker ended or hung over this feed: with the second time, it is left out a while."""
        self._blamed_s = [at for at in self._blamed_s if self._now_s - at < BLAME_S]
        self._blamed_s.append(self._now_s)
        if len(self._blamed_s) >= MOST_BLAMES:
            self._banned_until_s = self._now_s + BLAME_S
            logger.error("a feed is not analysed for %d s: workers end over it", BLAME_S)

    def reopen(self) -> None:
        """A new worker knows nothing of this feed."""
        self._video_open = False
        self._asked_s = -math.inf
        self._retry_s = KEYFRAME_RETRY_S
        self._pipe.send(wire.Open(self.id, self._kept))

    def _admit(self, frame: EncodedFrame) -> bool:
        """Whether a frame is worth sending."""
        if frame.arrived_s < self._banned_until_s:
            self._counters.dropped += 1
            self._video_open = False
            return False
        return frame.track is TrackName.MICROPHONE or self._admit_video(frame)

    def _admit_video(self, frame: EncodedFrame) -> bool:
        if not self._layers.admit(frame):
            self._counters.skipped += 1
            return False
        if frame.keyframe:
            self._video_open = True
        if not self._video_open:
            self._counters.dropped += 1
            self._ask(frame.arrived_s)
        return self._video_open

    def _lose_video(self) -> None:
        """Video is lost on the way to its picture: the more often, the rarer it is resumed."""
        calm = self._now_s - self._lost_s > LONGEST_RETRY_S
        self._retry_s = KEYFRAME_RETRY_S if calm else min(2 * self._retry_s, LONGEST_RETRY_S)
        self._lost_s = self._now_s
        self._video_open = False

    def _ask(self, now_s: float) -> None:
        if now_s - self._asked_s >= self._retry_s:
            self._asked_s = now_s
            self._counters.keyframes_requested += 1
            self._request_keyframe()
