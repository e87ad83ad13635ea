"""How long the picture stands still: no new one arrives, or each equals the one before."""

import math
from collections.abc import Iterable

import numpy as np

from server.live_analysis.card import EVERYWHERE, Card, Measure, Modality
from server.live_analysis.port import Image, Measurement, Picture

CARD = Card(
    analyser="freeze",
    modality=Modality.VIDEO,
    measures=(Measure("picture.frozen", "s", 0, None),),
    rate_hz=5,
    cost_ms_per_s=0.6,
    biometric=False,
    policies=EVERYWHERE,
    validated="streams that stop, and encoded streams of one repeated picture, within 0.4 s",
)

#: A pixel has changed when its luma (0..255) moved by more: encoders refine still pictures by
#: a level or two, a camera's noise survives as more.
CHANGED_LUMA = 3
#: A keyframe is coded anew and then refined: for so long, what stood still may look changed.
SETTLING_S = 0.4
#: Share of changed pixels from which the picture moves: a blink at 320x180 is about 30 pixels.
MOVING = 0.0003


class Freeze:
    def __init__(self) -> None:
        self._last: Image | None = None
        self._moved_s: float | None = None
        self._seen_s = self._keyframe_s = -math.inf

    def see(self, picture: Picture) -> Iterable[Measurement]:
        if picture.keyframe:
            self._keyframe_s = picture.capture_s
        if self._last is None or self._moved_s is None or _differ(self._last, picture.luma):
            settling = picture.capture_s - self._keyframe_s < SETTLING_S
            if self._moved_s is None or self._moved_s == self._seen_s or not settling:
                self._moved_s = picture.capture_s
            self._last = picture.luma
        self._seen_s = picture.capture_s
        return self._report(picture.capture_s)

    def miss(self, now_s: float) -> Iterable[Measurement]:
        """Counts from the first call when no picture has ever come."""
        if self._moved_s is None:
            self._moved_s = now_s
        return self._report(now_s)

    def _report(self, now_s: float) -> Iterable[Measurement]:
        assert self._moved_s is not None
        return (Measurement("picture.frozen", max(0.0, now_s - self._moved_s)),)


def _differ(one: Image, other: Image) -> bool:
    if one.shape != other.shape:
        return True
    apart = np.maximum(one, other) - np.minimum(one, other)
    return bool(np.count_nonzero(apart > CHANGED_LUMA) > MOVING * apart.size)
