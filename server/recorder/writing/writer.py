"""Writes one recording: fragments into sealed segments, the ledger into the manifest.

Runs in the writer thread only. :meth:`RecordingWriter.write` and :meth:`~RecordingWriter.sync`
never raise OSError: after a failed write the segment is refused (cut back to what was durable),
``on_fault`` is told, and what was not durable is held in memory until a new segment takes it. What
memory does not hold becomes a gap. Once everything is durable again, ``on_mended`` is told.
"""

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.core.frames import EncodedFrame, Gap, GapCause, TrackName
from server.recorder.format import mp4
from server.recorder.format.manifest import (
    MANIFEST_NAME,
    NO_SEGMENT,
    EventEntry,
    GapEntry,
    Manifest,
    Notes,
    State,
    encode_manifest,
    gap_entry,
    manifest_hash,
    policy_hash,
    to_unix_us,
    with_gap,
)
from server.recorder.format.merkle import Tree
from server.recorder.format.sealing import Kind, Sealer, SegmentHeader
from server.recorder.format.segments import segment_name
from server.recorder.format.tracks import Fragment, Tracks
from server.recorder.stores.files import Folder
from server.recorder.writing.fragmenter import Cut, Fragmenter
from server.recorder.writing.onward import Onward
from server.recorder.writing.open_segment import OpenSegment
from server.recorder.writing.pauses import Pauses

#: A segment ends at the first keyframe after this, or with sound alone;
SEGMENT_US = 10_000_000
#: and so much later at the latest: a camera may send no keyframe for many minutes.
LATE_KEYFRAME_US = 20_000_000
#: So many last that long, later ones longer in proportion to how many there are, up to a minute:
#: with each the manifest is written anew, and lists them all.
SHORT_SEGMENTS = 30
LONGEST_SEGMENT_US = 60_000_000
#: Of media that wait in memory for a disk that refuses them: two minutes of 1 Mbit/s.
HELD_BYTES = 16 << 20


@dataclass(slots=True)
class Metrics:
    """Counters of all recordings of a process since it started."""

    fragments_written: int = 0
    bytes_written: int = 0
    fsyncs: int = 0
    write_failures: int = 0
    frames_dropped: int = 0  #: the queue was full
    write_lag_s: float = 0.0  #: from a frame's arrival to its being durable, the worst of late


@dataclass(frozen=True, slots=True)
class Durable:
    """What of a recording no power cut takes away any more."""

    tree: Tree  #: of all its records
    end_us: int
    revision: int  #: of its manifest
    manifest: str  #: its hash
    state: State  #: as it says


def saved(manifest: Manifest) -> Durable:
    """What a manifest that is on the disk says of itself."""
    digest = manifest_hash(manifest)
    return Durable(manifest.tree, _end_us(manifest), manifest.revision, digest, manifest.state)


