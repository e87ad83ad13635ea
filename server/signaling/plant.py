"""The parts that the composition root opens and every interview works with."""

from collections.abc import Callable
from dataclasses import dataclass, field

from server.live_analysis.pool import Analysis
from server.media.server import MediaServer
from server.recorder.compressor import CompressMetrics
from server.recorder.recorder import Recorder
from server.signaling.admission import Admission
from server.signaling.storage import Storage
from server.signaling.turn import Turn
from server.store import AsyncStore


@dataclass(slots=True)
class Counters:
    """Of all interviews since the start, for metrics."""

    dropped: int = 0  #: messages that a slow observer never got
    slow_readers: int = 0  #: sockets closed because they took nothing


@dataclass(frozen=True, slots=True)
class Plant:
    """The parts that every interview works with."""

    media: MediaServer
    recorder: Recorder
    analysis: Analysis | None  #: None: switched off
    db: AsyncStore
    clock: Callable[[], float]
    turn: Turn = field(default_factory=Turn)
    admission: Admission = field(default_factory=Admission)
    storage: Storage = field(default_factory=Storage)
    counters: Counters = field(default_factory=Counters)
    compressing: CompressMetrics = field(default_factory=CompressMetrics)
