"""What the live analysis says: measured values with unit and window, never a judgement."""

import msgspec


class Indicator(msgspec.Struct, frozen=True):
    """One measured value over a window of media time (``capture_s``)."""

    name: str  #: dotted, stable: "voice.loudness", "face.count", "network.round_trip"
    value: float | None  #: None: not measurable in this window (no speech, no face, ...)
    unit: str  #: "dBFS", "Hz", "ratio", "s", "count", "bit/s", "ms", "px"
    start_s: float
    end_s: float
    confidence: float = 1.0  #: 0..1
    version: int = 1  #: of the analyser that measured it


class Alert(msgspec.Struct, frozen=True):
    """A condition an observer should act on; sent when it begins and when it ends."""

    id: str  #: stable: "audio-lost", "video-frozen", "no-face", "recording-failed", ...
    active: bool
    since_s: float
