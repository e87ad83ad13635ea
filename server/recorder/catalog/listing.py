"""The list of a data directory's recordings, a line of each, as people see it.

It reads the disk: call it in a thread, or in a program of its own.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from server.core.frames import TrackName
from server.recorder.catalog.derived import Left, read_statement, refusal_of, share_made
from server.recorder.catalog.recordings import (
    TRACK_OF,
    is_compressed,
    is_locked,
    open_title,
    read_manifest,
    recording_folders,
    recording_path,
)
from server.recorder.format.manifest import Manifest, State
from server.recorder.format.sealing import SEGMENT_HEADER_BYTES, RecordHeader, SegmentError
from server.recorder.format.segments import index_records, unlisted_segments
from server.recorder.format.server_key import ServerKey
from server.recorder.keys.key_ring import KeyRing
from server.recorder.keys.root_key import KeyProblem, KeyUnavailable


class RecordingSummary(msgspec.Struct, frozen=True):
    """A line of the list of recordings. ``title`` is empty where the key does not open it."""

    interview_id: str
    title: str
    state: State
    started_s: float | None  #: Unix time of the first sample
    duration_s: float
    tracks: tuple[TrackName, ...]
    gaps: int  #: what is missing of several tracks at the same time is one
    bytes: int
    compressed: bool  #: made of what was recorded, to be small
    source_bytes: int | None = None  #: of those segments, where it is signed
    left: Left | None = None  #: why it stays as it is, where it was to be made small
    reason: str = ""  #: of that, in words
    made: float | None = None  #: share of what is being made of it, 0 to 1


def list_recordings(data_dir: Path, keys: KeyRing) -> list[RecordingSummary]:
    """Every recording whose manifest is authentic, oldest first."""
    running = is_locked(data_dir)
    titles = _Titles(keys)
    summaries = []
    for path in recording_folders(data_dir):
        try:
            manifest = read_manifest(path, keys.public_key)
            if manifest.interview != path.name:
                continue  # another interview's, laid into this one's folder
            summary = _summarise(path, manifest, titles.of(manifest), running)
            summaries.append(_with_sizes(summary, data_dir, manifest, keys.public_key))
        except (SegmentError, OSError):
            continue  # `verify` says what is wrong with it
    return sorted(summaries, key=lambda one: (one.started_s or 0, one.interview_id))


def _summarise(path: Path, manifest: Manifest, title: str, running: bool) -> RecordingSummary:
    state = manifest.state
    if state is State.RECORDING and not running:
        state = State.INTERRUPTED
    tracks = {track for segment in manifest.segments for track in segment.tracks}
    end_us = max((segment.end_us for segment in manifest.segments), default=0)
    for header in _open_headers(path, manifest):
        end_us = max(end_us, header.end_us)
        tracks.update(track for flag, track in TRACK_OF.items() if flag & header.flags)
    return RecordingSummary(
        manifest.interview,
        title,
        state,
        None if manifest.epoch_us is None else manifest.epoch_us / 1e6,
        end_us / 1e6,
        tuple(track for track in TrackName if track in tracks),
        _interruptions(manifest),
        _size(path, manifest),
        is_compressed(manifest),
    )


def _with_sizes(
    summary: RecordingSummary, data_dir: Path, manifest: Manifest, public_key: ServerKey
) -> RecordingSummary:
    """With what compressing it came to, if that was done or tried."""
    if not summary.compressed:
        refusal = refusal_of(data_dir, manifest)
        if refusal:
            return msgspec.structs.replace(summary, left=refusal.why, reason=refusal.reason)
        made = share_made(data_dir, manifest, public_key)
        return msgspec.structs.replace(summary, made=made)
    try:
        stated = read_statement(recording_path(data_dir, manifest.interview), public_key)
    except (SegmentError, OSError):
        return summary  # `verify` says what is wrong with it
    return msgspec.structs.replace(summary, source_bytes=stated.source_bytes)


def _interruptions(manifest: Manifest) -> int:
    """Gaps of several tracks at the same time are one to a person."""
    count, until_us = 0, -math.inf
    for gap in sorted(manifest.gaps, key=lambda each: each.start_us):
        count += gap.start_us > until_us
        until_us = max(until_us, gap.end_us)
    return count


def _size(path: Path, manifest: Manifest) -> int:
    """Wherever its segments lie."""
    sizes = {file.name: file.stat().st_size for file in path.iterdir()}
    return sum((sizes | {entry.name: entry.size for entry in manifest.segments}).values())


def _open_headers(path: Path, manifest: Manifest) -> Iterator[RecordHeader]:
    """Of the records in segments that are still being written."""
    if manifest.state is not State.RECORDING:
        return
    for name in unlisted_segments(os.listdir(path), [entry.name for entry in manifest.segments]):
        size = (path / name).stat().st_size
        with (path / name).open("rb") as file:
            for record in index_records(file, SEGMENT_HEADER_BYTES, size):
                yield record.header


class _Titles:
    """Titles for one list: a key service that does not answer is waited for once."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._available = True

    def of(self, manifest: Manifest) -> str:
        if not self._available:
            return ""
        try:
            key = self._keys.recording_key(manifest.interview, bytes.fromhex(manifest.recording))
            return open_title(key, manifest)
        except KeyProblem as error:
            self._available = not isinstance(error, KeyUnavailable)
            return ""
