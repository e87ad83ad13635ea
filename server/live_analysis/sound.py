"""One interview's sound in a worker: Opus packets in, windows of whole blocks out."""

from collections import deque
from collections.abc import Iterator

import numpy as np

from server.live_analysis.decode import OpusDecoder, Undecodable
from server.live_analysis.port import BLOCK, BLOCK_S, SAMPLE_RATE, AudioWindow, Samples
from server.live_analysis.wire import Frame

#: Packets waiting at most: three seconds at 20 ms; the oldest are lost first.
MOST_PACKETS = 150
#: A shorter hole is filled with silence, a longer one is a gap: five packets of 20 ms.
LONGEST_FILL_S = 0.1
#: Capture times jitter by less than this when nothing is missing.
TOLERANCE_S = 0.01
OPUS_RATE = 48_000


class Sound:
    """Add packets as they come; ``windows`` decodes what has come since its last call."""

    def __init__(self) -> None:
        self._decoder = OpusDecoder()
        self._packets: deque[Frame] = deque(maxlen=MOST_PACKETS)
        self._decoded: list[Samples] = []
        self._rest = np.zeros(0, np.float32)
        #: Capture time of the end of what was decoded; None before the first packet.
        self.end_s: float | None = None
        self.undecodable = 0

    def add(self, packet: Frame) -> None:
        self._packets.append(packet)

    def windows(self) -> Iterator[AudioWindow | None]:
        """Windows in order, with None where sound is missing between two."""
        while self._packets:
            packet = self._packets.popleft()
            if self.end_s is not None and self._fill(packet.capture_s - self.end_s):
                if (window := self._window()) is not None:
                    yield window
                self._rest = np.zeros(0, np.float32)
                yield None
            self._decode(packet)
        if (window := self._window()) is not None:
            yield window

    def _fill(self, missing_s: float) -> bool:
        """Fill a short hole; say whether it is a gap instead."""
        if abs(missing_s) > LONGEST_FILL_S:
            return True
        if missing_s > TOLERANCE_S:
            self._decoded.append(np.zeros(round(missing_s * OPUS_RATE), np.float32))
        return False

    def _decode(self, packet: Frame) -> None:
        try:
            samples = self._decoder.decode(packet.payload)
        except Undecodable:
            self.undecodable += 1
            return
        self._decoded.append(samples)
        self.end_s = packet.capture_s + len(samples) / OPUS_RATE

    def _window(self) -> AudioWindow | None:
        if not self._decoded:
            return None
        samples = np.concatenate(self._decoded)
        whole = len(samples) // 3 * 3
        self._decoded = [samples[whole:]] if whole < len(samples) else []
        self._rest = np.concatenate((self._rest, self._decoder.decimate(samples[:whole])))
        blocks = len(self._rest) // BLOCK
        if not blocks or self.end_s is None:
            return None
        heard, self._rest = self._rest[: blocks * BLOCK], self._rest[blocks * BLOCK :]
        end_s = self.end_s - len(self._rest) / SAMPLE_RATE
        return AudioWindow(heard, end_s - blocks * BLOCK_S, end_s)
