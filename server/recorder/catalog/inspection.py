"""What a recording consists of, for whoever looks at one: with the key, or as far as it is clear.

Nothing is proved here; :mod:`server.recorder.evidence.verify` does that. What is decrypted is
measured and forgotten: nobody sees or hears anything by it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from server.core.frames import Codec, GapCause, TrackName
from server.recorder.catalog.recordings import TRACK_OF, open_title
from server.recorder.format import mp4
from server.recorder.format.manifest import Manifest, Policy, SegmentEntry, State, policy_hash
from server.recorder.format.sealing import (
    SEGMENT_HEADER_BYTES,
    FaultKind,
    Kind,
    Opener,
    RecordHeader,
    SegmentError,
)
from server.recorder.format.segments import (
    index_records,
    read_ciphertext,
    read_segment_header,
    unlisted_segments,
)
from server.recorder.format.tracks import TIMESCALE, Fragment, Tracks, to_us
from server.recorder.stores.store import Readable, size_of


class Coding(msgspec.Struct, frozen=True):
    """How a track is coded from a time on; 0 by 0 is sound."""

    start_s: float
    codec: Codec
    width: int
    height: int


class TrackPart(msgspec.Struct, frozen=True):
    """A track; times in seconds since the recording's start.

    Without the key, times are those of the fragments that have something of it, and what only
    decrypting tells is null.
    """

    name: TrackName
    start_s: float
    end_s: float
    duration_s: float  #: of what is there, gaps left out
    bytes: int | None  #: of its pictures or packets
    bitrate_bps: int | None
    codings: tuple[Coding, ...]


class SegmentPart(msgspec.Struct, frozen=True):
    """A segment's file, in the clear."""

    name: str
    start_s: float
    end_s: float
    size: int
    records: int
    fragments: int
    tracks: tuple[TrackName, ...]
    complete: bool  #: closed in order
    listed: bool  #: by the manifest; one that is being written is not
    there: bool


class GapPart(msgspec.Struct, frozen=True):
    track: TrackName
    start_s: float
    end_s: float
    cause: GapCause
    lost: int  #: packets or frames; 0 where it is not known


class EventPart(msgspec.Struct, frozen=True):
    event: str
    at_s: float


class PolicyPart(msgspec.Struct, frozen=True):
    policy: Policy
    hash: str


class Inspection(msgspec.Struct, frozen=True):
    """Times in seconds since the start, but ``started_s``, which is Unix time."""

    interview_id: str
    recording: str
    title: str | None  #: null without the key
    state: State
    revision: int
    started_s: float | None
    duration_s: float
    size: int  #: of all segments
    records: int
    fragments: int
    tree_size: int
    root: str
    policies: tuple[PolicyPart, ...]
    tracks: tuple[TrackPart, ...]
    gaps: tuple[GapPart, ...]
    events: tuple[EventPart, ...]
    segments: tuple[SegmentPart, ...]
    unreadable: tuple[str, ...]  #: files that are not as their writer wrote them, and why


def inspect(path: Readable, manifest: Manifest, key: bytes | None) -> Inspection:
    """Of the recording in folder ``path``. KeyProblem if the key is another's; OSError."""
    walk = _Walk(key)
    names = {file.name for file in path.iterdir()}
    segments = [_listed(path, entry, entry.name in names, walk) for entry in manifest.segments]
    if manifest.state is State.RECORDING:
        listed = [entry.name for entry in manifest.segments]
        segments += [_growing(path, name, walk) for name in unlisted_segments(names, listed)]
    epoch_us = manifest.epoch_us or 0
    return Inspection(
        manifest.interview,
        manifest.recording,
        None if key is None else open_title(key, manifest),
        manifest.state,
        manifest.revision,
        None if manifest.epoch_us is None else epoch_us / 1e6,
        max((each.end_s for each in segments), default=0.0),
        sum(each.size for each in segments),
        sum(each.records for each in segments),
        sum(each.fragments for each in segments),
        manifest.tree_size,
        manifest.root,
        tuple(PolicyPart(each, policy_hash(each).hex()) for each in manifest.policies),
        tuple(walk.tracks[name].part(name) for name in TrackName if name in walk.tracks),
        tuple(
            GapPart(
                gap.track,
                _since(gap.start_us, epoch_us),
                _since(gap.end_us, epoch_us),
                gap.cause,
                gap.lost,
            )
            for gap in manifest.gaps
        ),
        tuple(EventPart(each.event, _since(each.at_us, epoch_us)) for each in manifest.events),
        tuple(segments),
        tuple(walk.unreadable),
    )


def _since(at_us: int, epoch_us: int) -> float:
    return (at_us - epoch_us) / 1e6


