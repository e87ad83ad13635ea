"""The recorder's keys: a master key that wraps each recording's key, and a signing key.

Layout of ``data/keys``: ``master.key`` (64 hex digits), ``signing.key`` (PKCS #8 PEM), both mode
0600; ``signing.pub`` (PEM, for whoever verifies); ``recordings/<interview>.key``: the wrapped keys.
They lie apart from the recordings: destroying a wrapped key erases a recording and leaves
its evidence checkable; a new master key rewraps them and touches no media.
"""

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from server.recorder.files import write_durably
from server.recorder.sealing import KEY_BYTES

WRAP_MAGIC = b"VVWRAP01"
_NONCE_BYTES = 12
#: What an interview's id may be, as it names files.
INTERVIEW_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class KeyProblem(Exception):
    """A key is missing, malformed, or not the one that wrapped."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of one data directory."""

    folder: Path
    master: bytes
    signer: Ed25519PrivateKey

    @property
    def public_key(self) -> bytes:
        """The 32 bytes that :func:`server.recorder.verify.verify` takes."""
        return self.signer.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def create_recording_key(self, interview_id: str, recording_id: bytes) -> bytes:
        """Make, wrap and store durably the key of a new recording. OSError if it can't."""
        key, nonce = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(_NONCE_BYTES)
        wrapped = AESGCM(self.master).encrypt(nonce, key, WRAP_MAGIC + recording_id)
        path = self._wrapped_path(interview_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, WRAP_MAGIC + nonce + wrapped)
        return key

    def recording_key(self, interview_id: str, recording_id: bytes) -> bytes:
        """Unwrap a recording's key. KeyProblem if it was destroyed or another key wrapped it."""
        try:
            data = self._wrapped_path(interview_id).read_bytes()
        except FileNotFoundError as error:
            raise KeyProblem(f"the key of recording {interview_id} does not exist") from error
        body = data.removeprefix(WRAP_MAGIC)
        nonce, wrapped = body[:_NONCE_BYTES], body[_NONCE_BYTES:]
        try:
            return AESGCM(self.master).decrypt(nonce, wrapped, WRAP_MAGIC + recording_id)
        except (InvalidTag, ValueError) as error:
            raise KeyProblem(f"the master key does not open recording {interview_id}") from error

    def _wrapped_path(self, interview_id: str) -> Path:
        if not INTERVIEW_ID.fullmatch(interview_id):
            raise ValueError(f"not an interview id: {interview_id!r}")
        return self.folder / "recordings" / f"{interview_id}.key"


def open_keys(folder: Path, master_key: bytes | None = None) -> KeyRing:
    """Load the keys, making at first use those that are missing. KeyProblem or OSError.

    A missing master key is made only while there is no recording that another one wrapped.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    master = master_key if master_key is not None else _open_master(folder)
    if len(master) != KEY_BYTES:
        raise KeyProblem(f"a master key has {KEY_BYTES} bytes, this one {len(master)}")
    return KeyRing(folder, master, _open_signer(folder))


def parse_master_key(text: str) -> bytes:
    """A master key as ``master.key`` and the environment carry it: 64 hex digits."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError as error:
        raise KeyProblem("a master key is 64 hex digits") from error
    if len(key) != KEY_BYTES:
        raise KeyProblem("a master key is 64 hex digits")
    return key


def load_public_key(path: Path) -> bytes:
    """The 32 bytes of an Ed25519 public key in PEM. KeyProblem if it is none; OSError."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except ValueError as error:
        raise KeyProblem(f"{path.name} is not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyProblem(f"{path.name} is not an Ed25519 key")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _open_master(folder: Path) -> bytes:
    path = folder / "master.key"
    if path.exists():
        return parse_master_key(path.read_text())
    wrapped = folder / "recordings"
    if wrapped.is_dir() and any(wrapped.iterdir()):
        raise KeyProblem(f"{path} is missing, and recordings exist that only it opens")
    write_durably(path, secrets.token_hex(KEY_BYTES).encode() + b"\n")
    return parse_master_key(path.read_text())


def _open_signer(folder: Path) -> Ed25519PrivateKey:
    path = folder / "signing.key"
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        write_durably(path, pem)
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except ValueError as error:
        raise KeyProblem(f"{path} is not a private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyProblem(f"{path} is not an Ed25519 key")
    _publish(folder / "signing.pub", key)
    return key


def _publish(path: Path, key: Ed25519PrivateKey) -> None:
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if not path.exists() or path.read_bytes() != pem:
        write_durably(path, pem)
        os.chmod(path, 0o644)
