"""Sealed records: the bytes of a segment file, as `docs/recording-format.md` tells them. No I/O.

Encryption is STREAM (Hoang, Reyhanitabar, Rogaway, Vizar: "Online Authenticated-Encryption and
its Nonce-Reuse Misuse-Resistance", CRYPTO 2015) with the key schedule and nonces of Tink's
AES-GCM-HKDF streaming AEAD. Every record is chained to the one before it by SHA-256 and signed
with Ed25519, so that whoever has the public key can check a file that is still growing.
"""

import enum
import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.recorder.format.server_key import ServerKey

FORMAT_VERSION = 1
MAGIC = b"VIVAVOCE"
KEY_BYTES = 32
TAG_BYTES = 16
SIGNATURE_BYTES = 64
SEGMENT_INFO = b"vivavoce/segment/v1"
SIGNATURE_CONTEXT = b"vivavoce/record/v1"
#: A second of any camera is far below; a larger length is damage, not media.
MAX_CIPHERTEXT_BYTES = 64 << 20

#: magic, version, reserved, segment index, recording id, salt, nonce prefix, reserved, policy,
#: previous
_SEGMENT_HEADER = struct.Struct(">8sHHI16s32s7sB32s32s")
#: ciphertext length, kind, flags, init, counter, seq, start in us, duration in us, previous hash
_RECORD_HEADER = struct.Struct(">IBBHIIQI32s")
SEGMENT_HEADER_BYTES = _SEGMENT_HEADER.size
RECORD_HEADER_BYTES = _RECORD_HEADER.size


class Kind(enum.IntEnum):
    """What a record's plaintext is."""

    INIT = 1  #: an fMP4 initialisation segment
    MEDIA = 2  #: an fMP4 media segment
    NOTE = 3  #: gaps and events as JSON
    END = 4  #: nothing; the segment was closed in order


class Flags(enum.IntFlag):
    """What the index of a replay needs to know of a media record without its key."""

    KEYFRAME = 1  #: its first picture is a keyframe
    VIDEO = 2
    AUDIO = 4
    SCREEN = 8  #: it has pictures of the screen
    SCREEN_KEYFRAME = 16  #: one of them, not always the first, is a keyframe
    INTERVIEWER_VIDEO = 32
    INTERVIEWER_AUDIO = 64
    INTERVIEWER_KEYFRAME = 128  #: one of its pictures, not always the first, is a keyframe


NO_FLAGS = Flags(0)
_ALL_FLAGS = sum(Flags)


class FaultKind(enum.StrEnum):
    """What is wrong with a recording; stable words, also the test vectors' `expect`."""

    TRUNCATED = "truncated"
    TAMPERED = "tampered"
    REORDERED = "reordered"
    WRONG_KEY = "wrong key"
    UNKNOWN_VERSION = "unknown version"
    FOREIGN = "foreign"
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    ROLLED_BACK = "rolled back"


class SegmentError(ValueError):
    """A segment is not what its writer wrote; ``kind`` says how it differs.

    ``file``: which one of those that are read together, where that can be told.
    """

    def __init__(self, kind: FaultKind, message: str, file: str = "") -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.file = file


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The start of a segment file; ``previous`` is the head of the segment before it.

    ``policy`` is the hash of what it was recorded under: through the chain, a part of every
    record's associated data.
    """

    index: int
    recording_id: bytes
    salt: bytes
    nonce_prefix: bytes
    policy: bytes
    previous: bytes

    def encode(self) -> bytes:
        return _SEGMENT_HEADER.pack(
            MAGIC,
            FORMAT_VERSION,
            0,
            self.index,
            self.recording_id,
            self.salt,
            self.nonce_prefix,
            0,
            self.policy,
            self.previous,
        )


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """What stands in clear before each record's ciphertext, and is its associated data."""

    length: int
    kind: Kind
    flags: Flags
    init: int
    counter: int
    seq: int
    start_us: int
    duration_us: int
    previous: bytes

    def encode(self) -> bytes:
        return _RECORD_HEADER.pack(
            self.length,
            self.kind,
            self.flags,
            self.init,
            self.counter,
            self.seq,
            self.start_us,
            self.duration_us,
            self.previous,
        )

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us


