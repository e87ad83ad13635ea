"""Which layers of a video are worth decoding: the lowest that are enough. Pure."""

from collections import Counter

from server.core import vp9
from server.core.frames import Codec, EncodedFrame
from server.core.picture import picture_sizes

#: Everything is measured at 320 pixels width (`PICTURE_WIDTH`): a layer of 320x180 will do.
ENOUGH_LINES = 180
#: Pictures a second that the fastest analyser wants, less what frame rates jitter by.
ENOUGH_FPS = 4.5
#: A shorter time says too little about the rate.
SHORTEST_S = 1.0


class TemporalLayers:
    """``admit`` every frame of a stream in decoding order, and decode those it lets through.

    More layers are taken at keyframes only: elsewhere a frame of a higher layer may need one
    that was left out.
    """

    def __init__(self) -> None:
        self._highest: int | None = None
        self._counts: Counter[int] = Counter()
        self._since_s: float | None = None

    def admit(self, frame: EncodedFrame) -> bool:
        if frame.keyframe:
            self._choose(frame.capture_s)
        self._counts[frame.temporal_id] += 1
        return frame.keyframe or self._highest is None or frame.temporal_id <= self._highest

    def _choose(self, now_s: float) -> None:
        """Take as many layers as, since the last choice, had enough frames together."""
        if self._since_s is not None and 0 <= now_s - self._since_s < SHORTEST_S:
            return
        if self._since_s is not None and now_s > self._since_s:
            self._highest = self._fast_enough(now_s - self._since_s)
        self._counts.clear()
        self._since_s = now_s

    def _fast_enough(self, span_s: float) -> int | None:
        frames = 0
        for temporal_id, count in sorted(self._counts.items()):
            frames += count
            if frames >= ENOUGH_FPS * span_s:
                return temporal_id
        return None


class SpatialLayers:
    """Of VP9, whose picture in several sizes is as many frames one behind the other.

    ``lowest`` of every frame that is decoded: another number of layers is taken at keyframes only.
    """

    def __init__(self) -> None:
        self._count: int | None = None  # taken; None: all

    def lowest(self, frame: EncodedFrame) -> bytes:
        """The frame's payload, as far as it is worth decoding."""
        if frame.codec is not Codec.VP9:
            return frame.payload
        if frame.keyframe:
            self._count = _enough_layers(frame)
        if self._count is None:
            return frame.payload
        try:
            return vp9.join_superframe(vp9.split_superframe(frame.payload)[: self._count])
        except vp9.Vp9Error:
            return frame.payload  # the decoder will say so


def _enough_layers(keyframe: EncodedFrame) -> int | None:
    sizes = picture_sizes(keyframe.codec, keyframe.payload)
    lower = enumerate(sizes[:-1], 1)
    return next((count for count, size in lower if size.lines >= ENOUGH_LINES), None)
