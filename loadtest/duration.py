"""Durations as people write them: read and written. Pure."""

import re

#: Longer than any soak, short enough for every scenario to be laid out beforehand.
MAX_DURATION_S = 7 * 86_400.0

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh]?)", re.ASCII)


class DurationError(ValueError):
    """A text that is no duration, or one that is not possible; it says which."""


def parse_duration(text: str) -> float:
    """Seconds, from `90`, `90s`, `1.5m` or `2h`. Raises DurationError."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise DurationError(f"a duration is written 90, 90s, 30m or 2h, not {text!r}")
    seconds = float(found[1]) * _UNITS_S[found[2]]
    if not 0 < seconds <= MAX_DURATION_S:
        raise DurationError(f"a duration must be above zero, and at most 168h, not {text!r}")
    return seconds


def clock(seconds: float) -> str:
    """40 s, 2:05 or 1:00:00."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
