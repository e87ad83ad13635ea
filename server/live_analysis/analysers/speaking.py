"""How much is spoken, and the pauses between speech: pure code over speech probabilities.

A pause is a stretch of at least 250 ms without speech between two stretches with speech, the
usual threshold below which closures of stops are taken for pauses (Goldman-Eisler 1968).
"""

from collections import deque
from collections.abc import Iterable

import msgspec
import numpy as np

from server.live_analysis.card import PROSODY, Card, Measure, Modality
from server.live_analysis.port import BLOCK_S, AudioWindow, Measurement

CARD = Card(
    analyser="speaking",
    modality=Modality.AUDIO,
    measures=(
        Measure("speech.ratio", "ratio", 0, 1),
        Measure("speech.ratio_total", "ratio", 0, 1),
        Measure("speech.pause", "s", 0, None),
        Measure("speech.pauses", "count/min", 0, 240),
        Measure("speech.pause_mean", "s", 0.25, None),
    ),
    rate_hz=5,
    cost_ms_per_s=0.2,
    biometric=False,
    policies=PROSODY,
    validated="planted pauses in read speech within 100 ms; exact on planted probabilities",
)

#: Hysteresis of the model's authors: speech begins at 0.5 and ends 0.15 lower.
BEGINS = 0.5
ENDS = 0.35
SHORTEST_PAUSE_S = 0.25
SPAN_S = 60.0
SPAN_BLOCKS = round(SPAN_S / BLOCK_S)


_encode = msgspec.msgpack.encode
#: Blocks heard, blocks spoken, recent blocks and their bits, pauses.
_Saved = msgspec.msgpack.Decoder(tuple[int, int, int, bytes, list[tuple[int, float]]])


class Speaking:
    def __init__(self) -> None:
        self._talking = False
        #: Blocks without speech up to now.
        self._silent = 0
        #: Whether the silence up to now follows speech that was heard.
        self._after_speech = False
        self._heard = self._spoken = 0
        self._recent: deque[bool] = deque(maxlen=SPAN_BLOCKS)
        self._recently_spoken = 0
        #: Pauses of the last minute: the block at which each ended, and its length.
        self._pauses: deque[tuple[int, float]] = deque()

    def hear(self, window: AudioWindow) -> Iterable[Measurement]:
        for probability in window.speech.tolist():
            self._talking = probability >= (ENDS if self._talking else BEGINS)
            self._count(self._talking)
        while self._pauses and self._pauses[0][0] <= self._heard - SPAN_BLOCKS:
            self._pauses.popleft()
        return self._report()

    def save(self) -> bytes:
        recent = np.packbits(np.fromiter(self._recent, bool)).tobytes()
        return _encode((self._heard, self._spoken, len(self._recent), recent, [*self._pauses]))

    def restore(self, saved: bytes) -> None:
        self._heard, self._spoken, count, packed, pauses = _Saved.decode(saved)
        recent = np.unpackbits(np.frombuffer(packed, np.uint8), count=count).astype(bool)
        self._recent.extend(recent.tolist())
        self._recently_spoken = int(recent.sum())
        self._pauses.extend(pauses)

    def gap(self) -> None:
        """What was not heard is neither speech nor pause."""
        self._talking = self._after_speech = False
        self._silent = 0

    def _count(self, talking: bool) -> None:
        self._heard += 1
        if len(self._recent) == SPAN_BLOCKS:
            self._recently_spoken -= self._recent[0]
        self._recent.append(talking)
        self._recently_spoken += talking
        self._spoken += talking
        if not talking:
            self._silent += 1
            return
        silent_s = self._silent * BLOCK_S
        if self._after_speech and silent_s >= SHORTEST_PAUSE_S:
            self._pauses.append((self._heard, silent_s))
        self._silent, self._after_speech = 0, True

    def _report(self) -> Iterable[Measurement]:
        recent = len(self._recent)
        share = recent / SPAN_BLOCKS
        minutes = recent * BLOCK_S / 60
        lengths = [length for _, length in self._pauses]
        mean = sum(lengths) / len(lengths) if lengths else None
        yield Measurement("speech.ratio", self._recently_spoken / recent, share)
        yield Measurement("speech.ratio_total", self._spoken / self._heard)
        yield Measurement("speech.pause", self._silent * BLOCK_S)
        yield Measurement("speech.pauses", len(lengths) / minutes, share)
        yield Measurement("speech.pause_mean", mean)
