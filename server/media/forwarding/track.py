"""One track of a source: a stream, or the layers of a simulcast; who follows it, and which layer.

A track outlives the candidate's connections: observers and sinks stay, and follow the newest
publisher's streams. With one stream and observers who take all of it, nothing here is done for
a packet.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from server.core.frames import EncodedFrame, FrameSink, Gap, TrackName
from server.media.forwarding.down_track import DownTrack
from server.media.forwarding.layer import LOOK_S, Layer
from server.media.forwarding.selection import Selection
from server.media.forwarding.thinner import WHOLE, Part
from server.media.receiving.up_track import UpTrack

MEASURE_S = 1.0
#: Fewer pictures a second are sent only where there is no smaller picture of more.
FLUENT_FPS = 12.0
#: More is sent to an observer only if so much of it is left over, and so long after a change:
#: another layer costs the candidate a keyframe.
HEADROOM = 1.15
RAISE_S = 2.0


class Rung(NamedTuple):
    """What an observer can get: a layer, or a part of it."""

    layer: Layer
    part: Part
    bitrate_bps: float


@dataclass(slots=True)
class _Follower:
    down: DownTrack
    rung: Rung | None = None
    allowed_bps: float = math.inf  #: when it was chosen last
    changed_s: float = -math.inf


class Track:
    """Not to be awaited, not thread-safe: used on the media loop only.

    `after`: until one of these has begun, if there are any, sinks get nothing of it.
    """

    def __init__(self, name: TrackName, after: Sequence["Track"] = ()) -> None:
        self.name = name
        self._after = after
        self.first_frame_s: float | None = None  #: captured, Unix s
        self._layers: list[Layer] = []
        self._followers: list[_Follower] = []
        self._selections: dict[int | None, Selection] = {}
        self._look_s = self._measure_s = 0.0

    # ---- who takes from it

    def add_sink(self, sink: FrameSink, enough_lines: int | None) -> None:
        selection = self._selections.get(enough_lines)
        if selection is None:
            selection = self._selections[enough_lines] = Selection(self.name, enough_lines)
            selection.current = selection.fitting(_smallest_first(self._layers))
        selection.sinks.append(sink)
        if selection.current is not None:
            selection.current.up.request_keyframe()

    def remove_sink(self, sink: FrameSink) -> None:
        for key, selection in list(self._selections.items()):
            if sink in selection.sinks:
                selection.sinks.remove(sink)
            if not selection.sinks:
                del self._selections[key]

    def expect_down(self) -> None:
        """One will be added soon: a keyframe for it is best on its way by then."""
        best = self._best
        if best is not None:
            best.up.request_keyframe()

    def add_down(self, down: DownTrack, now: float) -> None:
        follower = _Follower(down)
        self._followers.append(follower)
        best = self._best
        self._attach(follower, best)
        down.catch_up(now)
        if best is not None and down.waiting:
            best.up.request_keyframe()

    def remove_down(self, down: DownTrack) -> None:
        down.attach(None)
        self._followers = [each for each in self._followers if each.down is not down]

    @property
    def downs(self) -> list[DownTrack]:
        return [each.down for each in self._followers]

    # ---- what the publisher brings

    def layer(self, rid: str) -> Layer:
        """For a stream that is about to come: what its up track calls."""
        return Layer(rid, self._frame, self._gap)

    def add(self, layer: Layer) -> None:
        self._layers.append(layer)
        for each in self._followers:
            if each.rung is None:
                self._attach(each, layer)

    def remove(self, layer: Layer, *, ended: bool) -> None:
        """`ended`: on purpose, so that nothing is missing from now on."""
        self._layers.remove(layer)
        for selection in self._selections.values():
            selection.removed(layer, ended=ended)
        for each in self._followers:
            if each.rung is not None and each.rung.layer is layer:
                self._attach(each, self._best)
        layer.removed()

    @property
    def _best(self) -> Layer | None:
        return max(self._layers, key=lambda layer: layer.size.pixels, default=None)

    def _attach(self, follower: _Follower, layer: Layer | None) -> None:
        follower.rung = Rung(layer, WHOLE, 0.0) if layer is not None else None
        follower.down.attach(layer.up if layer is not None else None)

    @property
    def ups(self) -> list[UpTrack]:
        return [layer.up for layer in self._layers]

    @property
    def layers(self) -> Sequence[Layer]:
        return self._layers

    @property
    def last_capture_s(self) -> float | None:
        return max((up.last_capture_s for up in self.ups if up.last_capture_s), default=None)

    def _frame(self, layer: Layer, frame: EncodedFrame) -> None:
        if self.first_frame_s is None and not self._begins(layer, frame):
            return
        for selection in self._selections.values():
            selection.on_frame(layer, frame)

    def _may_begin(self) -> bool:
        return not self._after or any(each.first_frame_s is not None for each in self._after)

    def _begins(self, layer: Layer, frame: EncodedFrame) -> bool:
        """Whether this is the first frame that sinks get."""
        if not self._may_begin():
            return False
        if not frame.keyframe:  # it came while sinks got nothing
            layer.up.request_keyframe()
            return False
        self.first_frame_s = frame.capture_s
        return True

    def _gap(self, layer: Layer, gap: Gap) -> None:
        if self.first_frame_s is None and not self._may_begin():
            return
        for selection in self._selections.values():
            selection.on_gap(layer, gap)

    def request_keyframe(self, enough_lines: int | None) -> None:
        """For the sinks that so many lines are enough for."""
        selection = self._selections.get(enough_lines)
        if selection is not None and selection.current is not None:
            selection.current.up.request_keyframe()

    # ---- which layer goes where

    def tick(self, now: float) -> None:
        if now < self._look_s:
            return
        self._look_s = now + 0.9 * LOOK_S  # timers are no clock
        layers, changed = self._layers, now >= self._measure_s
        if changed:
            self._measure_s = now + MEASURE_S
            for layer in layers:
                layer.measure(now)
        if len(layers) > 1:
            layers, changed = self._look(now), True
            for selection in self._selections.values():
                selection.choose(layers)
            self._seek_in_taken()
        for each in self._followers:
            if changed or each.down.allowed_bps != each.allowed_bps:
                self._choose(each, layers, now)

    def _look(self, now: float) -> list[Layer]:
        """The layers that can be used, the smallest first."""
        for layer in self._layers:
            layer.look([each for each in self._layers if each is not layer], now)
        for layer in self._layers:
            layer.looked()
        return _smallest_first([layer for layer in self._layers if layer.is_well(now)])

    def _seek_in_taken(self) -> None:
        """Keyframes come by themselves only in the layers that sinks get."""
        taken = [selection.current for selection in self._selections.values()]
        for layer in self._layers:
            layer.up.seekable = layer in taken

    def _choose(self, follower: _Follower, layers: Sequence[Layer], now: float) -> None:
        follower.allowed_bps = follower.down.allowed_bps
        rungs = list(_rungs(layers, follower.allowed_bps))
        if not rungs:
            return
        follower.down.least_bps, follower.down.most_bps = (
            rungs[-1].bitrate_bps,
            rungs[0].bitrate_bps,
        )
        rung = _fitting(rungs, follower, now)
        before, follower.rung = follower.rung, rung
        if before is None or before[:2] == rung[:2]:
            return
        follower.changed_s = now
        follower.down.switch(rung.layer.up, rung.part)
        if rung.layer.size.pixels < before.layer.size.pixels:
            follower.down.begin_anew()  # a queue of the larger one is before the smaller


def _smallest_first(layers: Sequence[Layer]) -> list[Layer]:
    return sorted(layers, key=lambda layer: layer.size.pixels)


def _rungs(layers: Sequence[Layer], allowed_bps: float) -> Iterator[Rung]:
    """What an observer can get of these layers, the smallest first; the best comes first."""
    if math.isinf(allowed_bps):
        yield from (Rung(layer, WHOLE, 0.0) for layer in layers[-1:])
        return
    for layer in reversed(layers):
        for step in reversed(layer.steps):
            smallest = step.smallest and layer is layers[0]
            if step.whole or smallest or step.frames_per_s >= FLUENT_FPS:
                part = WHOLE if step is layer.steps[-1] else step.part
                yield Rung(layer, part, step.bitrate_bps)


def _fitting(rungs: Sequence[Rung], follower: _Follower, now: float) -> Rung:
    """The best that the observer's network takes, or the least there is."""
    before, allowed_bps = follower.rung, follower.down.allowed_bps
    places = [each[:2] for each in rungs]
    place = places.index(before[:2]) if before is not None and before[:2] in places else 0
    rested = now - follower.changed_s >= RAISE_S
    for index, rung in enumerate(rungs):
        better = index < place
        if better and not rested:
            continue
        if rung.bitrate_bps * (HEADROOM if better else 1) <= allowed_bps:
            return rung
    return rungs[-1]
