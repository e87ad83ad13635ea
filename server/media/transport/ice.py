"""ICE-lite: answering connectivity checks (RFC 8445 2.5, 7.3; RFC 8489). No I/O.

A lite agent sends no checks of its own. It answers authenticated binding requests, takes
the pair that the peer nominates, and reads the peer's consent checks (RFC 7675) as proof
that the address still belongs to it. Anybody can send what looks like a check, so it is read
here by hand, at a tenth of what a general parser costs, and hashed only for a session that is.
"""

import hmac
import ipaddress
import re
import secrets
import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

Address = tuple[str, int]
MAX_STUN_LENGTH = 548  # a check never needs more than the smallest safe datagram
#: Browsers send six before the fingerprint; what reading costs must not be the sender's to choose.
MAX_ATTRIBUTES = 16
#: RFC 8839 5.4: ice-chars; 24 bits of user name and 128 bits of password at least.
UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
PWD = re.compile(r"[A-Za-z0-9+/]{22,256}")

# RFC 8489 5, 14 and 18; RFC 8445 7.1.
_HEADER_LENGTH = 20
_BINDING_REQUEST = b"\x00\x01"
_BINDING_SUCCESS = b"\x01\x01"
_BINDING_ERROR = b"\x01\x11"
_MAGIC_COOKIE = b"\x21\x12\xa4\x42"
_USERNAME = 0x0006
_MESSAGE_INTEGRITY = 0x0008
_ERROR_CODE = 0x0009
_UNKNOWN_ATTRIBUTES = 0x000A
_XOR_MAPPED_ADDRESS = 0x0020
_USE_CANDIDATE = 0x0025
_FINGERPRINT = b"\x80\x28\x00\x04"  # with its length
_INTEGRITY_LENGTH = 4 + 20
_FINGERPRINT_LENGTH = 4 + 4
_FINGERPRINT_XOR = 0x5354554E
#: From here on an attribute may be ignored (RFC 8489 14).
_COMPREHENSION_OPTIONAL = 0x8000
#: The others that are known, and ignored where they mean nothing (RFC 8489 6.3): those of
#: RFC 8489 18.3.1, and PRIORITY and USE-CANDIDATE of RFC 8445 16.1.
_KNOWN = frozenset(
    (
        *(0x0001, _USERNAME, _MESSAGE_INTEGRITY, _ERROR_CODE, _UNKNOWN_ATTRIBUTES),
        *(0x0014, 0x0015, 0x001C, 0x001D, 0x001E, _XOR_MAPPED_ADDRESS),
        *(0x0024, _USE_CANDIDATE),
    )
)
#: RFC 8489 14.8: class 4 and number 20, "Unknown Attribute". No words: they would make it longer
#: than the shortest check that there is.
_ERROR_420 = struct.pack("!HHI", _ERROR_CODE, 4, 4 << 8 | 20)

_attribute = struct.Struct("!HH").unpack_from


class Check(NamedTuple):
    """A binding request as it came: well formed, but not known to be anybody's."""

    data: bytes
    username: bytes  #: `ours:theirs` (RFC 8445 7.2.2)
    nominates: bool
    integrity_at: int  #: where MESSAGE-INTEGRITY begins
    unknown: tuple[int, ...] = ()  #: types of attributes that had to be understood, and are not

    @property
    def ufrag(self) -> bytes:
        """Our half of the user name."""
        return self.username.partition(b":")[0]


def parse_check(data: bytes) -> Check | None:
    """A binding request with user name, integrity and fingerprint, or None for anything else.

    Neither integrity nor fingerprint is verified: that is `IceLite.answer`'s.
    """
    if not _is_binding_request(data):
        return None
    username = b""
    nominates = False
    unknown: tuple[int, ...] = ()
    at, integrity_at, end = _HEADER_LENGTH, 0, len(data) - _FINGERPRINT_LENGTH
    for _ in range(MAX_ATTRIBUTES):
        if at == end:
            break
        kind, length = _attribute(data, at)
        # RFC 8489 14.5: what stands behind the integrity is not protected by it.
        if not integrity_at:
            if kind == _USERNAME:
                username = username or data[at + 4 : at + 4 + length]
            elif kind == _USE_CANDIDATE:
                nominates = True
            elif kind == _MESSAGE_INTEGRITY:
                integrity_at = at
            elif kind < _COMPREHENSION_OPTIONAL and kind not in _KNOWN:
                unknown += (kind,)
        at += 4 + (length + 3 & ~3)
        if at > end:
            return None
    if at != end or not integrity_at or not username:
        return None
    return Check(data, username, nominates, integrity_at, unknown)


