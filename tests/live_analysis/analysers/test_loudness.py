import numpy as np
import pytest

from server.live_analysis.analysers.loudness import FLOOR_DBFS, Loudness
from server.live_analysis.port import BLOCK, AudioWindow, Samples
from tests.live_analysis.planted import noise, tone


def measure(loudness: Loudness, samples: Samples) -> dict[str, float | None]:
    whole = samples[: len(samples) // BLOCK * BLOCK]
    return {it.name: it.value for it in loudness.hear(AudioWindow(whole, 0, 1))}


@pytest.mark.parametrize("peak", [1.0, 0.5, 0.1, 0.001])
def test_a_tone_has_its_level(peak: float) -> None:
    level = measure(Loudness(), tone(1000, 1.0, peak))["voice.loudness"]
    assert level == pytest.approx(20 * np.log10(peak / np.sqrt(2)), abs=0.1)


def test_half_the_amplitude_is_six_decibels_less() -> None:
    hiss = noise((16_384,), 1) * np.float32(0.1)
    loud = measure(Loudness(), hiss)["voice.loudness"]
    soft = measure(Loudness(), hiss * np.float32(0.5))["voice.loudness"]
    assert loud is not None
    assert soft == pytest.approx(loud - 6.02, abs=0.01)


def test_digital_silence_is_the_floor() -> None:
    assert measure(Loudness(), np.zeros(BLOCK, np.float32))["voice.loudness"] == FLOOR_DBFS


def test_the_level_reaches_back_400_ms_and_no_further() -> None:
    loudness = Loudness()
    measure(loudness, tone(1000, 1.0))
    quiet = np.zeros(BLOCK, np.float32)
    levels = [measure(loudness, quiet)["voice.loudness"] for _ in range(12)]
    assert all(level is not None and level > FLOOR_DBFS for level in levels[:10])
    assert levels[-1] == FLOOR_DBFS


def test_a_gap_forgets_the_sound_before_it() -> None:
    loudness = Loudness()
    measure(loudness, tone(1000, 1.0))
    loudness.gap()
    assert measure(loudness, np.zeros(BLOCK, np.float32))["voice.loudness"] == FLOOR_DBFS


def test_clipping_is_the_share_of_full_scale_samples() -> None:
    samples = np.zeros(BLOCK * 2, np.float32)
    samples[:256] = 1.0
    assert measure(Loudness(), samples)["voice.clipping"] == 0.25
