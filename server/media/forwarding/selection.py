"""Which layer's frames some sinks get: the best for the recording, a small one for the analysis.

Contract: the track calls `on_frame` and `on_gap` for all of its layers, and `choose` when it has
looked at them. Another layer is taken from its next keyframe on; until then the one before goes
on for as long as it comes, so that nothing is missing where both come.
"""

import logging
from collections import Counter
from collections.abc import Sequence

from server.core.frames import EncodedFrame, FrameSink, Gap, GapCause, TrackName
from server.media.forwarding.layer import Layer

log = logging.getLogger(__name__)

#: Layers are encoded of the same pictures; their clocks differ by less than this.
SAME_PICTURE_S = 0.015


class Selection:
    """`enough_lines`: the smallest layer of so many serves; None: only the best does."""

    def __init__(self, track: TrackName, enough_lines: int | None) -> None:
        self.track = track
        self.enough_lines = enough_lines
        self.sinks: list[FrameSink] = []
        self.current: Layer | None = None
        self._wanted: Layer | None = None
        self._stopped = False  # the current one
        self._last_capture_s: float | None = None
        self._missed: tuple[float, GapCause] | None = None  # since when, and why
        self._left_out: Counter[Layer] = Counter()  # pictures that the current one did not bring

    # ---- frames

    def on_frame(self, layer: Layer, frame: EncodedFrame) -> None:
        if layer is not self.current and not self._turns_to(layer, frame):
            return
        if self._left_out:
            self._left_out.clear()
        self._last_capture_s = frame.capture_s
        for sink in self.sinks:
            try:
                sink.on_frame(frame)
            except Exception:
                # Subscribers are foreign code: one that fails must not cost the others a frame.
                log.exception("a subscriber failed on a frame")

    def _turns_to(self, layer: Layer, frame: EncodedFrame) -> bool:
        wanted = self.current is None or layer is self._wanted
        if wanted and frame.keyframe:
            self._declare(self._left_out[layer], frame.capture_s)
            self.current = layer
            return True
        if frame.capture_s > (self._last_capture_s or 0) + SAME_PICTURE_S:
            self._left_out[layer] += 1
        return False

    def _declare(self, left_out: int, until_s: float) -> None:
        """What is missing before another layer's first frame, if anything is."""
        missed, self._missed = self._missed, None
        # A layer that goes on with fewer pictures than another has no gap.
        if missed is None and left_out and self._stopped and self._last_capture_s is not None:
            missed = self._last_capture_s, GapCause.LAYER_STOPPED
        if missed is not None and until_s > missed[0]:
            self._tell(Gap(self.track, missed[0], until_s, missed[1], left_out))

    def on_gap(self, layer: Layer, gap: Gap) -> None:
        begins = self.current is None and not layer.rid
        if layer is self.current or begins:
            # The first sign of a new publisher, whose first packets were lost.
            self._declare(0, gap.start_s)
            self._last_capture_s = gap.end_s
            self._tell(gap)

    def _tell(self, gap: Gap) -> None:
        for sink in self.sinks:
            try:
                sink.on_gap(gap)
            except Exception:
                log.exception("a subscriber failed on a gap")

    # ---- layers

    def choose(self, layers: Sequence[Layer]) -> None:
        """Of layers that are well, the smallest first."""
        fitting = self.fitting(layers)
        if fitting is None or self.current is None:
            return
        self._wanted = fitting
        self._stopped = self.current not in layers
        if fitting is not self.current:
            fitting.up.request_keyframe()

    def fitting(self, layers: Sequence[Layer]) -> Layer | None:
        if not layers:
            return None
        enough = self.enough_lines
        if enough is None:
            return layers[-1]
        return next((each for each in layers if each.size.lines >= enough), layers[-1])

    def removed(self, layer: Layer, *, ended: bool) -> None:
        """A layer's stream is over; `ended`: on purpose, so that nothing is missing from now on."""
        if layer is self._wanted:
            self._wanted = None
        if layer is not self.current:
            return
        self.current = None
        self._left_out.clear()
        if self._last_capture_s is not None and not ended:
            self._missed = self._last_capture_s, GapCause.DISCONNECTED
