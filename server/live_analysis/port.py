"""The port of an analyser: what it says about itself, what it is given, what it answers.

An analyser is one file under ``analysers/`` with a ``CARD`` and one class, named in the table of
``analysers/__init__.py``. One instance serves one interview, in a worker process; it keeps its
own state between windows and reads no clock.
"""

import enum
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


class Modality(enum.StrEnum):
    AUDIO = "audio"
    VIDEO = "video"
    NETWORK = "network"


class Policy(enum.StrEnum):
    """Law profiles under which an indicator may be computed by default or with consent."""

    CN = "cn"
    EU = "eu"
    US = "us"
    STRICT = "strict"


#: Quality of sound, picture and network, and what is in the picture.
EVERYWHERE = frozenset(Policy)
#: Raw prosody: in the EU off by default (AI Act Art. 5(1)(f) stands near), so off in strict.
PROSODY = frozenset({Policy.CN, Policy.US})


@dataclass(frozen=True, slots=True)
class Measure:
    """One indicator of an analyser: its stable name, unit, and bounds (None: open)."""

    name: str
    unit: str
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Card:
    """All that an analyser says about itself; `docs/indicators.md` is held against it."""

    analyser: str
    modality: Modality
    measures: tuple[Measure, ...]
    rate_hz: float
    #: CPU milliseconds per second of one interview, measured (docs/decisions).
    cost_ms_per_s: float
    #: True when what it computes could identify a person. None does today.
    biometric: bool
    policies: frozenset[Policy]
    #: How it was validated, in a sentence.
    validated: str
    version: int = 1


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
    """The newest picture, scaled to about 320 pixels width, as sent (not mirrored).

    ``faces`` is filled by the face analyser, first in the table, for those after it.
    """

    luma: Image
    capture_s: float
    #: The whole picture scaled to a width and height, red, green, blue.
    rgb: Callable[[int, int], Image]
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
        """Measure a picture newer than the last."""
        ...

    def miss(self, now_s: float) -> Iterable[Measurement]:
        """No new picture came up to media time ``now_s``."""
        ...
