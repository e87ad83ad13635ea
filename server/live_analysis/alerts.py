"""Alerts from indicators: one table of conditions with hold times, and what steps through it.

Each alert has two conditions, so that it does not flicker (hysteresis): it begins when ``begins``
has held for ``begin_hold_s``, and ends when ``ends`` has held for ``end_hold_s``. A condition is a
function of the newest values; it answers None when they say nothing, which changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from server.core.indicators import Alert, Indicator

Values = Mapping[str, float | None]
Condition = Callable[[Values], bool | None]


def _above(name: str, limit: float) -> Condition:
    return lambda values: None if (value := values.get(name)) is None else value > limit


def _below(name: str, limit: float) -> Condition:
    return lambda values: None if (value := values.get(name)) is None else value < limit


def _no_sound(values: Values) -> bool | None:
    if "voice.loudness" not in values:
        return None
    value = values["voice.loudness"]
    return value is None or value < SOUND_LOST_DBFS


def _any(*conditions: Condition) -> Condition:
    """True when one is; None when none can be judged."""

    def condition(values: Values) -> bool | None:
        known = [answer for one in conditions if (answer := one(values)) is not None]
        return any(known) if known else None

    return condition


def _all(*conditions: Condition) -> Condition:
    """True when all that can be judged are; None when none can."""

    def condition(values: Values) -> bool | None:
        known = [answer for one in conditions if (answer := one(values)) is not None]
        return all(known) if known else None

    return condition


#: Below the noise of any open microphone: muted, unplugged, or digital silence.
SOUND_LOST_DBFS = -90.0


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    #: The indicators its conditions read: it is stepped only when one of them arrives.
    reads: frozenset[str]
    begins: Condition
    begin_hold_s: float
    ends: Condition
    end_hold_s: float


_NETWORK = frozenset({"network.loss", "network.round_trip", "network.jitter"})

RULES = (
    Rule("audio-lost", frozenset({"voice.loudness"}),
         _no_sound, 5.0, _above("voice.loudness", -80.0), 0.4),
    Rule("silence", frozenset({"speech.pause"}),
         _above("speech.pause", 30.0), 0.0, _below("speech.pause", 1.0), 0.4),
    Rule("video-frozen", frozenset({"picture.frozen"}),
         _above("picture.frozen", 3.0), 0.0, _below("picture.frozen", 0.5), 1.0),
    Rule("no-face", frozenset({"face.count"}),
         _below("face.count", 1), 3.0, _above("face.count", 0), 1.0),
    Rule("several-faces", frozenset({"face.count"}),
         _above("face.count", 1), 2.0, _below("face.count", 2), 2.0),
    Rule("too-dark", frozenset({"picture.light"}),
         _below("picture.light", 0.12), 3.0, _above("picture.light", 0.16), 1.0),
    Rule("poor-connection", _NETWORK,
         _any(_above("network.loss", 0.05), _above("network.round_trip", 500.0),
              _above("network.jitter", 80.0)), 3.0,
         _all(_below("network.loss", 0.02), _below("network.round_trip", 400.0),
              _below("network.jitter", 50.0)), 5.0),
)  # fmt: skip


@dataclass(slots=True)
class _State:
    active: bool = False
    #: Since when the condition for the other state has held; None while it does not.
    pending_s: float | None = None


class Alerts:
    """The alerts of one interview: give it indicators, send what it answers."""

    def __init__(self) -> None:
        self._values: dict[str, float | None] = {}
        self._states = {rule.id: _State() for rule in RULES}

    def update(self, indicators: Iterable[Indicator]) -> list[Alert]:
        """Take newest values (media time in ``end_s``); return the alerts that changed."""
        new = {indicator.name: indicator for indicator in indicators}
        self._values.update((name, indicator.value) for name, indicator in new.items())
        changed = []
        for rule in RULES:
            times = [new[name].end_s for name in rule.reads if name in new]
            if times and (alert := self._step(rule, max(times))) is not None:
                changed.append(alert)
        return changed

    def _step(self, rule: Rule, now_s: float) -> Alert | None:
        state = self._states[rule.id]
        condition, hold_s = (
            (rule.ends, rule.end_hold_s) if state.active else (rule.begins, rule.begin_hold_s)
        )
        holds = condition(self._values)
        if holds is None:
            return None
        if not holds:
            state.pending_s = None
            return None
        if state.pending_s is None:
            state.pending_s = now_s
        if now_s - state.pending_s < hold_s:
            return None
        changed = Alert(rule.id, not state.active, state.pending_s)
        state.active, state.pending_s = not state.active, None
        return changed
