"""One interview in a worker: its sound and sight, its analysers, a batch of values at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from server.core.frames import TrackName
from server.core.indicators import Indicator
from server.live_analysis.analysers import AUDIO, VIDEO
from server.live_analysis.card import Card
from server.live_analysis.port import AudioWindow, Measurement, Picture, Resumable
from server.live_analysis.sight import Sight
from server.live_analysis.sound import Sound
from server.live_analysis.wire import Frame

#: Without sound for so long, there is nothing to measure in it: the loudness window.
SOUND_MISSING_S = 0.4
#: Without a picture for so long, what is in it is unknown: slower than any camera.
PICTURE_MISSING_S = 1.0
#: After so long without any media, silence about it: the alerts have been raised.
IDLE_S = 10.0
#: A window may begin this much early, so that pictures that come 7.5 times a second, the base
#: layer of three, are measured five times.
EARLY_S = 0.07


@dataclass(slots=True)
class Costs:
    """CPU seconds of this process, by what they were spent on; ``cpu`` is its CPU clock."""

    cpu: Callable[[], float]
    decode_s: float = 0
    audio_s: float = 0
    video_s: float = 0

    @contextmanager
    def charge(self, name: str) -> Iterator[None]:
        start = self.cpu()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + self.cpu() - start)


class Session:
    """Add frames as they arrive; ``hear`` and then ``see`` answer with the newest values.

    They are two, so that a worker can hear all its interviews in a row: the voice model stays in
    the processor's cache, from which each interview's pictures would drive it.
    """

    def __init__(self, costs: Costs, kept: Mapping[str, bytes]) -> None:
        self._costs = costs
        self._sound = Sound()
        self.sight = Sight()
        self._audio = [(card, analyser()) for card, analyser in AUDIO]
        self._video = [(card, analyser()) for card, analyser in VIDEO]
        for name, analyser in self._resumable():
            if name in kept:
                analyser.restore(kept[name])
        self._newest: Frame | None = None
        self._first_s = 0.0
        self._heard_s: float | None = None
        self._seen_s: float | None = None
        self._measured_s: dict[str, float] = {}

    @property
    def undecodable(self) -> int:
        return self._sound.undecodable + self.sight.undecodable

    def keep(self) -> dict[str, bytes]:
        """What a session in another process needs to go on from here."""
        return {name: analyser.save() for name, analyser in self._resumable()}

    def _resumable(self) -> Iterator[tuple[str, Resumable]]:
        for card, analyser in (*self._audio, *self._video):
            if isinstance(analyser, Resumable):
                yield card.analyser, analyser

    def add(self, frame: Frame) -> None:
        if self._newest is None:
            self._first_s = frame.capture_s
        self._newest = frame
        if frame.track is TrackName.MICROPHONE:
            self._sound.add(frame)
        else:
            self.sight.add(frame)

    def _media_s(self, now_s: float) -> float | None:
        """The media's clock at Unix time ``now_s``; None when there has been none for long."""
        newest = self._newest
        if newest is None or now_s - newest.arrived_s > IDLE_S:
            return None
        # No sound or picture stops the media's clock: it runs on as the wall's.
        return newest.capture_s + now_s - newest.arrived_s

    def hear(self, now_s: float) -> Iterable[Indicator]:
        """Measure the sound that came since the last call; ``now_s`` is Unix time."""
        if (media_s := self._media_s(now_s)) is None:
            return ()
        with self._costs.charge("decode_s"):
            windows = list(self._sound.windows())
        with self._costs.charge("audio_s"):
            values: dict[str, Indicator] = {}
            for window in windows:
                values.update((value.name, value) for value in self._hear_window(window))
        if windows or media_s - (self._heard_s or self._first_s) < SOUND_MISSING_S:
            return values.values()
        return _nothing((card for card, _ in self._audio), media_s - SOUND_MISSING_S, media_s)

    def _hear_window(self, window: AudioWindow | None) -> Iterable[Indicator]:
        for card, analyser in self._audio:
            if window is None:
                analyser.gap()
            else:
                self._heard_s = window.end_s
                values = analyser.hear(window)
                yield from _indicators(card, values, window.start_s, window.end_s)

    def see(self, now_s: float) -> Iterable[Indicator]:
        """Measure the newest picture since the last call; ``now_s`` is Unix time."""
        if (media_s := self._media_s(now_s)) is None:
            return ()
        with self._costs.charge("decode_s"):
            picture = self.sight.picture(now_s)
        with self._costs.charge("video_s"):
            if picture is not None:
                return list(self._see_picture(picture))
            last_s = self._first_s if self._seen_s is None else self._seen_s
            if media_s - last_s < PICTURE_MISSING_S:
                return []
            return [
                indicator
                for card, analyser in self._video
                for indicator in _indicators(card, analyser.miss(media_s), last_s, media_s)
            ]

    def _see_picture(self, picture: Picture) -> Iterable[Indicator]:
        self._seen_s = picture.capture_s
        for card, analyser in self._video:
            last_s = self._measured_s.get(card.analyser, picture.capture_s - 1 / card.rate_hz)
            if 0 <= picture.capture_s - last_s < 1 / card.rate_hz - EARLY_S:
                continue
            if values := tuple(analyser.see(picture)):
                self._measured_s[card.analyser] = picture.capture_s
                yield from _indicators(card, values, last_s, picture.capture_s)


def _indicators(
    card: Card, values: Iterable[Measurement], start_s: float, end_s: float
) -> Iterable[Indicator]:
    units = {measure.name: measure.unit for measure in card.measures}
    start_s, end_s = round(start_s, 3), round(end_s, 3)
    for it in values:
        value = None if it.value is None else _short(it.value)
        sure = _short(it.confidence)
        yield Indicator(it.name, value, units[it.name], start_s, end_s, sure, card.version)


def _nothing(cards: Iterable[Card], start_s: float, end_s: float) -> list[Indicator]:
    """None for all that the cards measure."""
    return [
        indicator
        for card in cards
        for indicator in _indicators(
            card, [Measurement(measure.name, None) for measure in card.measures], start_s, end_s
        )
    ]


def _short(value: float) -> float:
    """Four significant digits: more is noise, and bytes to every observer."""
    return float(f"{value:.4g}")
