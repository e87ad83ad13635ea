"""Where each track of a recording ends that a crash has cut: what waited to be written is lost.

Sound that waits for what was lost before it, up to 3 s, is written after pictures of its time.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from server.core.frames import TrackName
from server.recorder.catalog.recordings import TRACK_OF
from server.recorder.format import mp4
from server.recorder.format.manifest import Manifest
from server.recorder.format.sealing import SEGMENT_HEADER_BYTES, Kind, Opener
from server.recorder.format.segments import (
    Record,
    index_records,
    read_ciphertext,
    read_segment_header,
)
from server.recorder.format.tracks import VISIT_STILL_US, VISITING, to_us


def track_ends_us(path: Path, manifest: Manifest, key: bytes) -> dict[TrackName, int]:
    """Of the tracks that were there last, since the epoch, as far as its segments lie in ``path``.

    ``manifest`` lists all of them. SegmentError, Mp4Error where they are not the writer's; OSError.
    """
    last = manifest.segments[-1]
    left, found = set(last.tracks), dict[TrackName, int]()
    for entry in reversed(manifest.segments):
        if not left or not (path / entry.name).exists():
            break
        for track, end_us in _ends_in(path / entry.name, key, left):
            found[track] = end_us
        left -= found.keys()
        if last.end_us - entry.start_us > VISIT_STILL_US:
            left -= set(VISITING)
    return found


def _ends_in(path: Path, key: bytes, wanted: set[TrackName]) -> Iterator[tuple[TrackName, int]]:
    with path.open("rb") as file:
        opener = Opener(key, read_segment_header(file))
        size = os.fstat(file.fileno()).st_size
        last: dict[TrackName, Record] = {}
        for record in index_records(file, SEGMENT_HEADER_BYTES, size):
            if record.header.kind is Kind.MEDIA:
                there = (track for flag, track in TRACK_OF.items() if flag & record.header.flags)
                last |= dict.fromkeys(there, record)
        for track in wanted & last.keys():
            record = last[track]
            plaintext = opener.open(record.header, read_ciphertext(file, record))
            samples = dict(mp4.parse_media(plaintext).by_track())[track]
            yield track, to_us(track, samples[-1].time + samples[-1].duration)
