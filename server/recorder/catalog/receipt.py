"""The receipt of a recording: what was sealed, for whoever was recorded to keep and prove.

One JSON object, ``{"receipt": ..., "signature": ...}``, canonical as the manifest is. It has the
log's entry of the recording's end with the proof that the log has it, so that it is checked with
the server's public key alone, without the server, the log or the recording.
"""

import re
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.core.frames import TrackName
from server.recorder.catalog.derived import read_statement, source_path
from server.recorder.catalog.recordings import is_compressed, read_manifest, recording_path
from server.recorder.evidence.checkpoint import read_checkpoint, verifier_key
from server.recorder.evidence.proof import Proof, check_proof, parse_proof
from server.recorder.evidence.tlog import CLOSING, FOLDER, Entry, prove
from server.recorder.format.manifest import MANIFEST_NAME, Manifest, Policy, State, manifest_hash
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import ServerKey, alone

VERSION = 1
RECEIPT_CONTEXT = b"vivavoce/receipt/v1"
#: A receipt is some kilobytes; more is none.
MAX_BYTES = 1 << 20
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_BEGINS = re.compile(rb'\s*\{\s*"receipt"\s*:')
_BEGINNING = 64
#: An entry is looked for from so long before the recording's end: clocks are set back now and then.
_SLACK_US = 3_600_000_000


class NotSealed(Exception):
    """The recording goes on, or the log has not been told of its end yet."""


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times are Unix microseconds."""

    format: Literal["vivavoce-receipt"]
    version: int
    key: str  #: of the log and of this receipt, as tools of C2SP take it
    started_us: int | None  #: the first sample; null where there was none
    ended_us: int | None  #: the last one's end
    tracks: tuple[TrackName, ...]  #: that were recorded
    policies: tuple[Policy, ...]  #: under which; what the candidate agreed to
    entry: Entry  #: the log's, of the recording's end: its canonical JSON is the leaf
    proof: str  #: C2SP tlog-proof


class SignedReceipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    receipt: Receipt
    signature: str


class _Version(msgspec.Struct, frozen=True):
    version: int


class _AnyVersion(msgspec.Struct, frozen=True):
    receipt: _Version


_any_version = msgspec.json.Decoder(_AnyVersion)
_signed = msgspec.json.Decoder(SignedReceipt)


def issue(data_dir: Path, interview_id: str, signer: Ed25519PrivateKey, key: ServerKey) -> bytes:
    """The receipt of a recording that is sealed; ``key`` is the signer's. Reads the disk.

    KeyError if there is no recording; NotSealed; SegmentError; OSError; ValueError if the id
    can't be a folder's name.
    """
    path = recording_path(data_dir, interview_id)
    if not (path / MANIFEST_NAME).exists():
        raise KeyError(interview_id)
    manifest = _sealed(data_dir, path, key)
    if manifest.state is State.RECORDING:
        raise NotSealed("the recording goes on")
    digest = manifest_hash(manifest)
    found = prove(
        data_dir / FOLDER,
        key,
        manifest.recording,
        lambda entry: entry.kind in CLOSING and entry.manifest == digest,
        _ended_us(manifest) - _SLACK_US,
    )
    if found is None:
        raise NotSealed("the log has not been told yet")
    return sign(manifest, *found, signer)


def sign(manifest: Manifest, entry: Entry, proof: Proof, signer: Ed25519PrivateKey) -> bytes:
    """The file; ``entry`` is of this manifest."""
    receipt = _receipt(manifest, entry, proof, signer.public_key())
    signature = signer.sign(RECEIPT_CONTEXT + msgspec.json.encode(receipt))
    return msgspec.json.encode(SignedReceipt(receipt, signature.hex()))


def check_receipt(data: bytes, public_key: ServerKey) -> Receipt:
    """The receipt, with all that it claims proved. SegmentError says what is wrong with it."""
    receipt, key = _decode(data, public_key)
    proof = parse_proof(receipt.proof)
    checkpoint = check_proof(proof, msgspec.json.encode(receipt.entry), alone(key))
    if receipt.entry.kind not in CLOSING:
        raise SegmentError(FaultKind.TAMPERED, "the log's entry is not of a recording's end")
    if receipt.key != verifier_key(checkpoint.origin, key):
        raise SegmentError(FaultKind.TAMPERED, "the receipt names another key than signed it")
    return receipt


def signed_by(data: bytes, public_key: ServerKey) -> Ed25519PublicKey:
    """Which of the server's keys has signed a receipt. SegmentError."""
    return _decode(data, public_key)[1]


def is_receipt(path: Path) -> bool:
    """Whether that file is one, perhaps a spoilt one. OSError."""
    with path.open("rb") as file:
        return _BEGINS.match(file.read(_BEGINNING)) is not None


def _sealed(data_dir: Path, path: Path, key: ServerKey) -> Manifest:
    """What was recorded: not what a compression made of it, unless the interview went on in that.

    SegmentError; OSError.
    """
    manifest = read_manifest(path, key)
    if not is_compressed(manifest) or manifest.tree_size > read_statement(path, key).tree_size:
        return manifest
    return read_manifest(source_path(data_dir, path.name), key)


def _receipt(manifest: Manifest, entry: Entry, proof: Proof, key: Ed25519PublicKey) -> Receipt:
    origin = read_checkpoint(proof.checkpoint, alone(key)).origin
    there = {track for segment in manifest.segments for track in segment.tracks}
    return Receipt(
        "vivavoce-receipt",
        VERSION,
        verifier_key(origin, key),
        manifest.epoch_us,
        _ended_us(manifest) if manifest.segments else None,
        tuple(track for track in TrackName if track in there),
        manifest.policies,
        entry,
        proof.text,
    )


def _ended_us(manifest: Manifest) -> int:
    end_us = max((segment.end_us for segment in manifest.segments), default=0)
    return (manifest.epoch_us or 0) + end_us


def _decode(data: bytes, key: ServerKey) -> tuple[Receipt, Ed25519PublicKey]:
    """And which key has signed it."""
    try:
        if len(data) > MAX_BYTES:
            raise SegmentError(FaultKind.TAMPERED, "the receipt is too long to be one")
        version = _any_version.decode(data).receipt.version
        if version != VERSION:
            raise SegmentError(FaultKind.UNKNOWN_VERSION, f"receipt of version {version}")
        signed = _signed.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SegmentError(FaultKind.TAMPERED, "the receipt does not parse") from error
    if msgspec.json.encode(signed) != data or not _SIGNATURE.fullmatch(signed.signature):
        raise SegmentError(FaultKind.TAMPERED, "the receipt is not canonical")
    try:
        by = key.verify(
            bytes.fromhex(signed.signature),
            RECEIPT_CONTEXT + msgspec.json.encode(signed.receipt),
        )
    except InvalidSignature as error:
        raise SegmentError(FaultKind.TAMPERED, "the receipt's signature does not fit") from error
    return signed.receipt, by
