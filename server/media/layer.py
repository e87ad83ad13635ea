"""One stream of a track, alone or out of a simulcast: what it brings, and whether it can be used.

Contract: the up track calls `on_frame` and `on_gap`; the track calls `look` each LOOK_S where
there are several layers, and `measure` each second.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from server.core.frames import EncodedFrame, Gap
from server.core.picture import Size, picture_size
from server.media.up_track import UpTrack

LOOK_S = 0.1
#: Silent for so many looks while another layer was heard in each: the browser has stopped it.
QUIET_LOOKS = 3
#: Packets without a whole frame for longer than repair and a keyframe take.
BROKEN_S = 1.5
#: A layer that failed is used again after it was well for so long, twice as long each time.
RETURN_S = 2.0
LONGEST_RETURN_S = 32.0
#: VP8 and VP9 tell temporal layers by three bits at most, browsers send three.
TEMPORAL_LAYERS = 8


class Step(NamedTuple):
    """A part of a layer that can be sent alone: its frames up to a temporal layer."""

    temporal_id: int
    bitrate_bps: float
    frames_per_s: float


class Layer:
    """`rid`: its name in the simulcast; empty where there is only one stream."""

    def __init__(
        self,
        rid: str,
        on_frame: Callable[["Layer", EncodedFrame], None],
        on_gap: Callable[["Layer", Gap], None],
    ) -> None:
        self.rid = rid
        self._up: UpTrack | None = None
        self.size = Size(0, 0)
        self.steps: tuple[Step, ...] = ()
        self._on_frame = on_frame
        self._on_gap = on_gap
        self._frame_s = -math.inf
        self._octets = [0] * TEMPORAL_LAYERS
        self._frames = [0] * TEMPORAL_LAYERS
        self._measured_s: float | None = None
        self._pictures = 0
        self._quiet_looks = 0
        self._well_since_s: float | None = None
        self._failures = 0

    @property
    def up(self) -> UpTrack:
        assert self._up is not None, "carries an up track before it is added to its track"
        return self._up

    @up.setter
    def up(self, up: UpTrack) -> None:
        self._up = up

    def removed(self) -> None:
        """The up track refers to its layer: what refers to each other is freed much later."""
        self._up = None

    def on_frame(self, frame: EncodedFrame) -> None:
        self._frame_s = frame.arrived_s
        self._frames[frame.temporal_id] += 1
        self._octets[frame.temporal_id] += len(frame.payload)
        if frame.keyframe:
            self.size = picture_size(frame.codec, frame.payload) or self.size
        self._on_frame(self, frame)

    def on_gap(self, gap: Gap) -> None:
        self._on_gap(self, gap)

    # ---- whether it can be used

    def look(self, others: Sequence["Layer"], now: float) -> None:
        """What has come since the last look, and whether that is less than of the others."""
        heard = self._moved()
        if heard:
            self._quiet_looks = 0
        elif any(each._moved() for each in others):
            self._quiet_looks += 1
        late_s = now - self._frame_s
        broken = late_s > BROKEN_S and any(now - each._frame_s < LOOK_S for each in others)
        well = self._quiet_looks < self._patience() and not broken
        if not well and self._well_since_s is not None:
            self._failures += 1
            self._well_since_s = None
        elif well and self._well_since_s is None:
            self._well_since_s = now if late_s < LOOK_S else None
        elif well and now - (self._well_since_s or now) > 2 * LONGEST_RETURN_S:
            self._failures = 0

    def looked(self) -> None:
        """After the looks of all layers: what comes from now on is for the next ones."""
        self._pictures = self.up.pictures

    def _moved(self) -> bool:
        return self.up.pictures != self._pictures

    def _patience(self) -> float:
        """A layer of few pictures a second may be silent for longer."""
        frames_per_s = self.steps[-1].frames_per_s if self.steps else 0.0
        return max(QUIET_LOOKS, 3 / LOOK_S / frames_per_s if frames_per_s else 0)

    def is_well(self, now: float) -> bool:
        """Whether its frames come, and have come for long enough after it failed."""
        if self._well_since_s is None or not self.size.lines:
            return False
        rest_s = min(RETURN_S * 2 ** (self._failures - 1), LONGEST_RETURN_S)
        return not self._failures or now - self._well_since_s >= rest_s

    # ---- what it takes to send it

    def measure(self, now: float) -> None:
        """What its temporal layers took since the last call, evened out over a few seconds."""
        since_s, self._measured_s = self._measured_s, now
        frames, self._frames = self._frames, [0] * TEMPORAL_LAYERS
        octets, self._octets = self._octets, [0] * TEMPORAL_LAYERS
        if since_s is None or now <= since_s:
            return
        before = {step.temporal_id: step for step in self.steps}
        steps, count, size = [], 0, 0
        for temporal_id in range(TEMPORAL_LAYERS):
            if not frames[temporal_id] and temporal_id not in before:
                continue
            count, size = count + frames[temporal_id], size + octets[temporal_id]
            step = Step(temporal_id, 8 * size / (now - since_s), count / (now - since_s))
            steps.append(_between(before.get(temporal_id), step))
        self.steps = tuple(steps)


def _between(before: Step | None, step: Step) -> Step:
    if before is None:
        return step
    return Step(
        step.temporal_id,
        (before.bitrate_bps + step.bitrate_bps) / 2,
        (before.frames_per_s + step.frames_per_s) / 2,
    )
