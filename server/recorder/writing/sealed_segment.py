"""A segment that is made as a whole, in memory, of fragments that are known: no I/O."""

import hashlib
import secrets
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.recorder.format import mp4
from server.recorder.format.manifest import NO_SEGMENT, Manifest, SegmentEntry
from server.recorder.format.merkle import Tree
from server.recorder.format.sealing import Kind, Sealer, SegmentHeader
from server.recorder.format.segments import segment_name
from server.recorder.format.tracks import Fragment, Tracks
from server.recorder.writing.fragmenter import Cut
from server.recorder.writing.open_segment import flags_of


class SealedSegment:
    """The next one of the recording with this manifest: ``data`` is its file, ``entry`` its line.

    ``init`` is the number of its init segment; ``policy`` the hash of its policy.
    """

    def __init__(
        self,
        key: bytes,
        signer: Ed25519PrivateKey,
        manifest: Manifest,
        policy: bytes,
        init: int,
        tracks: Tracks,
        fragments: Sequence[Fragment],
    ) -> None:
        entries = manifest.segments
        header = SegmentHeader(
            len(entries),
            bytes.fromhex(manifest.recording),
            secrets.token_bytes(32),
            secrets.token_bytes(7),
            policy,
            bytes.fromhex(entries[-1].head) if entries else NO_SEGMENT,
        )
        self._sealer = Sealer(key, signer, header)
        self._parts = [header.encode()]
        self.tree: Tree = manifest.tree
        start_us, end_us = fragments[0].start_us, max(each.end_us for each in fragments)
        self._append(self._sealer.seal(Kind.INIT, mp4.init_segment(tracks), start_us, init=init))
        seq = sum(entry.fragments for entry in entries)
        for fragment in fragments:
            seq += 1
            self._append(
                self._sealer.seal(
                    Kind.MEDIA,
                    mp4.media_segment(seq, fragment),
                    fragment.start_us,
                    fragment.end_us - fragment.start_us,
                    flags=flags_of(Cut(fragment, None, None, None, early=False)),
                    init=init,
                    seq=seq,
                )
            )
        self._append(self._sealer.seal(Kind.END, b"", end_us))
        self.data = b"".join(self._parts)
        self.entry = SegmentEntry(
            segment_name(len(entries)),
            len(self.data),
            hashlib.sha256(self.data).hexdigest(),
            self._sealer.head.hex(),
            len(self._parts) - 1,
            len(fragments),
            start_us,
            end_us,
            tracks.names(),
            True,
        )

    def _append(self, record: bytes) -> None:
        self._parts.append(record)
        self.tree = self.tree.with_leaf(self._sealer.head)