def _is_binding_request(data: bytes) -> bool:
    """By its two ends: all lengths are multiples of 4 and a fingerprint is the last attribute
    (RFC 8489 5, 14.7)."""
    length = len(data) - _HEADER_LENGTH
    return (
        _FINGERPRINT_LENGTH <= length <= MAX_STUN_LENGTH - _HEADER_LENGTH
        and not length & 3
        and data[:2] == _BINDING_REQUEST
        and data[4:8] == _MAGIC_COOKIE
        and int.from_bytes(data[2:4], "big") == length
        and data[-_FINGERPRINT_LENGTH:-4] == _FINGERPRINT
    )


class Credentials(NamedTuple):
    """One side's half of an ICE session."""

    ufrag: str
    pwd: str


@dataclass(frozen=True, slots=True)
class CheckAnswered:
    response: bytes  #: never longer than the check (IceLite.answer)
    nominated: bool


@dataclass(frozen=True, slots=True)
class CheckRefused:
    """It is the peer's own, and asks for something that is not known here."""

    response: bytes  #: never longer than the check (IceLite.answer)


class IceLite:
    """One ICE session: our credentials, and the answer to a check made with them.

    The peer's password signs nothing here, as a lite agent sends no checks: with its user name
    it tells a restart from the session that there is (RFC 8839 4.4.1.1.1).
    """

    def __init__(self, remote_ufrag: str, remote_pwd: str = "") -> None:
        self.remote = Credentials(remote_ufrag, remote_pwd)
        # RFC 8839 5.4: at least 24 bits of ufrag and 128 bits of password, ice-chars only.
        self.ufrag = secrets.token_hex(8)
        self.pwd = secrets.token_hex(16)
        self._username = f"{self.ufrag}:{remote_ufrag}".encode()
        self._key = self.pwd.encode()

    def answer(self, check: Check, address: Address) -> CheckAnswered | CheckRefused | None:
        """The response to send, or None when the request is not the peer's own.

        A response has 64 bytes (IPv6: 76); a check with our user name has 76 or more, so that
        nothing is gained by having it sent to somebody else. A refusal has 64, and at most 4 for
        each unknown attribute, which takes no less of the check.
        """
        data, at = check.data, check.integrity_at
        if check.username != self._username:
            return None
        if not hmac.compare_digest(self._integrity(data[:at]), data[at + 4 : at + 24]):
            return None
        if data[-4:] != _fingerprint(data[:-_FINGERPRINT_LENGTH]):
            return None
        transaction_id = data[8:20]
        if check.unknown:  # RFC 8489 6.3.1
            attributes = _ERROR_420 + _unknown_attributes(check.unknown)
            return CheckRefused(self._response(_BINDING_ERROR, transaction_id, attributes))
        mapped = _xor_mapped_address(transaction_id, address)
        response = self._response(_BINDING_SUCCESS, transaction_id, mapped)
        return CheckAnswered(response, check.nominates)

    def _response(self, kind: bytes, transaction_id: bytes, attributes: bytes) -> bytes:
        length = len(attributes) + _INTEGRITY_LENGTH + _FINGERPRINT_LENGTH
        data = kind + length.to_bytes(2, "big") + _MAGIC_COOKIE + transaction_id + attributes
        data += struct.pack("!HH", _MESSAGE_INTEGRITY, 20) + self._integrity(data)
        return data + _FINGERPRINT + _fingerprint(data)

    def _integrity(self, data: bytes) -> bytes:
        """RFC 8489 14.5: over all before it, the header's length as if it were the last."""
        length = len(data) - _HEADER_LENGTH + _INTEGRITY_LENGTH
        covered = data[:2] + length.to_bytes(2, "big") + data[4:]
        return hmac.digest(self._key, covered, "sha1")


def _fingerprint(data: bytes) -> bytes:
    return (zlib.crc32(data) ^ _FINGERPRINT_XOR).to_bytes(4, "big")


def _unknown_attributes(kinds: tuple[int, ...]) -> bytes:
    """RFC 8489 14.9, each once."""
    listed = b"".join(kind.to_bytes(2, "big") for kind in dict.fromkeys(kinds))
    padding = bytes(-len(listed) % 4)
    return struct.pack("!HH", _UNKNOWN_ATTRIBUTES, len(listed)) + listed + padding


def _xor_mapped_address(transaction_id: bytes, address: Address) -> bytes:
    """RFC 8489 14.2."""
    packed = ipaddress.ip_address(address[0]).packed
    mask = (_MAGIC_COOKIE + transaction_id)[: len(packed)]
    family = 1 if len(packed) == 4 else 2
    port = address[1] ^ int.from_bytes(_MAGIC_COOKIE[:2], "big")
    head = struct.pack("!HHBBH", _XOR_MAPPED_ADDRESS, 4 + len(packed), 0, family, port)
    return head + bytes(a ^ b for a, b in zip(packed, mask, strict=True))
