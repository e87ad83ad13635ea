"""Whether somebody speaks: silero VAD over blocks of 32 ms."""

from collections.abc import Iterable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from server.live_analysis.card import EVERYWHERE, Card, Measure, Modality
from server.live_analysis.models import speech_model
from server.live_analysis.port import BLOCK, AudioWindow, Measurement, Samples

CARD = Card(
    analyser="speech_activity",
    modality=Modality.AUDIO,
    measures=(Measure("voice.speaking", "ratio", 0, 1),),
    rate_hz=5,
    cost_ms_per_s=3.0,
    biometric=False,
    policies=EVERYWHERE,
    validated="read speech with planted pauses; tones and noise are not speech",
)

#: The model takes each block with the 64 samples before it.
CONTEXT = 64


class SpeechActivity:
    def __init__(self) -> None:
        self._context, self._h, self._c = _silence()

    def hear(self, window: AudioWindow) -> Iterable[Measurement]:
        joined = np.concatenate((self._context, window.samples))
        self._context = joined[-CONTEXT:]
        blocks = sliding_window_view(joined, CONTEXT + BLOCK)[::BLOCK]
        feed = {"input": np.ascontiguousarray(blocks), "h": self._h, "c": self._c}
        window.speech, self._h, self._c = speech_model().run(None, feed)
        yield Measurement("voice.speaking", float(window.speech.mean()))

    def gap(self) -> None:
        self._context, self._h, self._c = _silence()


def _silence() -> tuple[Samples, Samples, Samples]:
    """The model's context and its two states before any sound."""
    state = np.zeros((1, 1, 128), np.float32)
    return np.zeros(CONTEXT, np.float32), state, state
