"""Checkpoints of a log: C2SP tlog-checkpoint, which is a signed-note. No I/O.

The key's name is the log's origin; the key is Ed25519, the one that signs recordings.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.recorder.format.merkle import HASH_BYTES
from server.recorder.format.sealing import SIGNATURE_BYTES, FaultKind, SegmentError
from server.recorder.format.server_key import ServerKey, raw

#: signed-note: the signature type of Ed25519.
_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
#: A checkpoint with sixteen signatures is below that; more is no checkpoint.
MAX_BYTES = 16_384
_TEXT = re.compile(r"([^\s+]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's size and root at some time."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def sign_checkpoint(checkpoint: Checkpoint, signer: Ed25519PrivateKey) -> bytes:
    text = checkpoint.text
    signed = _key_id(checkpoint.origin, signer.public_key()) + signer.sign(text.encode())
    return f"{text}\n— {checkpoint.origin} {base64.b64encode(signed).decode()}\n".encode()


def read_checkpoint(data: bytes, public_key: ServerKey) -> Checkpoint:
    """The checkpoint, signed by one of these keys. SegmentError if it is none.

    Signatures of others, as of witnesses, may stand beside ours and are not looked at.
    """
    try:
        text, _, signatures = data[:MAX_BYTES].decode().partition("\n\n")
    except UnicodeDecodeError as error:
        raise SegmentError(FaultKind.TAMPERED, "the checkpoint is no text") from error
    match = _TEXT.fullmatch(text + "\n")
    if match is None or len(data) > MAX_BYTES or not signatures.endswith("\n"):
        raise SegmentError(FaultKind.TAMPERED, "the checkpoint does not parse")
    checkpoint = Checkpoint(match[1], int(match[2]), base64.b64decode(match[3]))
    if checkpoint.text != text + "\n":
        raise SegmentError(FaultKind.TAMPERED, "the checkpoint is not canonical")
    key, signature = _signature(signatures, checkpoint.origin, public_key)
    try:
        key.verify(signature, checkpoint.text.encode())
    except InvalidSignature as error:
        raise SegmentError(FaultKind.TAMPERED, "the checkpoint's signature does not fit") from error
    return checkpoint


def verifier_key(origin: str, public_key: Ed25519PublicKey) -> str:
    """What tools of transparency logs take as the key (signed-note, "Verifier keys")."""
    material = base64.b64encode(_ED25519 + raw(public_key)).decode()
    return f"{origin}+{_key_id(origin, public_key).hex()}+{material}"


def _signature(lines: str, origin: str, public_key: ServerKey) -> tuple[Ed25519PublicKey, bytes]:
    """The first of ours, and the key that it is to be of."""
    ours = {_key_id(origin, key): key for key in public_key.keys}
    for line in lines.removesuffix("\n").split("\n"):
        mark, name, encoded = (*line.split(" "), "", "", "")[:3]
        try:
            signed = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            signed = b""
        if mark != "—" or not name or len(signed) <= _KEY_ID_BYTES:
            raise SegmentError(FaultKind.TAMPERED, "a signature of the checkpoint does not parse")
        if base64.b64encode(signed).decode() != encoded or line.count(" ") != 2:
            raise SegmentError(FaultKind.TAMPERED, "the checkpoint is not canonical")
        key = ours.get(signed[:_KEY_ID_BYTES])
        if name == origin and key is not None:
            return key, signed[_KEY_ID_BYTES:][: SIGNATURE_BYTES + 1]
    raise SegmentError(FaultKind.TAMPERED, "the checkpoint is signed by another key")


def _key_id(name: str, public_key: Ed25519PublicKey) -> bytes:
    digest = hashlib.sha256(name.encode() + b"\n" + _ED25519 + raw(public_key)).digest()
    assert len(digest) == HASH_BYTES
    return digest[:_KEY_ID_BYTES]
