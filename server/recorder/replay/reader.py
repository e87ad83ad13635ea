"""Reads a recording, also one that is still being written: an index, then media on demand.

Sync, for threads: calls may come from several at once. Memory is bounded: the index (the clear
record headers) and a few decrypted fragments.
"""

import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from server.core.frames import TrackName
from server.recorder.catalog.recordings import recording_key, recording_path, stored_folder
from server.recorder.format import mp4
from server.recorder.format.manifest import MANIFEST_NAME, State, decode_manifest
from server.recorder.format.sealing import (
    SEGMENT_HEADER_BYTES,
    FaultKind,
    Flags,
    Kind,
    Opener,
    RecordHeader,
    SegmentError,
)
from server.recorder.format.segments import (
    Record,
    index_records,
    read_ciphertext,
    read_segment_header,
    unlisted_segments,
)
from server.recorder.format.server_key import ServerKey
from server.recorder.format.table import FragmentTable
from server.recorder.format.tracks import TIMESCALE, Fragment, Tracks
from server.recorder.keys.key_ring import KeyRing
from server.recorder.replay import source_buffer
from server.recorder.replay.index import (
    ReplayEvent,
    ReplayFragment,
    ReplayGap,
    ReplayIndex,
    ReplayInit,
    Side,
)
from server.recorder.stores.store import Readable, Store, StoredFolder, size_of

#: Decrypted fragments kept: a fragment's replay looks at the ones before and after it.
_CACHED_FRAGMENTS = 8


class _Segment:
    """One segment file's index, and how to open its records."""

    def __init__(self, path: Readable, key: bytes, number: int) -> None:
        self.path = path
        self.number = number
        with path.open("rb") as file:
            self.opener = Opener(key, read_segment_header(file))
        self.end = SEGMENT_HEADER_BYTES

    def refresh(self, limit: int | None) -> list[Record]:
        """The records that were not there before, up to the file's byte ``limit``."""
        with self.path.open("rb") as file:
            size = size_of(file) if limit is None else limit
            new = list(index_records(file, self.end, size))
        self.end = new[-1].end if new else self.end
        return new

    def open(self, record: Record) -> bytes:
        with self.path.open("rb") as file:
            return self.opener.open(record.header, read_ciphertext(file, record))


