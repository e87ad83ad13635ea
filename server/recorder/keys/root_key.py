"""The root key: what wraps the candidates' keys, and is itself in nobody's database.

The port has two methods that matter, wrap and unwrap, so that a key which never leaves a key
service serves as well as one in a file. A context is bound to what is wrapped: it must be the
same when it is unwrapped. Everything here may block: files, or the network.
"""

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.recorder.format.sealing import KEY_BYTES
from server.recorder.stores.files import overwrite, write_durably

NONCE_BYTES = 12
_FINGERPRINT_INFO = b"vivavoce/root-key/v1"


class KeyProblem(Exception):
    """A key is missing, malformed, destroyed, or not the one that wrapped."""


class KeyUnavailable(KeyProblem):
    """The key service does not answer now; the same call may succeed later."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A wrapped key; ``version`` says which version of the root key wrapped it."""

    version: str
    data: bytes


class RootKey(Protocol):
    """Any call raises KeyProblem, and KeyUnavailable where trying again may help."""

    @property
    def name(self) -> str:
        """As the setting names it; what is wrapped carries this name."""

    def wrap(self, key: bytes, context: str) -> Wrapped:
        """By the newest version. ``context`` is ASCII, not secret, and may reach audit logs."""

    def unwrap(self, wrapped: Wrapped, context: str) -> bytes: ...

    def version(self) -> str:
        """The version by which :meth:`wrap` would wrap now."""


class FileRootKey:
    """Keys in a file, 64 hex digits a line, the newest last; each call reads it anew."""

    def __init__(self, path: Path, name: str = "file") -> None:
        self.name = name
        self.path = path

    def make(self) -> None:
        """Write the file with its first key. OSError."""
        write_durably(self.path, _line(secrets.token_bytes(KEY_BYTES)))

    def wrap(self, key: bytes, context: str) -> Wrapped:
        newest = self._keys()[-1]
        return Wrapped(fingerprint(newest), seal_key(newest, key, context))

    def unwrap(self, wrapped: Wrapped, context: str) -> bytes:
        known = {fingerprint(key): key for key in self._keys()}
        if wrapped.version not in known:
            raise KeyProblem(
                f"{self.path} does not hold root key {wrapped.version}, which wrapped this: "
                "restore that file"
            )
        return open_key(known[wrapped.version], wrapped.data, context)

    def version(self) -> str:
        return fingerprint(self._keys()[-1])

    def renew(self) -> None:
        """Add a new version; the others still unwrap. OSError."""
        keys = [*self._keys(), secrets.token_bytes(KEY_BYTES)]
        write_durably(self.path, b"".join(map(_line, keys)))

    def retire(self) -> None:
        """Forget all versions but the newest, and overwrite them where they lay. OSError."""
        newest = self._keys()[-1]
        former = os.open(self.path, os.O_WRONLY)
        try:
            write_durably(self.path, _line(newest))
            overwrite(former)
        finally:
            os.close(former)

    def _keys(self) -> list[bytes]:
        try:
            lines = self.path.read_text().split()
        except FileNotFoundError as error:
            raise KeyProblem(f"the root key {self.path} is missing: restore it") from error
        except (OSError, UnicodeDecodeError) as error:
            raise KeyProblem(f"the root key {self.path} can't be read: {error}") from error
        if not lines:
            raise KeyProblem(f"the root key {self.path} is empty: restore it")
        return [parse_key(line, str(self.path)) for line in lines]


class EnvironmentRootKey:
    """A key from an environment variable, 64 hex digits."""

    def __init__(self, variable: str, text: str | None) -> None:
        self.name = f"env:{variable}"
        if text is None:
            raise KeyProblem(
                f"the root key is to come from the environment, but {variable} is not set"
            )
        self._key = parse_key(text, variable)

    def wrap(self, key: bytes, context: str) -> Wrapped:
        return Wrapped(self.version(), seal_key(self._key, key, context))

    def unwrap(self, wrapped: Wrapped, context: str) -> bytes:
        if wrapped.version != self.version():
            raise KeyProblem(
                f"{self.name} holds root key {self.version()}, but {wrapped.version} wrapped this: "
                "put that one back; a new one gets another variable, then `vivavoce keys rotate`"
            )
        return open_key(self._key, wrapped.data, context)

    def version(self) -> str:
        return fingerprint(self._key)


def parse_key(text: str, where: str) -> bytes:
    """A key as files and variables carry it. KeyProblem, which does not repeat ``text``."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyProblem(f"a root key is {2 * KEY_BYTES} hex digits; {where} holds something else")
    return key


def fingerprint(key: bytes) -> str:
    """Names a key without telling it: 64 bits of a hash."""
    return hashlib.sha256(_FINGERPRINT_INFO + key).hexdigest()[:16]


def seal_key(by: bytes, key: bytes, context: str) -> bytes:
    """Wrap a key by another: nonce, then AES-256-GCM's ciphertext and tag."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(by).encrypt(nonce, key, context.encode())


def open_key(by: bytes, data: bytes, context: str) -> bytes:
    """KeyProblem unless ``by`` wrapped it in this context."""
    try:
        return AESGCM(by).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError) as error:
        raise KeyProblem("a wrapped key was changed, or is not of this place") from error


def _line(key: bytes) -> bytes:
    return key.hex().encode() + b"\n"
