"""ICE-lite: answering connectivity checks (RFC 8445 2.5, 7.3; RFC 8489). No I/O.

A lite agent sends no checks of its own. It answers authenticated binding requests, takes
the pair that the peer nominates, and reads the peer's consent checks (RFC 7675) as proof
that the address still belongs to it.
"""

import secrets
import struct
from dataclasses import dataclass

from aioice import stun

Address = tuple[str, int]
#: RFC 8489 5: the two top bits of a STUN message are zero; RFC 7983 7: first byte 0..3.
MAX_STUN_LENGTH = 548  # a check never needs more than the smallest safe datagram


def parse_binding_request(data: bytes) -> stun.Message | None:
    """A binding request with a user name and integrity, or None for anything else."""
    if len(data) > MAX_STUN_LENGTH:
        return None
    try:
        message = stun.parse_message(data)
    except (ValueError, struct.error, IndexError):
        return None
    if message.message_class is not stun.Class.REQUEST:
        return None
    if message.message_method is not stun.Method.BINDING or "FINGERPRINT" not in message.attributes:
        return None
    return message if "MESSAGE-INTEGRITY" in message.attributes else None


def local_ufrag(message: stun.Message) -> str:
    """Our half of the USERNAME, `ours:theirs` (RFC 8445 7.2.2)."""
    name: str = message.attributes.get("USERNAME", "")
    return name.partition(":")[0]


@dataclass(frozen=True, slots=True)
class CheckAnswered:
    response: bytes
    nominated: bool


class IceLite:
    """Our credentials of one session, and the answer to a check made with them."""

    def __init__(self, remote_ufrag: str) -> None:
        # RFC 8839 5.4: at least 24 bits of ufrag and 128 bits of password, ice-chars only.
        self.ufrag = secrets.token_hex(8)
        self.pwd = secrets.token_hex(16)
        self._username = f"{self.ufrag}:{remote_ufrag}"
        self._key = self.pwd.encode()

    def answer(self, request: stun.Message, address: Address) -> CheckAnswered | None:
        """The response to send, or None when the request is not the peer's own."""
        if request.attributes.get("USERNAME") != self._username:
            return None
        if not request.check_message_integrity(self._key):
            return None
        response = stun.Message(
            message_method=stun.Method.BINDING,
            message_class=stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
        )
        response.attributes["XOR-MAPPED-ADDRESS"] = address
        response.add_message_integrity(self._key)
        return CheckAnswered(bytes(response), "USE-CANDIDATE" in request.attributes)
