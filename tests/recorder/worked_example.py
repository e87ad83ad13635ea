"""The recording that `docs/recording-format.md` works through, and the test vectors made of it.

`python -m tests.recorder.worked_example` prints the dump and writes the vectors.
"""

import hashlib
import json
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.core.frames import TrackName
from server.recorder.catalog import receipt as receipts
from server.recorder.evidence.checkpoint import Checkpoint, sign_checkpoint
from server.recorder.evidence.proof import Proof
from server.recorder.evidence.tlog import Entry, EntryKind
from server.recorder.format.manifest import (
    EventEntry,
    Manifest,
    Policy,
    SegmentEntry,
    State,
    decode_manifest,
    encode_manifest,
    manifest_hash,
    policy_hash,
)
from server.recorder.format.merkle import leaf_hash, tree_of
from server.recorder.format.sealing import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    SIGNATURE_BYTES,
    TAG_BYTES,
    FaultKind,
    Flags,
    Kind,
    Sealer,
    SegmentHeader,
)
from server.recorder.format.server_key import alone, raw

VECTORS = Path(__file__).parent / "vectors"
RECORDING_ID = bytes(range(16))
RECORDING_KEY = bytes(range(32))
SIGNER = Ed25519PrivateKey.from_private_bytes(b"\x2a" * 32)
PUBLIC_KEY = alone(SIGNER.public_key())
POLICY = Policy("1/en", (TrackName.CAMERA, TrackName.MICROPHONE), False)
HEADER = SegmentHeader(0, RECORDING_ID, b"\x55" * 32, b"\x66" * 7, policy_hash(POLICY), bytes(32))
PLAINTEXT = b"a fragment"
EPOCH_US = 1_760_000_000_000_000
DURATION_US = 750_000


def records(header: SegmentHeader = HEADER) -> tuple[Sealer, list[bytes]]:
    sealer = Sealer(RECORDING_KEY, SIGNER, header)
    media = sealer.seal(
        Kind.MEDIA, PLAINTEXT, 0, DURATION_US, flags=Flags.KEYFRAME | Flags.VIDEO, init=1, seq=1
    )
    return sealer, [media, sealer.seal(Kind.END, b"", DURATION_US)]


def record_hashes() -> list[bytes]:
    """Of the segment's records: the leaves of its tree."""
    return [hashlib.sha256(record[:-SIGNATURE_BYTES]).digest() for record in records()[1]]


def segment() -> bytes:
    return HEADER.encode() + b"".join(records()[1])


def manifest() -> bytes:
    data = segment()
    entry = SegmentEntry(
        "00000.seg",
        len(data),
        hashlib.sha256(data).hexdigest(),
        records()[0].head.hex(),
        2,
        1,
        0,
        DURATION_US,
        (TrackName.CAMERA,),
        True,
    )
    made = Manifest(
        "vivavoce-recording",
        1,
        RECORDING_ID.hex(),
        "example",
        "",
        2,
        State.FINISHED,
        EPOCH_US,
        (POLICY,),
        events=(EventEntry("joined", EPOCH_US),),
    )
    return encode_manifest(made.with_segment(entry, tree_of(record_hashes())), SIGNER)


def receipt() -> bytes:
    """From a log with one entry before that of the recording's end."""
    made = decode_manifest(manifest(), alone(SIGNER.public_key()))
    common = (RECORDING_ID.hex(), "example", made.tree_size, made.root, DURATION_US)
    begun = Entry(EntryKind.BEGUN, *common[:2], 0, tree_of([]).root.hex(), 0, 1, "", EPOCH_US)
    closed = Entry(
        EntryKind.CLOSED, *common, made.revision, manifest_hash(made), EPOCH_US + 1_000_000
    )
    leaves = [msgspec.json.encode(each) for each in (begun, closed)]
    checkpoint = sign_checkpoint(Checkpoint("vivavoce/example", 2, tree_of(leaves).root), SIGNER)
    return receipts.sign(made, closed, Proof(1, (leaf_hash(leaves[0]),), checkpoint), SIGNER)


def hex_dump(data: bytes) -> str:
    lines = []
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        text = "".join(chr(byte) if 32 < byte < 127 else "." for byte in row)
        lines.append(f"{offset:08x}  {row.hex(' '):47}  {text}")
    return "\n".join(lines)


def _flipped(at: int) -> bytes:
    data = bytearray(segment())
    data[at] ^= 1
    return bytes(data)


def vectors() -> dict[str, dict[str, str]]:
    """Name of each vector, and its content."""
    whole, (media, end) = segment(), records()[1]
    ciphertext_at = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES
    signature_at = ciphertext_at + len(PLAINTEXT) + TAG_BYTES
    other_key = bytes(32)
    cases = {
        "whole": ("success", whole, RECORDING_KEY),
        "open": ("success", whole[: -len(end)], RECORDING_KEY),
        "cut-in-segment-header": (FaultKind.TRUNCATED, whole[:50], RECORDING_KEY),
        "cut-in-record-header": (FaultKind.TRUNCATED, whole[: ciphertext_at - 1], RECORDING_KEY),
        "cut-in-ciphertext": (FaultKind.TRUNCATED, whole[: ciphertext_at + 5], RECORDING_KEY),
        "cut-in-signature": (FaultKind.TRUNCATED, whole[:-SIGNATURE_BYTES], RECORDING_KEY),
        "magic-changed": (FaultKind.TAMPERED, _flipped(0), RECORDING_KEY),
        "salt-changed": (FaultKind.REORDERED, _flipped(40), RECORDING_KEY),
        "time-changed": (FaultKind.TAMPERED, _flipped(ciphertext_at - 37), RECORDING_KEY),
        "ciphertext-changed": (FaultKind.TAMPERED, _flipped(ciphertext_at), RECORDING_KEY),
        "tag-changed": (FaultKind.TAMPERED, _flipped(signature_at - 1), RECORDING_KEY),
        "signature-changed": (FaultKind.TAMPERED, _flipped(signature_at), RECORDING_KEY),
        "another-key": (FaultKind.WRONG_KEY, whole, other_key),
        "records-swapped": (FaultKind.REORDERED, HEADER.encode() + end + media, RECORDING_KEY),
        "record-twice": (FaultKind.REORDERED, HEADER.encode() + media + media, RECORDING_KEY),
        "after-the-end": (FaultKind.REORDERED, whole + end, RECORDING_KEY),
        "version-2": (FaultKind.UNKNOWN_VERSION, whole[:9] + b"\2" + whole[10:], RECORDING_KEY),
    }
    return {
        name: {
            "expect": str(expect),
            "public_key": raw(PUBLIC_KEY.known).hex(),
            "recording_key": key.hex(),
            "segment": data.hex(),
        }
        for name, (expect, data, key) in cases.items()
    }


if __name__ == "__main__":
    VECTORS.mkdir(exist_ok=True)
    for name, content in vectors().items():
        (VECTORS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(hex_dump(segment()))
    print(manifest().decode())
    print(receipt().decode())