def parse_segment_header(data: bytes) -> SegmentHeader:
    """SegmentError where ``data`` does not begin a segment of this version."""
    if len(data) < SEGMENT_HEADER_BYTES:
        raise SegmentError(FaultKind.TRUNCATED, "segment header cut off")
    magic, version, reserved, index, recording_id, salt, prefix, reserved_2, *hashes = (
        _SEGMENT_HEADER.unpack_from(data)
    )
    if magic != MAGIC:
        raise SegmentError(FaultKind.TAMPERED, "not a Vivavoce segment")
    if version != FORMAT_VERSION:
        raise SegmentError(FaultKind.UNKNOWN_VERSION, f"format version {version}")
    if reserved or reserved_2:
        raise SegmentError(FaultKind.TAMPERED, "reserved bytes are not zero")
    return SegmentHeader(index, recording_id, salt, prefix, *hashes)


def parse_record_header(data: bytes) -> RecordHeader:
    """SegmentError where ``data`` does not begin a record."""
    if len(data) < RECORD_HEADER_BYTES:
        raise SegmentError(FaultKind.TRUNCATED, "record header cut off")
    length, kind, flags, *rest = _RECORD_HEADER.unpack_from(data)
    if not TAG_BYTES <= length <= MAX_CIPHERTEXT_BYTES:
        raise SegmentError(FaultKind.TAMPERED, f"record of {length} bytes")
    if kind not in Kind.__members__.values() or flags > _ALL_FLAGS:
        raise SegmentError(FaultKind.TAMPERED, f"record of kind {kind}, flags {flags}")
    return RecordHeader(length, Kind(kind), Flags(flags), *rest)


def segment_key(recording_key: bytes, header: SegmentHeader) -> bytes:
    """HKDF-SHA256 (RFC 5869) of the recording's key, bound to recording and segment."""
    info = SEGMENT_INFO + header.recording_id + struct.pack(">I", header.index)
    return HKDF(SHA256(), KEY_BYTES, header.salt, info).derive(recording_key)


def first_hash(header: SegmentHeader) -> bytes:
    """What the first record of a segment is chained to."""
    return hashlib.sha256(header.encode()).digest()


def record_hash(header: RecordHeader, ciphertext: bytes) -> bytes:
    return hashlib.sha256(header.encode() + ciphertext).digest()


def check_signature(public_key: ServerKey, digest: bytes, signature: bytes) -> None:
    """SegmentError unless the server signed the record with this hash."""
    try:
        public_key.verify(signature, SIGNATURE_CONTEXT + digest)
    except InvalidSignature as error:
        raise SegmentError(FaultKind.TAMPERED, "signature does not fit the record") from error


class Sealer:
    """Seals the records of one segment in order; ``head`` is the hash of the last one.

    Each segment has a salt of its own, hence a key of its own: a record counter is never used
    twice under one key. After a record of kind END nothing more may be sealed.
    """

    def __init__(
        self, recording_key: bytes, signer: Ed25519PrivateKey, header: SegmentHeader
    ) -> None:
        self._aead = AESGCM(segment_key(recording_key, header))
        self._signer = signer
        self._prefix = header.nonce_prefix
        self._counter = 0
        self.head = first_hash(header)

    def seal(
        self,
        kind: Kind,
        plaintext: bytes,
        start_us: int,
        duration_us: int = 0,
        *,
        flags: Flags = NO_FLAGS,
        init: int = 0,
        seq: int = 0,
    ) -> bytes:
        """The record's bytes: header, ciphertext with tag, signature."""
        header = RecordHeader(
            len(plaintext) + TAG_BYTES,
            kind,
            flags,
            init,
            self._counter,
            seq,
            start_us,
            duration_us,
            self.head,
        )
        associated = header.encode()
        nonce = _nonce(self._prefix, self._counter, kind)
        ciphertext = self._aead.encrypt(nonce, plaintext, associated)
        self._counter += 1
        self.head = hashlib.sha256(associated + ciphertext).digest()
        return associated + ciphertext + self._signer.sign(SIGNATURE_CONTEXT + self.head)


class Opener:
    """Opens records of one segment, in any order."""

    def __init__(self, recording_key: bytes, header: SegmentHeader) -> None:
        self._aead = AESGCM(segment_key(recording_key, header))
        self._prefix = header.nonce_prefix

    def open(self, header: RecordHeader, ciphertext: bytes) -> bytes:
        """The plaintext; SegmentError(WRONG_KEY) if key or bytes are not the writer's."""
        nonce = _nonce(self._prefix, header.counter, header.kind)
        try:
            return self._aead.decrypt(nonce, ciphertext, header.encode())
        except InvalidTag as error:
            raise SegmentError(FaultKind.WRONG_KEY, "record does not open with this key") from error


def _nonce(prefix: bytes, counter: int, kind: Kind) -> bytes:
    return prefix + struct.pack(">IB", counter, kind is Kind.END)
