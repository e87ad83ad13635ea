"""Time of which a recording has nothing, and why, where nobody else has declared it. Pure.

Contract: ask :meth:`Pauses.before` each fragment, then :meth:`Pauses.recorded` it.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from server.core.frames import GapCause, TrackName
from server.core.interviews import SERVER_STOPPED
from server.recorder.format.manifest import GapEntry, Manifest, State
from server.recorder.format.tracks import VISIT_STILL_US, VISITING, Fragment, to_us

#: Tracks that are written together end so near to each other.
UNEVEN_US = 60_000
#: A pause of all tracks that is longer is a gap; Opus' DTX sends a packet every 0.4 s.
PAUSE_US = 1_000_000
#: A pause of one track beside others: longer than sound waits for what was lost before it
#: (`server/media/receiving/nack.py`), than a voice that says nothing, and than a camera that is
#: covered, of which browsers send a black picture a second.
PAUSED_US = 3_000_000


class Pauses:
    """Goes on after what ``manifest`` has. Times are microseconds since the recording's start."""

    def __init__(self, manifest: Manifest) -> None:
        last = manifest.segments[-1] if manifest.segments else None
        #: Where each track ends, as far as the manifest tells.
        self._ends_us = {name: last.end_us for name in last.tracks} if last else {}
        self._end_us = max((segment.end_us for segment in manifest.segments), default=0)
        self._began = last is not None
        restarted = manifest.state is State.INTERRUPTED or _server_stopped(manifest)
        self._cause = GapCause.SERVER_RESTART if restarted else GapCause.DISCONNECTED
        self._shortest_us = 0 if self._began else PAUSE_US

    def tracks_at(self, time_us: int) -> tuple[TrackName, ...]:
        """The tracks that something is missing of where nothing is: of those that are there."""
        return tuple(
            name for name in TrackName if name not in VISITING or self._is_there(name, time_us)
        )

    def before(self, fragment: Fragment, manifest: Manifest) -> list[GapEntry]:
        """What its gaps lack: a pause of every track that goes on, or of one beside others."""
        epoch_us, gaps = manifest.epoch_us or 0, []
        pause_us = fragment.start_us - self._end_us
        if self._began and pause_us > self._shortest_us:
            start_us, end_us = epoch_us + self._end_us, epoch_us + fragment.start_us
            for track in self.tracks_at(self._end_us):
                gap = GapEntry(track, start_us, end_us, self._cause, 0)
                if not any(_covers(known, gap) for known in manifest.gaps):
                    gaps.append(gap)
        for track, samples in fragment.by_track():
            if samples:
                begins_us = to_us(track, samples[0].time)
                gaps += self._paused(track, begins_us, epoch_us, chain(manifest.gaps, tuple(gaps)))
        return gaps

    def recorded(self, fragment: Fragment) -> None:
        """It is in the recording, or declared lost."""
        for track, samples in fragment.by_track():
            if samples:
                self._ends_us[track] = to_us(track, samples[-1].time + samples[-1].duration)
        self._end_us = max(self._end_us, fragment.end_us)
        self._began, self._cause, self._shortest_us = True, GapCause.DISCONNECTED, PAUSE_US

    def back_to(self, end_us: int) -> None:
        """What was recorded after that is not in the recording, and comes again."""
        self._end_us = end_us

    def at_end(self, manifest: Manifest) -> list[GapEntry]:
        """Of tracks that paused before the recording ended."""
        epoch_us, gaps = manifest.epoch_us or 0, manifest.gaps
        return [
            gap
            for track in self._ends_us
            for gap in self._paused(track, self._end_us, epoch_us, gaps)
        ]

    def _is_there(self, track: TrackName, time_us: int) -> bool:
        ends_us = self._ends_us.get(track)
        return ends_us is not None and time_us - ends_us <= VISIT_STILL_US

    def _paused(
        self, track: TrackName, until_us: int, epoch_us: int, known: Iterable[GapEntry]
    ) -> Iterator[GapEntry]:
        """Of a camera or microphone that should be there: its sender sent nothing."""
        since_us = self._ends_us.get(track, until_us)
        if track in VISITING or until_us - since_us <= PAUSED_US:
            return  # nearly always
        for start_us, end_us in _undeclared(track, epoch_us + since_us, epoch_us + until_us, known):
            if end_us - start_us > PAUSED_US:
                yield GapEntry(track, start_us, end_us, GapCause.PAUSED, 0)


def cut_short(manifest: Manifest, ends_us: Mapping[TrackName, int]) -> list[GapEntry]:
    """What a crash has cost of the tracks that end at these times, before the recording does."""
    epoch_us, end_us = manifest.epoch_us or 0, manifest.segments[-1].end_us
    gaps = []
    for track, since_us in ends_us.items():
        pause_us = end_us - since_us
        if track in VISITING and pause_us > VISIT_STILL_US:
            continue  # it was not there any more
        cause = GapCause.PAUSED if pause_us > VISIT_STILL_US else GapCause.SERVER_RESTART
        undeclared = _undeclared(track, epoch_us + since_us, epoch_us + end_us, manifest.gaps)
        for start_us, until_us in undeclared:
            if until_us - start_us > UNEVEN_US:
                gaps.append(GapEntry(track, start_us, until_us, cause, 0))
    return gaps


def _undeclared(
    track: TrackName, start_us: int, end_us: int, known: Iterable[GapEntry]
) -> Iterator[tuple[int, int]]:
    """What the track's known gaps leave of a hole."""
    for gap in sorted((gap for gap in known if gap.track is track), key=lambda gap: gap.start_us):
        if start_us < gap.end_us and gap.start_us < end_us:
            yield start_us, gap.start_us
            start_us = gap.end_us
    yield start_us, end_us


def _covers(known: GapEntry, gap: GapEntry) -> bool:
    """Whether ``known`` already tells of at least half of ``gap``."""
    overlap = min(known.end_us, gap.end_us) - max(known.start_us, gap.start_us)
    return known.track is gap.track and 2 * overlap >= gap.end_us - gap.start_us


def _server_stopped(manifest: Manifest) -> bool:
    """Whether it was closed in order because the server stopped."""
    return bool(manifest.events) and manifest.events[-1].event == SERVER_STOPPED
