from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.duration import MAX_DURATION_S, DurationError, clock, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("0.5", 0.5), ("30m", 1800), ("1.5m", 90), ("2h", 7200)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0", "above zero"),
        ("0m", "above zero"),
        ("200h", "at most 168h"),
        ("-1", "written 90, 90s"),
        ("nan", "written 90, 90s"),
        ("inf", "written 90, 90s"),
        ("1e9", "written 90, 90s"),
        ("2 h", "written 90, 90s"),
        ("1h30m", "written 90, 90s"),
        ("٣", "written 90, 90s"),
        ("", "written 90, 90s"),
    ],
)
def test_what_is_no_duration_is_said(text: str, why: str) -> None:
    with pytest.raises(DurationError, match=why):
        parse_duration(text)


@given(st.text() | st.from_regex(r"[0-9]{0,12}\.?[0-9]{0,12}[smh]?", fullmatch=True))
def test_any_text_is_a_possible_duration_or_none(text: str) -> None:
    with suppress(DurationError):
        assert 0 < parse_duration(text) <= MAX_DURATION_S


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (40.25, "40.2 s"), (59.6, "1:00"), (125, "2:05"), (3600, "1:00:00")],
)
def test_they_are_written_short(seconds: float, text: str) -> None:
    assert clock(seconds) == text
