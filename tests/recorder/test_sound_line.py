"""Where packets of sound lie: one after the other, a hole where there was one, never far off."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.writing.sound_line import MAX_APART_US, SOUND_STEP_US, SoundLine

PACKET_US = 20_000


def laid(captured_us: list[int]) -> list[int]:
    line = SoundLine()
    return [line.lay(each, PACKET_US) for each in captured_us]


@pytest.mark.parametrize("step_us", [19_000, 20_000, 21_000])
def test_an_estimate_that_moves_moves_no_packet(step_us: int) -> None:
    captured = [5_000_000 + step_us * index for index in range(100)]
    assert laid(captured) == [5_000_000 + PACKET_US * index for index in range(100)]


def test_what_is_missing_leaves_a_hole_of_its_length() -> None:
    assert laid([0, 20_000, 60_000, 460_100]) == [0, 20_000, 60_000, 460_000]


def test_a_hole_takes_up_what_was_apart() -> None:
    line = SoundLine()
    late = [19_000 * index for index in range(40)]  # 39 ms late at the end
    for each in late:
        line.lay(each, PACKET_US)
    assert line.late_us == 39_000
    assert line.lay(late[-1] + 60_000, PACKET_US) == 40 * PACKET_US, "40 of the hole are taken up"
    assert line.late_us == -1_000


@pytest.mark.parametrize("step_us", [19_000, 21_000])
def test_sound_of_a_card_that_runs_apart_stays_near(step_us: int) -> None:
    captured = [step_us * index for index in range(1000)]
    starts = laid(captured)
    apart = [start - each for start, each in zip(starts, captured, strict=True)]
    assert max(map(abs, apart)) <= MAX_APART_US + PACKET_US
    corrections = [after - before for before, after in pairwise(starts)]
    corrected = sorted({each - PACKET_US for each in corrections})
    assert corrected == ([SOUND_STEP_US - PACKET_US, 0] if step_us < PACKET_US else [0, PACKET_US])


def test_what_was_laid_can_be_moved() -> None:
    line = SoundLine()
    line.lay(0, PACKET_US)
    line.move(-5_000)
    assert (line.lay(19_000, PACKET_US), line.late_us) == (15_000, -4_000)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
def test_whatever_comes_packets_follow_one_another(captured_us: list[int]) -> None:
    starts = laid(captured_us)
    assert all(after - before >= SOUND_STEP_US for before, after in pairwise(starts))
