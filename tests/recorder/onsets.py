"""Where an exported file of `tests.recorder.encoded` media flashes and beeps."""

from pathlib import Path

import av
import numpy as np


def pictures(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [
            (float(frame.time or 0), frame.to_ndarray(format="gray"))
            for frame in container.decode(video=0)
        ]


def sound_of(path: Path) -> np.ndarray:
    """Mono at 48 kHz, from time 0 of the file."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    lead = np.zeros(max(0, round(float(frames[0].time or 0) * 48_000)), np.float32)
    return np.concatenate([lead, *(frame.to_ndarray()[0] for frame in frames)])


def flashes(path: Path) -> list[float]:
    """When the square in the picture's upper left becomes white, in seconds."""
    bright = [(at_s, _is_lit(picture)) for at_s, picture in pictures(path)]
    steps = zip(bright[1:], bright, strict=False)
    return [at_s for (at_s, lit), (_, before) in steps if lit > before]


def beep_after(sound: np.ndarray, at_s: float, early_s: float = 0.2) -> float:
    """When the first beep begins that is not before `early_s` before that time, in seconds."""
    window = np.abs(sound)[round((at_s - early_s) * 48_000) :]
    return at_s - early_s + int(np.argmax(window > 0.1)) / 48_000


def _is_lit(picture: np.ndarray) -> bool:
    height, width = picture.shape
    inside = picture[height // 4 : height // 2 - 10, width // 4 : width // 2 - 10]
    return bool(inside.mean() > 220)