class RecordingReader:
    """Of the folder ``path``, with the recording's ``key``; ``stored``: what a store took of it.

    OSError where files can't be read; SegmentError where they are not authentic or the key is
    not theirs.
    """

    def __init__(
        self,
        path: Path,
        key: bytes,
        public_key: ServerKey,
        stored: Readable | None = None,
    ) -> None:
        self.path = path
        self.files: Readable = path if stored is None else StoredFolder(path, stored)
        self.key = key
        self._public_key = public_key
        self.lock = threading.RLock()
        self._segments: dict[str, _Segment] = {}
        self._media = FragmentTable()
        self._in_order: list[_Segment] = []  # the same
        self._tracks: dict[int, Tracks] = {}  # by the init number of the records
        self._cache: OrderedDict[int, Fragment] = OrderedDict()
        self.stand_ins = source_buffer.StandIns()
        self._plan = source_buffer.Plan(())
        self._interviewer = source_buffer.OfInterviewer(self, ())
        self._planned: tuple[Tracks, ...] | None = None
        self.revision = ""
        self.refresh()

    def describe(self, after: int = 0) -> ReplayIndex:
        """The index as of now, of the fragments whose ``seq`` is above ``after``."""
        with self.lock:
            self.refresh()
            epoch_s = (self.manifest.epoch_us or 0) / 1e6
            count = self._settled()
            names = {name for tracks in self.recorded_tracks for name in tracks.names()}
            return ReplayIndex(
                self.manifest.state,
                None if self.manifest.epoch_us is None else epoch_s,
                source_buffer.mime(self._plan.inits[0]) if self._plan.inits else "",
                self._media.end_us(count) / 1e6,
                tuple(name for name in TrackName if name in names),
                tuple(map(_describe_init, self._plan.inits)),
                tuple(map(_describe_init, self._plan.screens)),
                tuple(map(_describe_init, self._interviewer.plan.inits)),
                tuple(map(self._describe, range(after, count))),
                tuple(
                    ReplayGap(
                        gap.track,
                        round(gap.start_us / 1e6 - epoch_s, 6),
                        round(gap.end_us / 1e6 - epoch_s, 6),
                        gap.cause,
                        gap.lost,
                    )
                    for gap in self.manifest.gaps
                ),
                tuple(
                    ReplayEvent(event.event, round(event.at_us / 1e6 - epoch_s, 6))
                    for event in self.manifest.events
                ),
                self.revision,
            )

    def _settled(self) -> int:
        """How many fragments stay as they are, whatever follows."""
        if not self.running or not len(self):
            return len(self)
        until_us = self.header(len(self) - 1).end_us
        return min(source_buffer.settled(self, until_us), self._interviewer.settled())

    @property
    def began_us(self) -> int:
        """Unix time of its start; 0 while it has none."""
        return self.manifest.epoch_us or 0

    @property
    def duration_us(self) -> int:
        return self._media.end_us(len(self))

    def init(self, side: Side, number: int) -> bytes:
        """An init segment for a player of that side. IndexError if there is none."""
        with self.lock:
            inits = self.inits(side)
            if not 0 <= number < len(inits):
                raise IndexError(number)
            return source_buffer.init_segment(inits[number])

    def inits(self, side: Side) -> tuple[Tracks, ...]:
        """What a player of that side is to expect, in the order of its init segments."""
        return {
            Side.CANDIDATE: self._plan.inits,
            Side.SCREEN: self._plan.screens,
            Side.INTERVIEWER: self._interviewer.plan.inits,
        }[side]

    def picture_times_s(self, seq: int) -> list[float]:
        """When the pictures that a fragment shows begin. IndexError if there is none."""
        with self.lock:
            times = source_buffer.picture_times(self, self._index_of(seq))
            return [time / TIMESCALE[TrackName.CAMERA] for time in times]

    def fragments(
        self, side: Side, first: int, last: int, fill_us: int = source_buffer.MAX_FILL_US
    ) -> bytes:
        """Media segments of that side that fit one init; pauses up to ``fill_us`` are filled.

        IndexError if there is no fragment ``last``, or nothing of the side in them.
        """
        read = {
            Side.CANDIDATE: lambda seq: self.fragment(seq, fill_us),
            Side.SCREEN: self.screen_fragment,
            Side.INTERVIEWER: self.interviewer_fragment,
        }[side]
        media = [read(seq) for seq in range(first, last + 1) if self.has(side, seq)]
        if not media:
            raise IndexError(first)
        return b"".join(media)

    def fragment(self, seq: int, fill_us: int = source_buffer.MAX_FILL_US) -> bytes:
        """A media segment that fits its init. IndexError if there is none.

        Pauses longer than ``fill_us`` are not filled.
        """
        with self.lock:
            return source_buffer.media_segment(self, self._index_of(seq), fill_us)

    def screen_fragment(self, seq: int) -> bytes:
        """The same of the screen's own replay. IndexError if it has no picture of the screen."""
        with self.lock:
            return source_buffer.screen_segment(self, self._index_of(seq))

    def interviewer_fragment(self, seq: int) -> bytes:
        """The same of the interviewer's own replay. IndexError if it has nothing of them."""
        with self.lock:
            place = self._interviewer.place(self._index_of(seq))
            if place is None:
                raise IndexError(seq)
            return source_buffer.media_segment(self._interviewer, place)

    def seen_s(self, side: Side, first: int, last: int) -> list[tuple[float, float]]:
        """The seconds of which something is in those fragments: their own, and of stand-ins."""
        with self.lock:
            header_of = self.header
            spans = [(header_of(first - 1).start_us / 1e6, header_of(last - 1).end_us / 1e6)]
            for index in range(first - 1, last):
                shown = self._stand_in(side, index)
                if shown is not None and not first <= shown.seq <= last:
                    spans.append((shown.start_us / 1e6, shown.end_us / 1e6))
            return list(dict.fromkeys(spans))

    def _stand_in(self, side: Side, index: int) -> RecordHeader | None:
        """Of the fragment whose keyframe is shown there."""
        source: source_buffer.Recorded = self
        if side is Side.INTERVIEWER:
            place = self._interviewer.place(index)
            if place is None:
                return None
            source, index = self._interviewer, place
        shown = None if side is Side.SCREEN else source.stand_ins.of(index)
        return None if shown is None else source.header(shown)

    def has(self, side: Side, seq: int) -> bool:
        """Whether the fragment has something of that side. IndexError if there is none."""
        with self.lock:
            index = self._index_of(seq)
            return {
                Side.CANDIDATE: True,
                Side.SCREEN: bool(self.header(index).flags & Flags.SCREEN),
                Side.INTERVIEWER: self._interviewer.place(index) is not None,
            }[side]

    def _index_of(self, seq: int) -> int:
        if not 1 <= seq <= len(self._media):
            self.refresh()
        if not 1 <= seq <= len(self._media):
            raise IndexError(seq)
        return seq - 1

    # ---- what replay and export build on -------------------------------------------------

    @property
    def plan(self) -> source_buffer.Plan:
        return self._plan

    @property
    def running(self) -> bool:
        return self.manifest.state is State.RECORDING

    def header(self, index: int) -> RecordHeader:
        """Of the media record of number ``index + 1``."""
        return self._media.header(index)

    def __len__(self) -> int:
        return len(self._media)

    def span_us(self, index: int) -> tuple[int, int]:
        """From when to when that fragment lasts."""
        header = self.header(index)
        return header.start_us, header.end_us

    def tracks(self, index: int) -> Tracks:
        """As the fragment's own segment announces them."""
        return self._tracks[self._media.header(index).init]

    def samples(self, index: int) -> Fragment:
        """The fragment as it was recorded."""
        with self.lock:
            if index in self._cache:
                self._cache.move_to_end(index)
                return self._cache[index]
            segment, record = self._media.place(index)
            fragment = _parsed(self._in_order[segment].open(record))
            self._cache[index] = fragment
            if len(self._cache) > _CACHED_FRAGMENTS:
                self._cache.popitem(last=False)
            return fragment

    @property
    def recorded_tracks(self) -> tuple[Tracks, ...]:
        """What the recording's segments announce, each once, in order."""
        return tuple(self._tracks.values())

    def all_samples(self) -> Iterator[tuple[Tracks, Fragment]]:
        for index in range(len(self._media)):
            yield self.tracks(index), self.samples(index)

    # ---- index --------------------------------------------------------------------------

    def refresh(self) -> None:
        """What was recorded since. Where ``revision`` changes, all that was told of may have."""
        manifest = decode_manifest((self.path / MANIFEST_NAME).read_bytes(), self._public_key)
        sizes: dict[str, int | None] = {entry.name: entry.size for entry in manifest.segments}
        if manifest.state is State.RECORDING:
            sizes.update(dict.fromkeys(unlisted_segments(os.listdir(self.path), sizes)))
        if self._has_shrunk(sizes):
            self._forget()
        for name, size in sizes.items():
            try:
                self._refresh_segment(name, size)
            except SegmentError as error:
                if size is not None or error.kind is not FaultKind.TRUNCATED:
                    raise  # only a segment being written may lack its header
        if self.recorded_tracks != self._planned:
            self._make_plan()
        self._interviewer.grow()
        self.manifest = manifest

    def _make_plan(self) -> None:
        self._planned = recorded = self.recorded_tracks
        self._plan = source_buffer.Plan(recorded)
        self._interviewer = source_buffer.OfInterviewer(self, recorded)
        self.revision = secrets.token_hex(8)

    def _has_shrunk(self, sizes: dict[str, int | None]) -> bool:
        """Whether a failed write was cut back since: then what is known no longer holds."""
        return any(
            name not in sizes or segment.end > (sizes[name] or segment.end)
            for name, segment in self._segments.items()
        )

    def _forget(self) -> None:
        self._segments.clear()
        self._in_order.clear()
        self._media.clear()
        self._tracks.clear()
        self._cache.clear()
        self._planned, self.stand_ins = None, source_buffer.StandIns()

    def _refresh_segment(self, name: str, size: int | None) -> None:
        segment = self._segments.get(name)
        if segment is None:
            segment = _Segment(self.files / name, self.key, len(self._in_order))
            self._segments[name] = segment
            self._in_order.append(segment)
        if segment.end == size:
            return  # all of a closed segment is known
        for record in segment.refresh(size):
            header = record.header
            if header.kind is Kind.INIT and header.init not in self._tracks:
                self._tracks[header.init] = _parsed_init(segment.open(record))
            elif header.kind is Kind.MEDIA:
                self._media.append(segment.number, record)
                self.stand_ins.add(header)

    def _describe(self, index: int) -> ReplayFragment:
        header, tracks = self.header(index), self.tracks(index)
        return ReplayFragment(
            header.seq,
            header.start_us / 1e6,
            header.duration_us / 1e6,
            source_buffer.plays_from(self, index),
            self._plan.number(tracks),
            self._plan.screen_number(tracks) if header.flags & Flags.SCREEN else None,
            bool(header.flags & Flags.SCREEN_KEYFRAME),
            *self.interviewer_at(index),
        )

    def interviewer_at(self, index: int) -> tuple[int | None, bool]:
        """Which of the interviewer's inits that fragment fits, and whether it plays from there."""
        place = self._interviewer.place(index)
        if place is None:
            return None, False
        number = self._interviewer.plan.number(self._interviewer.tracks(place))
        return number, source_buffer.plays_from(self._interviewer, place)


def open_reader(
    data_dir: Path,
    interview_id: str,
    keys: KeyRing,
    store: Store | None = None,
) -> RecordingReader:
    """KeyError if there is no such recording; KeyProblem; SegmentError; OSError."""
    key = recording_key(data_dir, interview_id, keys)
    path = recording_path(data_dir, interview_id)
    stored = None if store is None else stored_folder(path, store)
    return RecordingReader(path, key, keys.public_key, stored)


def _describe_init(tracks: Tracks) -> ReplayInit:
    video = tracks.video
    return ReplayInit(
        source_buffer.mime(tracks), video.width if video else 0, video.height if video else 0
    )


def _parsed(data: bytes) -> Fragment:
    try:
        return mp4.parse_media(data)
    except mp4.Mp4Error as error:
        raise SegmentError(FaultKind.TAMPERED, f"not a fragment: {error}") from error


def _parsed_init(data: bytes) -> Tracks:
    try:
        return mp4.parse_init(data)
    except mp4.Mp4Error as error:
        raise SegmentError(FaultKind.TAMPERED, f"not an init segment: {error}") from error
