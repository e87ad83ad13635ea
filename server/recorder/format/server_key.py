"""A server's public key: the one that is known, and those in use before and after it. Pure.

Contract: whatever checks a signature asks :meth:`ServerKey.verify`, which takes any of them; what
must be of the one in use now asks :attr:`ServerKey.newest`. That the others are the same server's
was proved by their successions, see `server.recorder.keys.succession`.
"""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@dataclass(frozen=True, slots=True)
class ServerKey:
    """``keys`` are in the order in which they were in use, the newest last."""

    keys: tuple[Ed25519PublicKey, ...]
    known: Ed25519PublicKey  #: the one that somebody knows, and trusts
    changed_us: tuple[int, ...] = ()  #: when each gave way to the next, Unix microseconds
    successions: tuple[str, ...] = ()  #: their hashes, as the log has them

    @property
    def newest(self) -> "ServerKey":
        """The one in use, alone."""
        return alone(self.keys[-1])

    def verify(self, signature: bytes, data: bytes) -> Ed25519PublicKey:
        """The key that has signed ``data``. InvalidSignature if none has."""
        for key in reversed(self.keys):
            try:
                key.verify(signature, data)
            except InvalidSignature:
                continue
            return key
        raise InvalidSignature

    def hex(self) -> tuple[str, ...]:
        """For another process, which takes them by `from_hex`."""
        return tuple(raw(key).hex() for key in self.keys)


def from_hex(keys: tuple[str, ...]) -> ServerKey:
    """The last of them is the one that is known. ValueError."""
    found = tuple(Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for key in keys)
    return ServerKey(found, found[-1])


def alone(key: Ed25519PublicKey) -> ServerKey:
    """A key of which no other is known."""
    return ServerKey((key,), key)


def raw(key: Ed25519PublicKey) -> bytes:
    """Its 32 bytes."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 in hex of its SubjectPublicKeyInfo in DER, as `openssl` gives it too."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()
