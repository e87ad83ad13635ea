"""The list of a server's signing keys: how each gave way to the next, signed by both. No I/O.

One JSON object, canonical as the manifest is. Whoever trusts one of the keys can follow it to the
others: the former one says who comes after it, the new one whom it has followed. Nobody else can
put a key in, take one out of the middle, or change their order.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import ServerKey, raw

FILE = "signing-keys.json"
VERSION = 1
CONTEXT = b"vivavoce/succession/v1"
#: A change takes some 600 bytes: one a month for a century fits.
MAX_BYTES = 1 << 20
_KEY = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


class Succession(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That one key has taken another's place."""

    format: Literal["vivavoce-succession"]
    version: int
    number: int  #: from 1
    former: str  #: 32 bytes in hex, as the next
    key: str
    at_us: int  #: Unix time
    log_size: int  #: entries that the log had then
    log_root: str  #: of these


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``by_former`` vouches for what comes, ``by_key`` for what was."""

    succession: Succession
    by_former: str
    by_key: str


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    successions: tuple[Signed, ...]


class _Version(msgspec.Struct, frozen=True):
    version: int


class _AnyVersion(msgspec.Struct, frozen=True):
    succession: _Version


class _AnyVersions(msgspec.Struct, frozen=True):
    successions: tuple[_AnyVersion, ...]


_any_versions = msgspec.json.Decoder(_AnyVersions)
_list = msgspec.json.Decoder(_List)


def sign(made: Succession, former: Ed25519PrivateKey, key: Ed25519PrivateKey) -> Signed:
    """By both."""
    data = CONTEXT + msgspec.json.encode(made)
    return Signed(made, former.sign(data).hex(), key.sign(data).hex())


def encode(successions: Sequence[Signed]) -> bytes:
    """The file."""
    return msgspec.json.encode(_List(tuple(successions)))


def decode(data: bytes) -> tuple[Signed, ...]:
    """Each signed by both its keys, and in order. SegmentError says what is wrong."""
    try:
        if len(data) > MAX_BYTES:
            raise SegmentError(FaultKind.TAMPERED, "the list of signing keys is too long to be one")
        for each in _any_versions.decode(data).successions:
            if each.succession.version != VERSION:
                message = f"a change of keys of version {each.succession.version}"
                raise SegmentError(FaultKind.UNKNOWN_VERSION, message)
        found = _list.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SegmentError(FaultKind.TAMPERED, "the list of signing keys does not parse") from error
    if msgspec.json.encode(found) != data or not found.successions:
        raise SegmentError(FaultKind.TAMPERED, "the list of signing keys is not canonical")
    before = ""
    for number, signed in enumerate(found.successions, 1):
        _check(signed)
        if signed.succession.number != number or before not in ("", signed.succession.former):
            raise SegmentError(
                FaultKind.REORDERED, f"change {number} of the signing keys is not in its place"
            )
        before = signed.succession.key
    return found.successions


def follow(known: Ed25519PublicKey, data: bytes) -> ServerKey:
    """What the list says of a key that is trusted. SegmentError, also where it has not that key."""
    signed = decode(data)
    keys = [signed[0].succession.former, *(each.succession.key for each in signed)]
    if raw(known).hex() not in keys:
        message = "the list of signing keys does not have this one: it is older, or of another"
        raise SegmentError(FaultKind.ROLLED_BACK, f"{message} server")
    return ServerKey(
        tuple(Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for key in keys),
        known,
        tuple(each.succession.at_us for each in signed),
        tuple(succession_hash(each.succession) for each in signed),
    )


def extended(public_key: ServerKey, data: bytes) -> ServerKey:
    """With what another list says, if nothing was known of others. SegmentError.

    A list that does not have this key is another server's, and says nothing.
    """
    signed = decode(data)
    keys = {signed[0].succession.former, *(each.succession.key for each in signed)}
    if len(public_key.keys) > 1 or raw(public_key.known).hex() not in keys:
        return public_key
    return follow(public_key.known, data)


def succession_hash(made: Succession) -> str:
    """As the log has it."""
    return hashlib.sha256(msgspec.json.encode(made)).hexdigest()


def _check(signed: Signed) -> None:
    made = signed.succession
    if not (_KEY.fullmatch(made.former) and _KEY.fullmatch(made.key)):
        raise SegmentError(FaultKind.TAMPERED, "the list of signing keys is not canonical")
    for signature, key, who in (
        (signed.by_former, made.former, "the key before it"),
        (signed.by_key, made.key, "that key itself"),
    ):
        try:
            if not _SIGNATURE.fullmatch(signature):
                raise InvalidSignature
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
            public.verify(bytes.fromhex(signature), CONTEXT + msgspec.json.encode(made))
        except InvalidSignature as error:
            message = f"signing key {made.number + 1} of the list was not signed for by {who}"
            raise SegmentError(FaultKind.TAMPERED, message) from error