class RecordingWriter:
    """``manifest`` is the one last written, or a new one; its segments are never touched again.

    What is recorded from now on is so under the last of its policies.
    """

    def __init__(
        self,
        folder: Folder,
        key: bytes,
        signer: Ed25519PrivateKey,
        manifest: Manifest,
        metrics: Metrics,
        on_fault: Callable[[str], None],
        on_mended: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._key = key
        self._signer = signer
        self._metrics = metrics
        self._on_fault = on_fault
        self._on_mended = on_mended
        self._fragmenter = Fragmenter(manifest.epoch_us)
        self._segment: OpenSegment | None = None
        self._written: list[Cut] = []  # into the segment since its last sync
        self._held: deque[Cut] = deque()  # not in the segment (yet), in order
        self._uncut: list[OpenSegment] = []  # given up, and not cut back yet
        self._notes = Notes()
        self._failing = False
        self._manifest_due = True
        self._sync_due = False
        self._saved: Durable | None = None
        self._known = Tracks(None, False)  # what has come since the writer was made
        self._init, self._init_tracks = _last_init(manifest), Tracks(None, False)
        self._index = _next_index(manifest)
        self._seq = sum(segment.fragments for segment in manifest.segments)
        self._pauses = Pauses(manifest)
        self._onward = Onward(manifest)
        self.manifest = msgspec.structs.replace(manifest, state=State.RECORDING)

    @property
    def pending_since_us(self) -> int | None:
        """Unix time of the oldest sample that is in no fragment yet."""
        return self._fragmenter.pending_since_us

    @property
    def sync_due(self) -> bool:
        """Whether `sync` would lose too much by waiting for the next fragment."""
        return self._sync_due or self._manifest_due

    @property
    def durable(self) -> Durable | None:
        """What is on the disk; None before the writer's first manifest is."""
        segment = self._segment
        if self._saved is None or segment is None or segment.durable is None:
            return self._saved
        end_us = max(self._saved.end_us, segment.durable.end_us)
        return replace(self._saved, tree=segment.durable_tree, end_us=end_us)

    # ---- input --------------------------------------------------------------------------

    def write(self, frame: EncodedFrame) -> None:
        if later_s := self._onward.later_s(frame.capture_s):
            captured_s, arrived_s = frame.capture_s + later_s, frame.arrived_s + later_s
            frame = msgspec.structs.replace(frame, capture_s=captured_s, arrived_s=arrived_s)
        self._write_cuts(self._fragmenter.add(frame))

    def flush(self) -> None:
        """Write what is pending: the input pauses."""
        self._write_cuts(self._fragmenter.flush())

    def note_gap(self, gap: Gap) -> None:
        later_s = self._onward.later_s(gap.start_s)
        self._note(
            gap_entry(replace(gap, start_s=gap.start_s + later_s, end_s=gap.end_s + later_s))
        )

    def note_event(self, event: str, at_us: int) -> None:
        self._note(EventEntry(event, at_us + to_unix_us(self._onward.later_s(at_us / 1e6))))

    def sync(self) -> None:
        """Make everything written so far durable."""
        self._sync_due = False
        if self._manifest_due:
            self._write_manifest()
        segment = self._segment
        if segment is not None and segment.dirty:
            try:
                self._sync_segment(segment, complete=False)
            except OSError as error:
                self._refuse(error)
                self._write_manifest()

    def finish(self) -> None:
        """Write and close everything; the manifest then says so. Nothing may follow."""
        self._write_cuts(self._fragmenter.finish())
        for gap in self._pauses.at_end(self.manifest):
            self._note(gap)
        self._close_segment()
        if self._held:  # the disk has refused: once more
            self._write_held()
            self._close_segment()
        while self._held:
            self._lose_oldest()
        self._cut_back()
        self.manifest = msgspec.structs.replace(self.manifest, state=State.FINISHED)
        self._write_manifest()

    # ---- fragments ----------------------------------------------------------------------

    def _write_cuts(self, cuts: list[Cut]) -> None:
        for gap in self._fragmenter.take_gaps():
            self._note(gap_entry(gap))
        if cuts and self.manifest.epoch_us is None:
            epoch_us = self._fragmenter.epoch_us
            self.manifest = msgspec.structs.replace(self.manifest, epoch_us=epoch_us)
            self._manifest_due = True
        self._sync_due |= not all(cut.early for cut in cuts)
        self._held.extend(cuts)
        if cuts:
            self._write_held()

    def _write_held(self) -> None:
        while self._held:
            try:
                self._write_cut(self._held[0])
            except OSError as error:
                self._refuse(error)
                return
            self._written.append(self._held.popleft())

    def _write_cut(self, cut: Cut) -> None:
        fragment = cut.fragment
        self._known = Tracks(
            cut.video,
            self._known.audio or bool(fragment.audio),
            cut.screen,
            cut.interviewer,
            self._known.interviewer_audio or bool(fragment.interviewer_audio),
        )
        for gap in self._pauses.before(fragment, self.manifest):
            self._note(gap)
        self._pauses.recorded(fragment)
        if self._segment is not None and self._must_change(self._segment, cut):
            self._end_segment(self._segment)
        segment = self._segment or self._open_segment(fragment)
        self._write_notes(segment)
        segment.append_cut(cut, self._seq + 1, self._init)
        self._seq += 1
        self._metrics.fragments_written += 1

    def _must_change(self, segment: OpenSegment, cut: Cut) -> bool:
        known, announced = self._known.videos(), segment.tracks.videos()
        for name, samples in cut.fragment.by_track():
            unknown = name not in segment.tracks.names()
            if samples and (unknown or known.get(name) != announced.get(name)):
                return True
        over_us = cut.fragment.start_us - segment.start_us - self._segment_us()
        at_keyframe = cut.keyframe or not cut.fragment.video
        return over_us >= LATE_KEYFRAME_US or (over_us >= 0 and at_keyframe)

    def _segment_us(self) -> int:
        """How long a segment is to be now."""
        count = max(SHORT_SEGMENTS, len(self.manifest.segments))
        return min(SEGMENT_US * count // SHORT_SEGMENTS, LONGEST_SEGMENT_US)

    # ---- segments -----------------------------------------------------------------------

    def _open_segment(self, fragment: Fragment) -> OpenSegment:
        """Create the next segment file with its header and init. OSError if it can't."""
        if self._manifest_due:
            self._save_manifest()  # media without the manifest's epoch would have no place
        entries = self.manifest.segments
        index, self._index = self._index, self._index + 1
        previous = bytes.fromhex(entries[-1].head) if entries else NO_SEGMENT
        there, known = self._pauses.tracks_at(fragment.start_us), self._known
        tracks = Tracks(
            known.video,
            known.audio,
            known.screen if TrackName.SCREEN in there else None,
            known.interviewer_video if TrackName.INTERVIEWER_CAMERA in there else None,
            known.interviewer_audio and TrackName.INTERVIEWER_MICROPHONE in there,
        )
        if tracks != self._init_tracks:
            self._init, self._init_tracks = self._init + 1, tracks
        header = SegmentHeader(
            index,
            bytes.fromhex(self.manifest.recording),
            secrets.token_bytes(32),
            secrets.token_bytes(7),
            policy_hash(self.manifest.policies[-1]),
            previous,
        )
        name, start_us = segment_name(index), fragment.start_us
        file = self._folder.create(name)
        sealer = Sealer(self._key, self._signer, header)
        tree = self.manifest.tree
        segment = OpenSegment(name, file, sealer, tracks, start_us, start_us, tree, tree)
        self._segment = segment
        segment.append(header.encode())
        init = mp4.init_segment(tracks)
        segment.append_record(sealer.seal(Kind.INIT, init, start_us, init=self._init))
        return segment

    def _close_segment(self) -> None:
        if self._segment is not None:
            try:
                self._end_segment(self._segment)
            except OSError as error:
                self._refuse(error)

    def _end_segment(self, segment: OpenSegment) -> None:
        """Close it in order. OSError if that is not durable."""
        self._write_notes(segment)
        segment.append_end()
        self._sync_segment(segment, complete=True)
        self._leave_segment(segment)

    def _sync_segment(self, segment: OpenSegment, *, complete: bool) -> None:
        segment.file.sync()
        self._metrics.fsyncs += 1
        self._metrics.bytes_written += segment.size - segment.durable_bytes
        segment.synced(complete=complete)
        self._written.clear()
        if self._failing and not self._manifest_due:
            self._failing = False
            self._cut_back()
            self._on_mended()

    def _leave_segment(self, segment: OpenSegment) -> None:
        segment.file.close()
        self._segment = None
        if segment.durable is not None:
            self.manifest = self.manifest.with_segment(segment.durable, segment.durable_tree)
        self._manifest_due = True

    def _refuse(self, error: OSError) -> None:
        """Give the segment up at its last durable byte; what came after waits for the next."""
        self._metrics.write_failures += 1
        segment = self._segment
        if segment is not None:
            durable = segment.durable
            self._seq -= segment.fragments - (durable.fragments if durable else 0)
            if self._written:
                self._pauses.back_to(durable.end_us if durable else segment.start_us)
            self._held.extendleft(reversed(self._written))
            self._written.clear()
            self._uncut.append(segment)
            self._cut_back()
            self._leave_segment(segment)
        held = sum(_size(cut) for cut in self._held)
        while held > HELD_BYTES:
            held -= _size(self._lose_oldest())
        if not self._failing:
            self._on_fault(f"writing the recording failed: {error.strerror or error}")
        self._failing = True

    def _lose_oldest(self) -> Cut:
        """Of what is held."""
        lost = self._held.popleft()
        self._declare_failed(lost.fragment.start_us, lost.fragment.end_us)
        self._pauses.recorded(lost.fragment)
        return lost

    def _cut_back(self) -> None:
        while self._uncut:
            segment = self._uncut[-1]
            try:
                if segment.durable is None:
                    self._folder.remove(segment.name)
                else:
                    segment.file.truncate(segment.durable.size)
            except OSError:
                # Once the disk takes it, or at the next start: the manifest says where it counts.
                self._metrics.write_failures += 1
                return
            self._uncut.pop()

    def _declare_failed(self, start_us: int, end_us: int) -> None:
        epoch_us = self.manifest.epoch_us or 0
        for track in self._pauses.tracks_at(start_us):
            gap = GapEntry(track, epoch_us + start_us, epoch_us + end_us, GapCause.WRITE_FAILED, 0)
            self._note(gap)

    # ---- ledger -------------------------------------------------------------------------

    def _note(self, entry: GapEntry | EventEntry) -> None:
        if isinstance(entry, GapEntry):
            gaps = with_gap(self.manifest.gaps, entry)
            self.manifest = msgspec.structs.replace(self.manifest, gaps=gaps)
            self._notes = msgspec.structs.replace(
                self._notes, gaps=with_gap(self._notes.gaps, entry)
            )
        else:
            events = (*self.manifest.events, entry)
            self.manifest = msgspec.structs.replace(self.manifest, events=events)
            self._notes = msgspec.structs.replace(self._notes, events=(*self._notes.events, entry))
        if self._segment is None:
            self._manifest_due = True

    def _write_notes(self, segment: OpenSegment) -> None:
        if self._notes != Notes():
            segment.append_notes(self._notes)
            self._notes = Notes()

    def _write_manifest(self) -> None:
        try:
            self._save_manifest()
        except OSError as error:
            self._metrics.write_failures += 1
            if not self._failing:
                self._on_fault(f"writing the manifest failed: {error.strerror or error}")
            self._failing = True

    def _save_manifest(self) -> None:
        revision = self.manifest.revision + 1
        manifest = msgspec.structs.replace(self.manifest, revision=revision)
        self._folder.replace(MANIFEST_NAME, encode_manifest(manifest, self._signer))
        self._metrics.fsyncs += 1
        self.manifest, self._manifest_due = manifest, False
        self._saved = saved(manifest)
        if self._segment is None:
            self._notes = Notes()


def _size(cut: Cut) -> int:
    return sum(len(sample.data) for _, samples in cut.fragment.by_track() for sample in samples)


def _end_us(manifest: Manifest) -> int:
    return max((segment.end_us for segment in manifest.segments), default=0)


def _next_index(manifest: Manifest) -> int:
    return int(manifest.segments[-1].name.split(".")[0]) + 1 if manifest.segments else 0


def _last_init(manifest: Manifest) -> int:
    """Inits are numbered over the whole recording; each segment can have begun one at most."""
    return len(manifest.segments)
