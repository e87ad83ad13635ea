"""What an analyser says about itself, in one place. Pure: the server's own process imports it."""

import enum
from dataclasses import dataclass


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
