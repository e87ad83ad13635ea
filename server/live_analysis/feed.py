"""One interview's way into the analysis and back: what signalling holds.

Frames go to a worker, if its pipe takes them; indicators and alerts come back by callback.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from server.core.frames import EncodedFrame, Gap, TrackName
from server.core.indicators import Alert, Indicator
from server.live_analysis import network, wire
from server.live_analysis.alerts import Alerts
from server.live_analysis.network import NetworkSample

logger = logging.getLogger(__name__)

OnIndicators = Callable[[tuple[Indicator, ...]], None]
OnAlert = Callable[[Alert], None]
RequestKeyframe = Callable[[], None]

#: Keyframes cost the candidate's picture bits: asked for again only after this long.
KEYFRAME_RETRY_S = 2.0


class Pipe(Protocol):
    """Where a feed's messages go: never blocks; False when there is no room."""

    def send(self, message: wire.ToWorker, urgent: bool) -> bool: ...


@dataclass(slots=True)
class FrameCounters:
    sent: int = 0
    #: Not sent or not decoded because a worker did not keep up or restarted.
    dropped: int = 0
    #: Not sent because no other frame needs them (temporal layers).
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
        self._video_open = False
        self._asked_s = 0.0
        self._closed = False
        self._pipe.send(wire.Open(id_), urgent=True)

    def on_frame(self, frame: EncodedFrame) -> None:
        if self._closed or (frame.track is TrackName.CAMERA and not self._admit(frame)):
            return
        message = wire.Frame(
            self.id,
            frame.track,
            frame.codec,
            frame.payload,
            frame.capture_s,
            frame.arrived_s,
            frame.keyframe,
        )
        audio = frame.track is TrackName.MICROPHONE
        if self._pipe.send(message, urgent=audio):
            self._counters.sent += 1
            return
        self._counters.dropped += 1
        if not audio:
            self._video_open = False

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
            self._pipe.send(wire.Close(self.id), urgent=True)
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
        self._video_open = False

    def reopen(self) -> None:
        """A new worker knows nothing of this feed."""
        self._video_open = False
        self._asked_s = 0.0
        self._pipe.send(wire.Open(self.id), urgent=True)

    def _admit(self, frame: EncodedFrame) -> bool:
        """Whether a video frame is worth sending."""
        if not frame.reference and not frame.keyframe:
            self._counters.skipped += 1
            return False
        if frame.keyframe:
            self._video_open = True
        if not self._video_open:
            self._counters.dropped += 1
            self._ask(frame.arrived_s)
        return self._video_open

    def _ask(self, now_s: float) -> None:
        if now_s - self._asked_s >= KEYFRAME_RETRY_S:
            self._asked_s = now_s
            self._counters.keyframes_requested += 1
            self._request_keyframe()
