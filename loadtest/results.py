"""What was measured of each interview, of each recording and of the generator itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtest.histogram import Histogram, merged
from loadtest.truth import Offsets


@dataclass(slots=True)
class RecordingResult:
    """What was found in the finished recording of one interview."""

    error: str | None = None  #: why it could not be read
    frames_sent: int = 0  #: pictures and sounds
    frames_missing: int = 0
    frames_undeclared: int = 0  #: of the missing ones, those that the gap ledger does not name
    video_missing: int = 0  #: of the camera
    screen_recorded: bool | None = None  #: None: none was taken by the server
    layers: dict[int, int] = field(default_factory=dict)  #: pictures by layer, 0 the largest
    gaps_declared: int = 0  #: entries of the ledger
    gaps_undeclared: int = 0  #: rows of missing frames that no entry covers
    av_offsets: Offsets = field(default_factory=Offsets)
    drift: float | None = None  #: of picture against sound, seconds per second
    newest_s: dict[int, float] = field(default_factory=dict)  #: by SSRC: when its last was sent


@dataclass(slots=True)
class InterviewResult:
    """What was measured of one interview."""

    error: str | None = None  #: why it did not take place
    connection_lost: str | None = None  #: which, while it was measured
    left: bool = False  #: it is over, as it was meant to be
    join_s: float | None = None  #: from the candidate's request to its encrypted connection
    first_picture_s: float | None = None  #: from the observer's request
    packets_sent: int = 0
    octets_sent: int = 0  #: of payload
    packets_retransmitted: int = 0
    packets_received: int = 0
    packets_lost: int = 0  #: never came, not even as a repair
    packets_repaired: int = 0  #: came after the observer had asked for them again
    #: Without sound that each packet carries again: of that, what is lost need not be asked for.
    packets_sent_once: int = 0
    packets_asked_for: int = 0  #: of those, by the server; each once
    rejoin_s: Histogram = field(default_factory=Histogram)  #: join_s, of lost connections
    up_s: float | None = None  #: how long it was on while it was measured; None: all the time
    max_bitrate_bps: int | None = None  #: that the server told the candidate to keep (REMB)
    packets_duplicated: int = 0
    frames_sent: int = 0  #: of video, since the observer was there
    frames_received: int = 0  #: whole
    audio_frames_sent: int = 0
    audio_frames_received: int = 0
    layers_offered: int = 0  #: of a simulcast; 0: there was none
    layers_accepted: int = 0  #: by the server
    layer_switches_s: Histogram = field(default_factory=Histogram)  #: how long the picture stood
    screen_offered: bool = False
    screen_accepted: bool = False  #: by the server
    screen_frames_sent: int = 0  #: since the observer was there
    screen_frames_received: int = 0
    frames_misrouted: int = 0  #: of other candidates
    #: Of video, as its observer sees it, whatever came before the observer.
    frames_expected: int = 0
    frames_shown: int = 0
    frames_duplicated: int = 0
    frames_out_of_order: int = 0  #: swapped on the way, or repaired late
    freezes_s: Histogram = field(default_factory=Histogram)
    av_offsets: Offsets = field(default_factory=Offsets)
    recording: RecordingResult | None = None
    datagrams_refused: int = 0  #: by the generator's own kernel
    forward_latency_s: Histogram = field(default_factory=Histogram)
    indicator_latency_s: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True)
class GeneratorCost:
    """Of one process of the generator, or of several: see `all_processes`."""

    cpu_s: float
    lateness_s: Histogram
    busiest_s: float | None = None  #: CPU of the busiest process, where there are several
    latest_s: float | None = None  #: p99 of the lateness of the latest one

    @property
    def busiest_cpu_s(self) -> float:
        return self.cpu_s if self.busiest_s is None else self.busiest_s

    @property
    def worst_lateness_p99_s(self) -> float | None:
        return self.lateness_s.percentile(99) if self.latest_s is None else self.latest_s

    @staticmethod
    def all_processes(parts: Sequence["GeneratorCost"]) -> "GeneratorCost":
        """One process that is overloaded must not hide among others that are idle."""
        return GeneratorCost(
            sum(each.cpu_s for each in parts),
            merged(each.lateness_s for each in parts),
            max((each.busiest_cpu_s for each in parts), default=0.0),
            max((each.worst_lateness_p99_s or 0.0 for each in parts), default=None),
        )
