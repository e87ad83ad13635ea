"""Says, signed, what a file was made of: an export belongs to its recording, and can be checked.

The statement lies beside the file, as NAME`SUFFIX`: one JSON object, ``{"derivation": ...,
"signature": ...}``, canonical as the manifest is. It names the file by its SHA-256 and the source
by that of its manifest, which in turn covers every byte of the recording.
"""

import hashlib
import re
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.recorder.format.manifest import Manifest, manifest_hash
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import ServerKey
from server.recorder.stores.files import write_durably

SUFFIX = ".vivavoce.json"
VERSION = 1
DERIVATION_CONTEXT = b"vivavoce/derivation/v1"
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The recording as it was when the file was made."""

    recording: str  #: its recording_id in hex
    interview: str
    revision: int  #: of its manifest
    manifest: str  #: SHA-256 in hex of the manifest's bytes that are signed


class Derivation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["vivavoce-derivation"]
    version: int
    kind: Literal["export"]
    source: Origin
    start_us: int  #: of the recording, since its epoch
    end_us: int
    transcoded: bool  #: its pictures were encoded anew although they need not have been
    made_us: int  #: Unix time
    size: int  #: of the file
    sha256: str  #: of the file


class Statement(Protocol):
    """What is signed: a struct with a version."""

    @property
    def version(self) -> int: ...


_Statement = TypeVar("_Statement", bound=Statement)


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    derivation: msgspec.Raw
    signature: str


class _Version(msgspec.Struct, frozen=True):
    version: int


class _AnyVersion(msgspec.Struct, frozen=True):
    derivation: _Version


_derivation = msgspec.json.Decoder(Derivation)
_any_version = msgspec.json.Decoder(_AnyVersion)
_signed = msgspec.json.Decoder(_Signed)


def origin(manifest: Manifest) -> Origin:
    return Origin(
        manifest.recording, manifest.interview, manifest.revision, manifest_hash(manifest)
    )


def statement_of(path: Path) -> Path:
    """Where the statement of the file ``path`` lies."""
    return path.with_name(path.name + SUFFIX)


def describe(
    path: Path,
    source: Origin,
    span_us: tuple[int, int],
    made_us: int,
    *,
    transcoded: bool,
) -> Derivation:
    """Of the file ``path``, made of ``span_us`` of the source. OSError."""
    return of_digest(*_digest(path), source, span_us, made_us, transcoded=transcoded)


def of_digest(
    size: int,
    sha256: str,
    source: Origin,
    span_us: tuple[int, int],
    made_us: int,
    *,
    transcoded: bool,
) -> Derivation:
    """As `describe`, of a file of ``size`` bytes with this SHA-256."""
    return Derivation(
        "vivavoce-derivation",
        VERSION,
        "export",
        source,
        *span_us,
        transcoded,
        made_us,
        size,
        sha256,
    )


def sign(path: Path, derivation: Derivation, signer: Ed25519PrivateKey) -> None:
    """Write the statement beside the file ``path``. OSError."""
    write_durably(statement_of(path), signed(derivation, signer))


def derivation_hash(derivation: Derivation) -> str:
    """SHA-256 in hex of what is signed in the statement: the log names it so."""
    return hashlib.sha256(msgspec.json.encode(derivation)).hexdigest()


def signed_by(path: Path, public_key: ServerKey) -> Ed25519PublicKey:
    """Which of the server's keys says what the file ``path`` was made of. SegmentError; OSError."""
    return _decode(read_whole(statement_of(path)), _derivation, VERSION, public_key)[1]


def check(path: Path, public_key: ServerKey) -> Derivation:
    """What the file ``path`` was made of. SegmentError if it is not as it was signed; OSError."""
    data = read_whole(statement_of(path))
    derivation = decode_statement(data, _derivation, VERSION, public_key)
    size, sha256 = _digest(path)
    if size < derivation.size:
        raise SegmentError(FaultKind.TRUNCATED, f"{derivation.size - size} bytes are cut off")
    if sha256 != derivation.sha256:
        raise SegmentError(FaultKind.TAMPERED, "the file is not the one that was signed")
    return derivation


def signed(statement: Any, signer: Ed25519PrivateKey) -> bytes:
    """The statement, as it is to lie beside what it is of."""
    encoded = msgspec.json.encode(statement)
    signature = signer.sign(DERIVATION_CONTEXT + encoded)
    return msgspec.json.encode(_Signed(msgspec.Raw(encoded), signature.hex()))


def decode_statement(
    data: bytes,
    decoder: msgspec.json.Decoder[_Statement],
    version: int,
    public_key: ServerKey,
) -> _Statement:
    """The struct of this version, its signature checked. SegmentError says what is wrong."""
    return _decode(data, decoder, version, public_key)[0]


def _decode(
    data: bytes,
    decoder: msgspec.json.Decoder[_Statement],
    version: int,
    public_key: ServerKey,
) -> tuple[_Statement, Ed25519PublicKey]:
    try:
        said = _any_version.decode(data).derivation.version
        if said != version:
            raise SegmentError(FaultKind.UNKNOWN_VERSION, f"statement of version {said}")
        found = _signed.decode(data)
        statement = decoder.decode(found.derivation)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SegmentError(FaultKind.TAMPERED, "the statement does not parse") from error
    encoded = msgspec.json.encode(statement)
    again = msgspec.json.encode(_Signed(msgspec.Raw(encoded), found.signature))
    if again != data or not _SIGNATURE.fullmatch(found.signature):
        raise SegmentError(FaultKind.TAMPERED, "the statement is not canonical")
    try:
        by = public_key.verify(bytes.fromhex(found.signature), DERIVATION_CONTEXT + encoded)
    except InvalidSignature as error:
        raise SegmentError(FaultKind.TAMPERED, "the statement's signature does not fit") from error
    return statement, by


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()
