"""The port of an analyser: what it says about itself, what it is given, what it answers.

An analyser is one file under ``analysers/`` with a ``CARD`` and one class, named in the table of
``analysers/__init__.py``. One instance serves one interview, in a worker process; it keeps its
own state between windows and reads no clock.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

#: Samples per second of all audio that analysers hear, mono, float32 in -1..1.
SAMPLE_RATE = 16_000
#: Audio windows are whole blocks of this many samples (32 ms): what the voice model takes.
BLOCK = 512
BLOCK_S = BLOCK / SAMPLE_RATE

Samples = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value of the window just given; None: not measurable in it."""

    name: str
    value: float | None
    confidence: float = 1.0


@dataclass(slots=True)
class AudioWindow:
    """Sound that nobody has heard before: whole blocks, in media time.

    ``speech`` is filled by the speech activity analyser, first in the table, for those after
    it: the probability of speech for each block.
    """

    samples: Samples
    start_s: float
    end_s: float
    speech: Samples = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class Face:
    """A face's box as shares of the picture's width and height, and the detector's score."""

    left: float
    top: float
    width: float
    height: float
    score: float


@dataclass(slots=True)
class Picture:
    """A picture, scaled to about 320 pixels width, as sent (not mirrored).

    ``faces`` is filled by the face analyser, first in the table, for those after it.
    """

    luma: Image
    capture_s: float
    #: The whole picture scaled to a width and height, red, green, blue.
    rgb: Callable[[int, int], Image]
    #: Whether it is a keyframe's: the others lack their loop filter, so blocks show in them.
    keyframe: bool = True
    faces: tuple[Face, ...] = ()


class AudioAnalyser(Protocol):
    def hear(self, window: AudioWindow) -> Iterable[Measurement]:
        """Measure a window that follows the last one without a gap."""
        ...

    def gap(self) -> None:
        """Sound is missing before the next window."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """An analyser whose values reach back further than a second: it survives its process."""

    def save(self) -> bytes: ...

    def restore(self, saved: bytes) -> None:
        """Called before anything else, with what ``save`` answered in another process."""
        ...


class VideoAnalyser(Protocol):
    def see(self, picture: Picture) -> Iterable[Measurement]:
        """Measure a picture newer than the last; nothing when it says nothing."""
        ...

    def miss(self, now_s: float) -> Iterable[Measurement]:
        """No new picture came up to media time ``now_s``."""
        ...
