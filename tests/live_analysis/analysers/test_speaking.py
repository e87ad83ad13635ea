import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.live_analysis.analysers.speaking import SPAN_BLOCKS, Speaking
from server.live_analysis.analysers.speech_activity import SpeechActivity
from server.live_analysis.port import BLOCK, BLOCK_S, AudioWindow, Measurement
from tests.live_analysis.planted import speech, speech_with_pauses

Found = dict[str, Measurement]


def hear(speaking: Speaking, *stretches: tuple[float, float]) -> Found:
    """Stretches of (probability, seconds), in windows of about 200 ms."""
    blocks = np.concatenate([np.full(round(s / BLOCK_S), p, np.float32) for p, s in stretches])
    found: Found = {}
    for start in range(0, len(blocks), 6):
        window = AudioWindow(np.zeros(0, np.float32), 0, 1)
        window.speech = blocks[start : start + 6]
        found = {it.name: it for it in speaking.hear(window)}
    return found


def test_pauses_are_counted_from_250_ms() -> None:
    found = hear(Speaking(), (1, 10), (0, 0.2), (1, 10), (0, 0.32), (1, 9.48))
    assert found["speech.pauses"].value == pytest.approx(2, rel=0.01)
    assert found["speech.pause_mean"].value == pytest.approx(0.32)
    assert found["speech.pause"].value == 0


def test_the_pause_now_grows_until_speech() -> None:
    speaking = Speaking()
    assert hear(speaking, (1, 2), (0, 3.2))["speech.pause"].value == pytest.approx(3.2)
    assert hear(speaking, (1, 0.2))["speech.pause"].value == 0


def test_silence_before_the_first_word_is_no_pause_between_speech() -> None:
    found = hear(Speaking(), (0, 5), (1, 5))
    assert found["speech.pauses"].value == 0
    assert found["speech.pause_mean"].value is None


def test_the_ratio_is_of_the_last_minute_and_of_all() -> None:
    speaking = Speaking()
    half = hear(speaking, (1, 15), (0, 15))
    assert half["speech.ratio"].value == pytest.approx(0.5, abs=0.01)
    assert half["speech.ratio"].confidence == pytest.approx(0.5, abs=0.01)
    minute = hear(speaking, (0, 60))
    assert minute["speech.ratio"].value == 0
    assert minute["speech.ratio"].confidence == 1
    assert minute["speech.ratio_total"].value == pytest.approx(15 / 90, abs=0.01)


def test_pauses_older_than_a_minute_are_forgotten() -> None:
    speaking = Speaking()
    assert hear(speaking, (1, 1), (0, 1), (1, 1))["speech.pauses"].value != 0
    assert hear(speaking, (1, 61))["speech.pauses"].value == 0


def test_speech_fades_by_hysteresis() -> None:
    assert hear(Speaking(), (1, 1), (0.4, 2))["speech.pause"].value == 0
    assert hear(Speaking(), (0.4, 2))["speech.pause"].value == pytest.approx(2, abs=0.05)


def test_missing_sound_is_not_a_pause() -> None:
    speaking = Speaking()
    hear(speaking, (1, 1), (0, 0.32))
    speaking.gap()
    found = hear(speaking, (0, 0.64), (1, 1))
    assert found["speech.pauses"].value == 0


def test_another_process_goes_on_with_what_was_saved() -> None:
    first, second = Speaking(), Speaking()
    hear(first, (1, 30), (0, 1), (1, 40), (0, 1), (1, 1))
    second.restore(first.save())
    expected, found = hear(first, (1, 5)), hear(second, (1, 5))
    assert found == expected


def test_what_heard_nothing_can_be_saved() -> None:
    fresh = Speaking()
    fresh.restore(Speaking().save())
    assert hear(fresh, (1, 1))["speech.ratio_total"].value == 1


@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), max_size=30))
def test_values_stay_in_their_ranges(windows: list[list[float]]) -> None:
    speaking = Speaking()
    for probabilities in windows:
        window = AudioWindow(np.zeros(0, np.float32), 0, 1)
        window.speech = np.array(probabilities, np.float32)
        found = {it.name: it for it in speaking.hear(window)}
        assert 0 <= (found["speech.ratio"].value or 0) <= 1
        assert 0 <= (found["speech.ratio_total"].value or 0) <= 1
        assert (found["speech.pause"].value or 0) >= 0
        assert 0 <= (found["speech.pauses"].value or 0) <= 240
        assert all(0 <= it.confidence <= 1 for it in found.values())


def test_planted_pauses_in_read_speech_are_found() -> None:
    pauses_s = [0.6, 1.0, 1.6]
    samples = speech_with_pauses(pauses_s)
    activity, speaking = SpeechActivity(), Speaking()
    found: Found = {}
    for start in range(0, len(samples) - 6 * BLOCK, 6 * BLOCK):
        window = AudioWindow(samples[start : start + 6 * BLOCK], 0, 1)
        list(activity.hear(window))
        found = {it.name: it for it in speaking.hear(window)}
    minutes = len(samples) / 16_000 / 60
    assert (found["speech.pauses"].value or 0) * minutes == pytest.approx(3, abs=0.3)
    # The reading itself fades in and out: each planted pause is found a little longer.
    assert found["speech.pause_mean"].value == pytest.approx(np.mean(pauses_s), abs=0.1)
    spoken_s = 4 * len(speech()) / 16_000
    total_s = len(samples) / 16_000
    assert found["speech.ratio_total"].value == pytest.approx(spoken_s / total_s, abs=0.08)


def test_the_span_is_a_minute() -> None:
    assert pytest.approx(60, abs=BLOCK_S) == SPAN_BLOCKS * BLOCK_S
