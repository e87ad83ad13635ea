"""The signed list of what a recording consists of: segments, gaps, events.

The file is one JSON object, ``{"manifest": ..., "signature": ...}``. It is canonical: decoding
and encoding it again gives the same bytes, so no byte of it can change unnoticed. Times are
Unix microseconds, except in segments, where they count from ``epoch_us``.
"""

import enum
import hashlib
import re
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.core.frames import Gap, GapCause, TrackName
from server.recorder.format.merkle import EMPTY_ROOT, Tree
from server.recorder.format.sealing import FORMAT_VERSION, FaultKind, SegmentError
from server.recorder.format.segments import SEGMENT_NAME
from server.recorder.format.server_key import ServerKey

MANIFEST_NAME = "manifest.json"
TIMESTAMP_NAME = "manifest.tsr"  #: of an authority (RFC 3161), where one was asked
MANIFEST_CONTEXT = b"vivavoce/manifest/v1"
POLICY_CONTEXT = b"vivavoce/policy/v1"
NO_SEGMENT = bytes(32)  #: what the first segment is chained to
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


class State(enum.StrEnum):
    """Of a recording, as its manifest says."""

    RECORDING = "recording"  #: being written; or cut by a crash, until the next start
    FINISHED = "finished"  #: closed in order
    INTERRUPTED = "interrupted"  #: cut by a crash, repaired since, and not continued


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is recorded, and what its candidate was told of it."""

    notice: str  #: version and language of the notice agreed to; empty: the publisher's own
    tracks: tuple[TrackName, ...]  #: that may be recorded
    analysis: bool  #: whether indicators are measured of the candidate meanwhile


class SegmentEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A segment that will not grow any more."""

    name: Annotated[str, msgspec.Meta(pattern=rf"^{SEGMENT_NAME}\Z")]  #: leads nowhere else
    size: int
    sha256: str  #: of the whole file
    head: str  #: hash of its last record, which the next segment's header repeats
    records: int
    fragments: int
    start_us: int  #: since the epoch of the recording; of its first fragment
    end_us: int
    tracks: tuple[TrackName, ...]  #: that it announces
    complete: bool  #: ends with a record of kind END; false after a crash or a failed write


class GapEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    track: TrackName
    start_us: int
    end_us: int
    cause: GapCause
    lost: int


class EventEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    event: str
    at_us: int


class Notes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plaintext of a NOTE record: what happened since the one before it."""

    gaps: tuple[GapEntry, ...] = ()
    events: tuple[EventEntry, ...] = ()


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["vivavoce-recording"]
    version: int
    #: 16 random bytes in hex, also in each segment's header.
    recording: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    interview: str
    title: str  #: sealed: titles carry people's names
    revision: int  #: grows by one with each rewriting
    state: State
    #: Unix time of the first sample; null while there is none.
    epoch_us: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] | None
    policies: tuple[Policy, ...] = ()  #: in the order in which they came to hold
    segments: tuple[SegmentEntry, ...] = ()
    gaps: tuple[GapEntry, ...] = ()
    events: tuple[EventEntry, ...] = ()
    tree_size: int = 0  #: records in all listed segments, the leaves of the recording's tree
    root: str = EMPTY_ROOT.hex()
    peaks: tuple[str, ...] = ()  #: from which the tree grows on

    @property
    def tree(self) -> Tree:
        """The tree of all records in the listed segments."""
        return Tree(self.tree_size, tuple(bytes.fromhex(peak) for peak in self.peaks))

    def with_segment(self, entry: SegmentEntry, tree: Tree) -> "Manifest":
        """The same with one more segment, whose records have made the tree into this one."""
        return msgspec.structs.replace(
            self,
            segments=(*self.segments, entry),
            tree_size=tree.size,
            root=tree.root.hex(),
            peaks=tuple(peak.hex() for peak in tree.peaks),
        )


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    manifest: Manifest
    signature: str


class _Version(msgspec.Struct, frozen=True):
    version: int


class _AnyVersion(msgspec.Struct, frozen=True):
    manifest: _Version


_any_version = msgspec.json.Decoder(_AnyVersion)
_signed = msgspec.json.Decoder(_Signed)


def policy_hash(policy: Policy) -> bytes:
    """What a segment's header says of its policy."""
    return hashlib.sha256(POLICY_CONTEXT + msgspec.json.encode(policy)).digest()


