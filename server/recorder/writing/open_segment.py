"""The segment that is being written: its records, and how much of it is on the disk."""

import hashlib
from dataclasses import dataclass, field

import msgspec

from server.recorder.format import mp4
from server.recorder.format.manifest import Notes, SegmentEntry
from server.recorder.format.merkle import Tree
from server.recorder.format.sealing import NO_FLAGS, Flags, Kind, Sealer
from server.recorder.format.tracks import Tracks
from server.recorder.stores.files import SegmentFile
from server.recorder.writing.fragmenter import Cut


@dataclass(slots=True)
class OpenSegment:
    """The segment being written. ``durable`` is its entry as of the last sync.

    ``tree`` is that of the recording to its last record, ``durable_tree`` as of the last sync.
    """

    name: str
    file: SegmentFile
    sealer: Sealer
    tracks: Tracks
    start_us: int
    end_us: int
    durable_tree: Tree
    tree: Tree
    size: int = 0
    records: int = 0
    fragments: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    durable: SegmentEntry | None = None
    dirty: bool = False

    def append(self, data: bytes) -> None:
        self.file.write(data)
        self.digest.update(data)
        self.size += len(data)
        self.dirty = True

    def append_record(self, record: bytes) -> None:
        """One that the sealer has just made."""
        self.append(record)
        self.records += 1
        self.tree = self.tree.with_leaf(self.sealer.head)

    def append_cut(self, cut: Cut, seq: int, init: int) -> None:
        """A fragment of that number, under the init of that number."""
        start_us, end_us = cut.fragment.start_us, cut.fragment.end_us
        self.append_record(
            self.sealer.seal(
                Kind.MEDIA,
                mp4.media_segment(seq, cut.fragment),
                start_us,
                end_us - start_us,
                flags=flags_of(cut),
                init=init,
                seq=seq,
            )
        )
        self.fragments += 1
        self.end_us = max(self.end_us, end_us)

    def append_notes(self, notes: Notes) -> None:
        plaintext = msgspec.json.encode(notes)
        self.append_record(self.sealer.seal(Kind.NOTE, plaintext, self.end_us))

    def append_end(self) -> None:
        """Nothing may follow."""
        self.append_record(self.sealer.seal(Kind.END, b"", self.end_us))

    def synced(self, *, complete: bool) -> None:
        """Everything appended is on the disk."""
        self.durable, self.durable_tree = self.entry(complete=complete), self.tree
        self.dirty = False

    @property
    def durable_bytes(self) -> int:
        return self.durable.size if self.durable is not None else 0

    def entry(self, *, complete: bool) -> SegmentEntry:
        return SegmentEntry(
            self.name,
            self.size,
            self.digest.copy().hexdigest(),
            self.sealer.head.hex(),
            self.records,
            self.fragments,
            self.start_us,
            self.end_us,
            self.tracks.names(),
            complete,
        )


def flags_of(cut: Cut) -> Flags:
    flags = Flags.KEYFRAME if cut.keyframe else NO_FLAGS
    flags |= Flags.VIDEO if cut.fragment.video else NO_FLAGS
    flags |= Flags.AUDIO if cut.fragment.audio else NO_FLAGS
    flags |= Flags.SCREEN if cut.fragment.screen else NO_FLAGS
    flags |= Flags.SCREEN_KEYFRAME if cut.screen_keyframe else NO_FLAGS
    flags |= Flags.INTERVIEWER_VIDEO if cut.fragment.interviewer_video else NO_FLAGS
    flags |= Flags.INTERVIEWER_AUDIO if cut.fragment.interviewer_audio else NO_FLAGS
    return flags | (Flags.INTERVIEWER_KEYFRAME if cut.interviewer_keyframe else NO_FLAGS)
