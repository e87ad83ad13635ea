"""Link tokens: ``v1.<payload>.<mac>``, signed and parsed. Pure: the time is an argument.

The payload is a JSON array ``[link_id, interview_id, role, expires_s]`` in base64url without
padding; the MAC is HMAC-SHA256 (RFC 2104) over ``v1.<payload>``, so that nothing unsigned is
ever decoded. A token proves what its link was made for; whether the link was revoked since is
the store's to say.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass

import msgspec

from server.signaling.protocol import ErrorId, Role

VERSION = "v1"
KEY_BYTES = 32
#: A genuine token has about 150 characters; longer ones are refused before any hashing.
MAX_TOKEN_CHARS = 512

_fields = msgspec.json.Decoder(tuple[str, str | None, Role, int])


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. ``interview_id`` is None for the owner, who reaches all of them."""

    link_id: str
    interview_id: str | None
    role: Role
    expires_s: int


class TokenError(Exception):
    """The token's bearer is at fault; ``id`` is TOKEN_INVALID or TOKEN_EXPIRED."""

    def __init__(self, id: ErrorId) -> None:
        super().__init__(id)
        self.id = id


def sign(key: bytes, claims: Claims) -> str:
    """The token that carries ``claims``; the same claims give the same token."""
    fields = (claims.link_id, claims.interview_id, claims.role, claims.expires_s)
    signed = f"{VERSION}.{_encode(msgspec.json.encode(fields))}"
    return f"{signed}.{_mac(key, signed)}"


def ticket(key: bytes, export_id: str) -> str:
    """What an export's address has; the same one after a restart, which nothing on a disk tells."""
    return _mac(key, f"export.{export_id}")


def parse(key: bytes, token: str, now: float) -> Claims:
    """The claims of a genuine, unexpired token; raises TokenError for any other text."""
    signed, _, mac = token.rpartition(".")
    version, _, payload = signed.partition(".")
    if len(token) > MAX_TOKEN_CHARS or version != VERSION or not token.isascii():
        raise TokenError(ErrorId.TOKEN_INVALID)
    # The texts are compared, not the decoded bytes: one MAC has one spelling only.
    if not hmac.compare_digest(_mac(key, signed), mac):
        raise TokenError(ErrorId.TOKEN_INVALID)
    claims = _claims(payload)
    if now >= claims.expires_s:
        raise TokenError(ErrorId.TOKEN_EXPIRED)
    return claims


def _claims(payload: str) -> Claims:
    try:
        raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        return Claims(*_fields.decode(raw))
    except (ValueError, msgspec.DecodeError) as error:
        raise TokenError(ErrorId.TOKEN_INVALID) from error


def _mac(key: bytes, signed: str) -> str:
    return _encode(hmac.digest(key, signed.encode(), hashlib.sha256))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
