"""One stream of a track, alone or out of a simulcast: what it brings, and whether it can be used.

In a stream there may be temporal layers, and in VP9's and AV1's spatial ones: the same picture in
several sizes, of which all but the smallest need those below.

Contract: the up track calls `on_frame` and `on_gap`; the track calls `look` each LOOK_S where
there are several layers, and `measure` each second.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from server.core.frames import EncodedFrame, Gap
from server.core.picture import Size, octets_of_layers, picture_sizes
from server.media.forwarding.thinner import ALL_LAYERS, Part
from server.media.receiving.up_track import UpTrack

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
    """A part of a layer that can be sent alone."""

    part: Part
    bitrate_bps: float
    frames_per_s: float
    whole: bool  #: all pictures of their size
    smallest: bool  #: there is no smaller picture in the layer


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
        self._spatial_layers = 1
        self._octets: Counter[Part] = Counter()
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
        if frame.keyframe:
            sizes = picture_sizes(frame.codec, frame.payload)
            self.size, self._spatial_layers = max(sizes, default=self.size), max(len(sizes), 1)
            if self.up.dependencies is not None:
                self._spatial_layers = self.up.dependencies.spatial_layers
        if self._spatial_layers == 1:
            self._octets[Part(frame.temporal_id)] += len(frame.payload)
        else:
            for spatial_id, octets in enumerate(octets_of_layers(frame.codec, frame.payload)):
                self._octets[Part(frame.temporal_id, spatial_id)] += octets
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
        """What its parts took since the last call, evened out over a few seconds."""
        since_s, self._measured_s = self._measured_s, now
        frames, self._frames = self._frames, [0] * TEMPORAL_LAYERS
        octets, self._octets = self._octets, Counter()
        if since_s is None or now <= since_s:
            return
        before = {step.part: step for step in self.steps}
        several = self._spatial_layers > 1
        steps: list[Step] = []
        for spatial_id in range(self._spatial_layers) if several else (ALL_LAYERS,):
            parts = [Part(temporal_id, spatial_id) for temporal_id in range(TEMPORAL_LAYERS)]
            parts = [each for each in parts if frames[each.temporal_id] or each in before]
            for part in parts:
                count = sum(frames[: part.temporal_id + 1])
                size = sum(octets[each] for each in octets if part.contains(each))
                rates = 8 * size / (now - since_s), count / (now - since_s)
                smallest = not (several and spatial_id)
                step = Step(part, *rates, whole=part is parts[-1], smallest=smallest)
                steps.append(_between(before.get(part), step))
        self.steps = tuple(steps)


def _between(before: Step | None, step: Step) -> Step:
    if before is None:
        return step
    return step._replace(
        bitrate_bps=(before.bitrate_bps + step.bitrate_bps) / 2,
        frames_per_s=(before.frames_per_s + step.frames_per_s) / 2,
    )
