"""The network samples of one interview: differences of the media's running counters."""

from server.live_analysis.network import NetworkSample
from server.media.source import SourceStats, TrackStats

#: Ticks that come sooner (something happened in between) make no sample.
MIN_INTERVAL_S = 0.9


class NetworkMeter:
    """Call `sample` about once a second; the first call only remembers the counters."""

    def __init__(self) -> None:
        self._last: tuple[SourceStats, float] | None = None

    def sample(self, stats: SourceStats, now: float) -> NetworkSample | None:
        """What changed since the last sample; None when that was a moment ago."""
        if self._last is None:
            self._last = (stats, now)
            return None
        before, start_s = self._last
        if now - start_s < MIN_INTERVAL_S:
            return None
        self._last = (stats, now)
        return NetworkSample(
            start_s=start_s,
            end_s=now,
            bytes_received=_grown(before, stats, "bytes"),
            packets_received=_grown(before, stats, "packets"),
            packets_lost=_grown(before, stats, "packets_lost"),
            jitter_s=max((track.jitter_s for track in stats.tracks.values()), default=0.0),
            round_trip_s=stats.round_trip_s,
        )


def _grown(before: SourceStats, after: SourceStats, counter: str) -> int:
    return sum(
        getattr(track, counter) - _base(before.tracks.get(name), track, counter)
        for name, track in after.tracks.items()
    )


def _base(before: TrackStats | None, after: TrackStats, counter: str) -> int:
    """Where the counter stood; a reconnected candidate's counters begin at 0 again."""
    if before is None or after.packets < before.packets:
        return 0
    base: int = getattr(before, counter)
    return base