@dataclass(slots=True)
class _Measured:
    """Of one track so far."""

    start_us: int
    end_us: int = 0
    duration_us: int = 0
    bytes: int | None = None
    codings: list[Coding] = field(default_factory=list)

    def add(self, start_us: int, end_us: int, duration_us: int) -> None:
        self.start_us = min(self.start_us, start_us)
        self.end_us = max(self.end_us, end_us)
        self.duration_us += duration_us

    def part(self, name: TrackName) -> TrackPart:
        known = self.bytes is not None and self.duration_us > 0
        bitrate = round((self.bytes or 0) * 8e6 / self.duration_us) if known else None
        return TrackPart(
            name,
            self.start_us / 1e6,
            self.end_us / 1e6,
            self.duration_us / 1e6,
            self.bytes,
            bitrate,
            tuple(self.codings),
        )


@dataclass(slots=True)
class _Walk:
    """What is known after the records walked so far."""

    key: bytes | None
    tracks: dict[TrackName, _Measured] = field(default_factory=dict)
    inits: dict[int, Tracks] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def add_clear(self, header: RecordHeader) -> None:
        for flag, name in TRACK_OF.items():
            if flag & header.flags:
                known = self.tracks.setdefault(name, _Measured(header.start_us))
                known.add(header.start_us, header.end_us, header.duration_us)

    def add_fragment(self, tracks: Tracks, fragment: Fragment) -> None:
        for name, samples in fragment.by_track():
            if not samples:
                continue
            start_us = to_us(name, samples[0].time)
            known = self.tracks.setdefault(name, _Measured(start_us))
            end_us = to_us(name, samples[-1].time + samples[-1].duration)
            ticks = sum(sample.duration for sample in samples)
            known.add(start_us, end_us, ticks * 1_000_000 // TIMESCALE[name])
            known.bytes = (known.bytes or 0) + sum(len(sample.data) for sample in samples)
            coding = _coding(tracks, name, start_us / 1e6)
            if not known.codings or _differs(known.codings[-1], coding):
                known.codings.append(coding)


def _coding(tracks: Tracks, name: TrackName, start_s: float) -> Coding:
    video = tracks.videos().get(name)
    if video is None:
        return Coding(start_s, Codec.OPUS, 0, 0)
    return Coding(start_s, video.codec, video.width, video.height)


def _differs(one: Coding, other: Coding) -> bool:
    return (one.codec, one.width, one.height) != (other.codec, other.width, other.height)


# ---- segments ---------------------------------------------------------------------------


def _listed(path: Readable, entry: SegmentEntry, there: bool, walk: _Walk) -> SegmentPart:
    if there:
        for _ in _records(path / entry.name, walk):
            pass
    return SegmentPart(
        entry.name,
        entry.start_us / 1e6,
        entry.end_us / 1e6,
        entry.size,
        entry.records,
        entry.fragments,
        entry.tracks,
        entry.complete,
        True,
        there,
    )


def _growing(path: Readable, name: str, walk: _Walk) -> SegmentPart:
    """A segment that is being written, or was when a crash came: its whole records."""
    headers = list(_records(path / name, walk))
    media = [header for header in headers if header.kind is Kind.MEDIA]
    with (path / name).open("rb") as file:
        size = size_of(file)
    return SegmentPart(
        name,
        min((each.start_us for each in media), default=0) / 1e6,
        max((each.end_us for each in media), default=0) / 1e6,
        size,
        len(headers),
        len(media),
        tuple(n for flag, n in TRACK_OF.items() if any(flag & each.flags for each in media)),
        any(header.kind is Kind.END for header in headers),
        False,
        True,
    )


def _records(path: Readable, walk: _Walk) -> Iterator[RecordHeader]:
    """The whole records of a segment, each measured."""
    with path.open("rb") as file:
        size = size_of(file)
        file.seek(0)
        try:
            header = read_segment_header(file)
            opener = None if walk.key is None else Opener(walk.key, header)
            for record in index_records(file, SEGMENT_HEADER_BYTES, size):
                yield record.header
                if opener is None:
                    walk.add_clear(record.header)
                elif record.header.kind in (Kind.INIT, Kind.MEDIA):
                    plaintext = opener.open(record.header, read_ciphertext(file, record))
                    _measure(plaintext, record.header, walk)
        except (SegmentError, mp4.Mp4Error) as error:
            walk.unreadable.append(f"{path.name}: {error}")


def _measure(plaintext: bytes, header: RecordHeader, walk: _Walk) -> None:
    if header.kind is Kind.INIT:
        walk.inits[header.init] = mp4.parse_init(plaintext)
        return
    tracks = walk.inits.get(header.init)
    if tracks is None:
        raise SegmentError(FaultKind.MISSING, "its init segment is gone")
    walk.add_fragment(tracks, mp4.parse_media(plaintext))