def manifest_hash(manifest: Manifest) -> str:
    """SHA-256 in hex of what is signed in the file: statements about a recording name it so."""
    return hashlib.sha256(msgspec.json.encode(manifest)).hexdigest()


def encode_manifest(manifest: Manifest, signer: Ed25519PrivateKey) -> bytes:
    """The signed file."""
    signature = signer.sign(MANIFEST_CONTEXT + msgspec.json.encode(manifest))
    return msgspec.json.encode(_Signed(manifest, signature.hex()))


def decode_manifest(data: bytes, public_key: ServerKey) -> Manifest:
    """The manifest, its signature checked. SegmentError says what is wrong with it."""
    return _decode(data, public_key)[0]


def _decode(data: bytes, public_key: ServerKey) -> tuple[Manifest, Ed25519PublicKey]:
    signed = _parse(data)
    try:
        by = public_key.verify(
            bytes.fromhex(signed.signature),
            MANIFEST_CONTEXT + msgspec.json.encode(signed.manifest),
        )
    except InvalidSignature as error:
        raise SegmentError(FaultKind.TAMPERED, "the manifest's signature does not fit") from error
    return signed.manifest, by


def signed_by(data: bytes, public_key: ServerKey) -> Ed25519PublicKey:
    """Which of the server's keys has signed a manifest. SegmentError as `decode_manifest`."""
    return _decode(data, public_key)[1]


def read_unproved(data: bytes) -> Manifest:
    """What a manifest says, whoever wrote it: to look at, never to rely on. SegmentError."""
    return _parse(data).manifest


def _parse(data: bytes) -> _Signed:
    try:
        version = _any_version.decode(data).manifest.version
        if version != FORMAT_VERSION:
            raise SegmentError(FaultKind.UNKNOWN_VERSION, f"format version {version}")
        signed = _signed.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SegmentError(FaultKind.TAMPERED, "the manifest does not parse") from error
    if msgspec.json.encode(signed) != data or not _SIGNATURE.fullmatch(signed.signature):
        raise SegmentError(FaultKind.TAMPERED, "the manifest is not canonical")
    return signed


def gap_entry(gap: Gap) -> GapEntry:
    return GapEntry(gap.track, to_unix_us(gap.start_s), to_unix_us(gap.end_s), gap.cause, gap.lost)


def with_gap(gaps: tuple[GapEntry, ...], new: GapEntry) -> tuple[GapEntry, ...]:
    """Add ``new``: as one with what is known lately of the same track and cause where they meet.

    A pause of all tracks may be declared before one of them tells how far its own gap goes.
    """
    first = max(0, len(gaps) - len(TrackName))
    apart: list[GapEntry] = []
    for known in reversed(gaps[first:]):
        if known.track is not new.track or known.cause is not new.cause or not _meet(known, new):
            apart.append(known)
        elif known.start_us <= new.start_us and new.end_us <= known.end_us:
            return gaps
        else:
            start_us, end_us = min(known.start_us, new.start_us), max(known.end_us, new.end_us)
            new = GapEntry(new.track, start_us, end_us, new.cause, known.lost + new.lost)
    return (*gaps[:first], *reversed(apart), new)


def _meet(one: GapEntry, other: GapEntry) -> bool:
    return one.start_us <= other.end_us and other.start_us <= one.end_us


def to_unix_us(seconds: float) -> int:
    return round(seconds * 1_000_000)
