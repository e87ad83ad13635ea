"""Pitch of the voice: normalised autocorrelation (Boersma 1993), while somebody speaks.

Boersma, P. (1993): Accurate short-term analysis of the fundamental frequency and the
harmonics-to-noise ratio of a sampled sound. The autocorrelation of each windowed frame is
divided by that of its window; the best peak within range gives the period.
"""

from collections.abc import Iterable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from server.live_analysis.card import PROSODY, Card, Measure, Modality
from server.live_analysis.port import BLOCK, SAMPLE_RATE, AudioWindow, Measurement, Samples

LOW_HZ = 60.0
HIGH_HZ = 500.0

CARD = Card(
    analyser="pitch",
    modality=Modality.AUDIO,
    measures=(Measure("voice.pitch", "Hz", LOW_HZ, HIGH_HZ),),
    rate_hz=5,
    cost_ms_per_s=1.5,
    biometric=False,
    policies=PROSODY,
    validated="tones and pulse trains of 80 to 400 Hz within 1 %; none for noise and silence",
)

#: 64 ms: three periods of the lowest pitch and more (Boersma's minimum).
FRAME = 2 * BLOCK
_FFT = 2 * FRAME
_SHORTEST = int(SAMPLE_RATE / HIGH_HZ)
_LONGEST = int(SAMPLE_RATE / LOW_HZ)
#: Normalised autocorrelation below which a frame is not voiced (Boersma's voicing threshold).
VOICED = 0.45
#: Block probability of speech from which pitch is looked for.
SPEECH = 0.5
#: Per octave, so that the true period beats its multiples (Boersma's octave cost).
OCTAVE_COST = 0.02

_WINDOW = np.hanning(FRAME).astype(np.float32)


def _autocorrelation(frames: Samples) -> Samples:
    spectrum = np.fft.rfft(frames, _FFT, axis=-1)
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(np.fft.irfft(power, _FFT, axis=-1)[..., : _LONGEST + 2], np.float32)


_OF_WINDOW = _autocorrelation(_WINDOW)
_LAGS = np.arange(_SHORTEST, _LONGEST + 1)
_COST = OCTAVE_COST * np.log2(LOW_HZ * _LAGS / SAMPLE_RATE)


def pitches(frames: Samples) -> tuple[Samples, Samples]:
    """The fundamental in Hz and the periodicity (0..1) of each frame."""
    centred = frames - frames.mean(axis=1, keepdims=True)
    raw = _autocorrelation(centred * _WINDOW)
    normal = raw / (_OF_WINDOW * np.maximum(raw[:, :1], 1e-9) / _OF_WINDOW[0])
    rows = np.arange(len(frames))
    inside = normal[:, _LAGS]
    peaks = (inside >= normal[:, _LAGS - 1]) & (inside >= normal[:, _LAGS + 1])
    best = _LAGS[np.argmax(np.where(peaks, inside - _COST, -1), axis=1)]
    left, peak, right = (normal[rows, best + step] for step in (-1, 0, 1))
    bend = left - 2 * peak + right
    shift = np.where(bend < 0, (left - right) / np.where(bend < 0, 2 * bend, 1), 0)
    hertz = SAMPLE_RATE / (best + shift)
    return hertz.astype(np.float32), np.clip(peak, 0, 1).astype(np.float32)


class Pitch:
    def __init__(self) -> None:
        self._last = np.zeros(0, np.float32)

    def hear(self, window: AudioWindow) -> Iterable[Measurement]:
        joined = np.concatenate((self._last, window.samples))
        self._last = joined[-BLOCK:]
        if len(joined) < FRAME:
            return (Measurement("voice.pitch", None),)
        # Frames end with the window and do not overlap; each is judged by its last block.
        frames = sliding_window_view(joined, FRAME)[::-FRAME]
        hertz, periodicity = pitches(frames[window.speech[::-2][: len(frames)] >= SPEECH])
        voiced = periodicity >= VOICED
        if 2 * np.count_nonzero(voiced) <= len(voiced):
            # A lone periodic frame among others is a fricative more often than a voice.
            return (Measurement("voice.pitch", None),)
        confidence = float(periodicity[voiced].mean())
        return (Measurement("voice.pitch", float(np.median(hertz[voiced])), confidence),)

    def gap(self) -> None:
        self._last = np.zeros(0, np.float32)
