import numpy as np
import pytest

from server.live_analysis.analysers.pitch import FRAME, Pitch, pitches
from server.live_analysis.port import BLOCK, AudioWindow, Measurement, Samples
from tests.live_analysis.planted import noise, tone, voice


def measure(pitch: Pitch, samples: Samples, probability: float = 1.0) -> Measurement:
    blocks = len(samples) // BLOCK
    window = AudioWindow(samples[: blocks * BLOCK], 0, 1)
    window.speech = np.full(blocks, probability, np.float32)
    (found,) = pitch.hear(window)
    return found


@pytest.mark.parametrize("hertz", [80, 100, 123.5, 180, 220, 311, 400])
def test_the_pitch_of_a_voice_is_found_within_one_percent(hertz: float) -> None:
    assert measure(Pitch(), voice(hertz, 0.3)).value == pytest.approx(hertz, rel=0.01)


@pytest.mark.parametrize("hertz", [90, 200, 450])
def test_the_pitch_of_a_pure_tone_is_found(hertz: float) -> None:
    assert measure(Pitch(), tone(hertz, 0.3)).value == pytest.approx(hertz, rel=0.01)


@pytest.mark.parametrize("gain", [0.01, 0.1, 1.0])
def test_loudness_does_not_move_the_pitch(gain: float) -> None:
    found = measure(Pitch(), voice(150, 0.3) * np.float32(gain))
    assert found.value == pytest.approx(150, rel=0.01)


def test_a_voice_in_noise_keeps_its_pitch_with_less_confidence() -> None:
    clean = measure(Pitch(), voice(150, 0.3))
    noisy = measure(Pitch(), voice(150, 0.3) + noise((4800,), 3) * np.float32(0.1))
    assert noisy.value == pytest.approx(150, rel=0.02)
    assert 0.45 < noisy.confidence < clean.confidence <= 1


@pytest.mark.parametrize(
    "samples", [noise((8000,), 4) * np.float32(0.3), np.zeros(8000, np.float32)], ids=["n", "0"]
)
def test_noise_and_silence_have_no_pitch(samples: Samples) -> None:
    assert measure(Pitch(), samples).value is None


def test_without_speech_there_is_no_pitch() -> None:
    assert measure(Pitch(), voice(150, 0.3), probability=0.1).value is None


def test_windows_of_one_block_are_joined() -> None:
    pitch, sound = Pitch(), voice(150, 0.2)
    assert measure(pitch, sound[:BLOCK]).value is None
    assert measure(pitch, sound[BLOCK : 2 * BLOCK]).value == pytest.approx(150, rel=0.01)


def test_a_gap_parts_the_sound() -> None:
    pitch, sound = Pitch(), voice(150, 0.2)
    measure(pitch, sound[:BLOCK])
    pitch.gap()
    assert measure(pitch, sound[BLOCK : 2 * BLOCK]).value is None


def test_pitch_never_leaves_its_range() -> None:
    hertz, periodicity = pitches(noise((200, FRAME), 5))
    assert ((hertz > 55) & (hertz < 520)).all()
    assert ((periodicity >= 0) & (periodicity <= 1)).all()
