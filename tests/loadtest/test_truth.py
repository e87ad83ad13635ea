import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.truth import MIN_DRIFT_S, LipSync, Offsets, Viewing


def shown(*frames: tuple[int, float]) -> Viewing:
    viewing = Viewing()
    for frame, at_s in frames:
        viewing.show(frame, at_s)
    return viewing


# ---- Viewing


def test_pictures_in_their_order_never_freeze() -> None:
    viewing = shown(*((number, number / 30) for number in range(300)))
    assert (viewing.shown, viewing.out_of_order, viewing.freezes_s.count) == (300, 0, 0)


def test_two_swapped_pictures_are_one_out_of_order_and_the_older_is_not_shown() -> None:
    viewing = shown((1, 0.0), (3, 0.03), (2, 0.06), (4, 0.1))
    assert (viewing.shown, viewing.out_of_order) == (3, 1)


def test_a_stall_is_one_freeze_of_its_length() -> None:
    viewing = shown((1, 0.0), (2, 0.19), (3, 1.19), (4, 1.2))
    assert viewing.freezes_s.count == 1
    assert viewing.freezes_s.max == pytest.approx(1.0)


def test_a_picture_that_stands_until_the_end_is_a_freeze_counted_once() -> None:
    viewing = shown((1, 0.0))
    viewing.end(5.0)
    viewing.end(6.0)
    assert (viewing.freezes_s.count, viewing.freezes_s.max) == (1, 5.0)


def test_an_old_picture_does_not_end_a_freeze() -> None:
    viewing = shown((5, 0.0), (4, 0.15), (6, 0.3))
    assert viewing.freezes_s.count == 1


# ---- LipSync


def sent(
    sync: LipSync, seconds: int, sound_s: float = 0.0, late_s: float = 0.0, drift: float = 0.0
) -> LipSync:
    """A candidate whose sound is presented `sound_s` later than it was sent."""
    for number in range(seconds * 50):
        at_s = 1000 + number / 50
        sync.add(False, at_s, at_s + 40 + sound_s + number / 50 * drift)
        # Every second picture waited at the sender: its stamp is late, its media time is not.
        sync.add(True, at_s + late_s * (number % 2), at_s + 40)
    sync.finish()
    return sync


def test_what_is_presented_as_it_was_sent_has_no_offset() -> None:
    offsets = sent(LipSync(), 10).offsets
    assert (offsets.samples, offsets.median_s(), offsets.size_s(100)) == (10, 0, 0)


@given(st.floats(-0.5, 0.5), st.floats(0, 0.1))
def test_a_shift_of_the_sound_is_found_whatever_waits_at_the_sender(
    shift_s: float, late_s: float
) -> None:
    offsets = sent(LipSync(), 5, shift_s, late_s).offsets
    assert offsets.median_s() == pytest.approx(-shift_s, abs=2e-4)
    assert offsets.size_s(95) == pytest.approx(abs(shift_s), abs=2e-4)


def test_a_drift_is_the_offset_gained_in_time() -> None:
    sync = sent(LipSync(), MIN_DRIFT_S, drift=1e-4)
    assert sync.drift() == pytest.approx(-1e-4, rel=0.1)


def test_of_a_short_run_no_drift_is_told() -> None:
    assert sent(LipSync(), MIN_DRIFT_S - 1, drift=1e-4).drift() is None


def test_a_second_with_one_track_alone_says_nothing() -> None:
    sync = LipSync()
    sync.add(True, 1000.0, 1040.0)
    sync.add(False, 1001.0, 1041.0)
    sync.finish()
    assert sync.offsets.samples == 0
    assert sync.offsets.median_s() is None


def test_memory_stays_the_same_for_hours() -> None:
    sync = LipSync()
    for second in range(3600):
        for video in (True, False):
            sync.add(video, second, second + 0.01 * video)
    assert len(sync._moved) <= 5
    assert list(sync.offsets.counts) == [100]


def test_offsets_of_many_interviews_are_read_together() -> None:
    together = Offsets()
    for offset_s in (-0.080, 0.020, 0.030):
        one = Offsets()
        one.add(offset_s)
        together.merge(one)
    assert (together.samples, together.median_s()) == (3, 0.020)
    assert together.size_s(95) == 0.080
