"""Loudness and clipping of the sound, over the last 400 ms.

400 ms is the momentary window of EBU R 128; the level is plain RMS in dBFS as in AES17 less its
3 dB (0 dBFS is a full-scale square wave), without K-weighting: it shows the level that was sent.
"""

from collections import deque
from collections.abc import Iterable

import numpy as np

from server.live_analysis.card import EVERYWHERE, Card, Measure, Modality
from server.live_analysis.port import BLOCK, BLOCK_S, AudioWindow, Measurement

CARD = Card(
    analyser="loudness",
    modality=Modality.AUDIO,
    measures=(
        Measure("voice.loudness", "dBFS", -100, 0),
        Measure("voice.clipping", "ratio", 0, 1),
    ),
    rate_hz=5,
    cost_ms_per_s=0.3,
    biometric=False,
    policies=EVERYWHERE,
    validated="tones of known level within 0.1 dB, through Opus within 0.5 dB",
)

FLOOR_DBFS = -100.0
MOMENT_BLOCKS = round(0.4 / BLOCK_S)
#: Full scale less what 16-bit rounding and a codec take away.
CLIPPED = 0.999


class Loudness:
    def __init__(self) -> None:
        self._energies: deque[float] = deque(maxlen=MOMENT_BLOCKS)

    def hear(self, window: AudioWindow) -> Iterable[Measurement]:
        blocks = window.samples.reshape(-1, BLOCK)
        self._energies.extend(np.einsum("ij,ij->i", blocks, blocks).tolist())
        mean_square = sum(self._energies) / (BLOCK * len(self._energies))
        level = 10 * np.log10(mean_square) if mean_square > 0 else FLOOR_DBFS
        yield Measurement("voice.loudness", float(np.clip(level, FLOOR_DBFS, 0)))
        clipped = np.count_nonzero(np.abs(window.samples) >= CLIPPED)
        yield Measurement("voice.clipping", clipped / window.samples.size)

    def gap(self) -> None:
        self._energies.clear()
