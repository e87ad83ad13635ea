"""Sums, shares and who is behind, on numbers that can be checked by hand."""

import re

from msgspec.structs import replace

from loadtest.peers.outcomes import OURS, Comparison, Line, Outcome, as_text, behind, line

GOOD = Outcome(
    *(OURS, "5 %", "1"),
    pictures_sent=1000,
    pictures_kept=999,
    sounds_sent=2000,
    sounds_kept=2000,
    pictures_due=900,
    pictures_shown=891,
    sounds_due=1000,
    sounds_heard=990,
    black_s=0.5,
    still_s=1.0,
    freezes=2,
    frozen_s=0.5,
    longest_s=0.3,
    latency_p50_s=0.062,
    latency_p99_s=0.2,
)


def test_a_line_is_of_all_seeds_of_its_network() -> None:
    second = replace(GOOD, seed="2", pictures_kept=998, freezes=1, frozen_s=0.2, longest_s=0.2)
    other = replace(GOOD, network="1 %", freezes=99)
    made = line("5 %", [GOOD, second, other])
    assert (made.seeds, made.pictures, made.sounds) == (2, 99.85, 100.0)
    assert (made.shown, made.heard) == (99.0, 99.0)
    assert (made.freezes, made.frozen_s, made.longest_s) == (1.5, 0.35, 0.3)
    assert (made.black_s, made.still_s) == (0.5, 1.0)
    assert (made.latency_p50_ms, made.latency_p99_ms) == (62.0, 200.0)


def test_the_latency_is_the_middle_one_of_the_seeds() -> None:
    made = line("5 %", [replace(GOOD, latency_p99_s=each) for each in (0.3, 0.1, 0.2)])
    assert made.latency_p99_ms == 200.0


def test_what_has_a_fault_counts_nowhere_and_what_was_not_measured_is_none() -> None:
    assert line("5 %", [GOOD, replace(GOOD, failed="lost", freezes=9)]) == line("5 %", [GOOD])
    assert line("5 %", [GOOD, replace(GOOD, lateness_p99_s=0.021)]) == line("5 %", [GOOD])
    nothing = line("5 %", [replace(GOOD, failed="lost")])
    assert (nothing.seeds, nothing.pictures, nothing.latency_p50_ms) == (0, None, None)
    unseen = line("5 %", [replace(GOOD, sounds_heard=None, latency_p50_s=None)])
    assert (unseen.heard, unseen.latency_p50_ms, unseen.pictures) == (None, None, 99.9)


def test_a_connection_that_was_lost_is_counted() -> None:
    assert line("5 %", [GOOD, replace(GOOD, lost=True)]).lost == 1


OUR_LINE = Line("5 %", 3, 99.9, 100.0, 98.0, 99.0, 0.4, 0.6, 3, 0.7, 0.3, 62.0, 200.0, 0)


def compared(theirs: Line) -> list[str]:
    return behind({OURS: [OUR_LINE], "Janus": [theirs]})


def test_ours_is_behind_where_another_is_better_by_more_than_noise() -> None:
    assert compared(OUR_LINE) == []
    better = Line("5 %", 3, 99.96, 100.0, 98.6, 99.1, 0.2, 0.3, 2, 0.5, 0.1, 60.5, 180.0, 0)
    assert [each.split(": ")[1] for each in compared(better)] == [
        "pictures recorded, %",
        "pictures shown, %",
        "sounds heard, %",
        "freezes",
        "seconds without a moving picture",
        "latency p50, ms",
        "latency p99, ms",
    ]
    assert compared(better)[3] == "5 %: freezes: Janus 2, ours 3"


def test_who_shows_fewer_pictures_is_not_better_for_freezing_less() -> None:
    assert compared(replace(OUR_LINE, shown=40.0, freezes=0, frozen_s=0.0, still_s=9.0)) == []


def test_who_does_not_tell_how_late_pictures_are_is_not_better_for_showing_more() -> None:
    assert compared(replace(OUR_LINE, shown=100.0, latency_p50_ms=None)) == []


def test_noise_and_what_was_not_measured_are_no_reason() -> None:
    noisy = Line("5 %", 3, 99.94, 100.0, 98.4, 99.04, 0.3, 0.5, 3, 0.66, 0.1, 61.5, 195.0, 0)
    assert compared(noisy) == []
    assert (
        compared(Line("5 %", 3, None, None, 98.0, None, 0.4, 0.6, 3, 0.7, 0.3, None, None, 0)) == []
    )
    assert (
        compared(Line("5 %", 0, None, None, None, None, 0.0, 0.0, 0, 0.0, 0.0, None, None, 0)) == []
    )
    assert compared(replace(OUR_LINE, network="20 %", freezes=0)) == []


def test_the_table_lines_up_and_says_who_is_absent_and_where_ours_is_behind() -> None:
    lines = {OURS: [OUR_LINE, line("1 %", [])]}
    made = Comparison(
        40,
        ["1", "2"],
        "2 cores.",
        {"5 %": "loss=5%"},
        lines,
        {"Janus": "none"},
        ["A note."],
        [],
        [],
    )
    text = as_text(made).split("\n")
    assert text[0] == "40 s each, seeds 1, 2. 2 cores."
    header, first, second = text[text.index("5 %: loss=5%") + 2 :][:3]
    assert re.split(r"\s{2,}", first)[:4] == ["5 %", "99.900", "100.000", "98.000"]
    assert len(header) == len(first) == len(second)
    assert "Janus   absent: none" in text
    assert text[-3:] == ["  nowhere", "", "A note."]
