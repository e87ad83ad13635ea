import numpy as np
import pytest

from server.live_analysis.analysers.speech_activity import SpeechActivity
from server.live_analysis.port import BLOCK, AudioWindow, Samples
from tests.live_analysis.planted import noise, speech, tone


def probabilities(activity: SpeechActivity, samples: Samples, blocks: int = 6) -> list[float]:
    """What it finds for each block, given windows of some blocks."""
    found: list[float] = []
    step = blocks * BLOCK
    for start in range(0, len(samples) - step + 1, step):
        window = AudioWindow(samples[start : start + step], 0, 1)
        (mean,) = activity.hear(window)
        assert mean.value == pytest.approx(float(window.speech.mean()))
        found += window.speech.tolist()
    return found


def test_reading_is_speech() -> None:
    found = probabilities(SpeechActivity(), speech())
    assert np.mean(np.array(found) > 0.5) > 0.85


@pytest.mark.parametrize(
    "samples",
    [tone(440, 2), noise((32_000,), 2) * np.float32(0.05), np.zeros(32_000, np.float32)],
    ids=["tone", "noise", "silence"],
)
def test_what_is_not_a_voice_is_not_speech(samples: Samples) -> None:
    assert np.mean(np.array(probabilities(SpeechActivity(), samples)) > 0.5) < 0.05


def test_the_size_of_the_windows_changes_nothing() -> None:
    one = probabilities(SpeechActivity(), speech(), blocks=1)
    seven = probabilities(SpeechActivity(), speech(), blocks=7)
    assert seven == pytest.approx(one[: len(seven)], abs=1e-4)


def test_a_gap_forgets_the_sound_before_it() -> None:
    activity = SpeechActivity()
    probabilities(activity, speech())
    activity.gap()
    assert probabilities(activity, speech()) == pytest.approx(
        probabilities(SpeechActivity(), speech()), abs=1e-6
    )
