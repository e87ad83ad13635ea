"""One UDP port for every peer of the process: who is this datagram for? (RFC 7983 7)

STUN is routed by our half of its user name; everything else by the sender's address, which
only an authenticated check can bind to a peer, and none can take from another peer that lives.
Datagrams from anywhere else are counted and dropped, so an unauthenticated sender gets no answer
at all.
"""

import asyncio
import logging
from typing import Protocol

from aioice import stun

from server.media.ice import Address, local_ufrag, parse_binding_request

log = logging.getLogger(__name__)

#: Bytes the socket may hold back before packets are dropped: about a second of one observer.
MAX_SEND_BUFFER = 1 << 20
#: Addresses kept per peer: a browser tries a handful of pairs and stays with one.
MAX_ADDRESSES = 8
#: Asked of the kernel; hundreds of publishers send their keyframes in bursts.
SOCKET_BUFFER = 4 << 20


class Session(Protocol):
    """A peer's transport as the port sees it."""

    ufrag: str

    @property
    def is_silent(self) -> bool:
        """Whether it has not been heard for some seconds: its addresses may be another's now."""
        ...

    def check_received(self, request: stun.Message, address: Address) -> bool: ...

    def dtls_received(self, data: bytes) -> None: ...

    def rtp_received(self, data: bytes) -> None: ...


class _Transport(Protocol):
    """A datagram transport as asyncio and uvloop both make it (typeshed lacks the size)."""

    def sendto(self, data: bytes, addr: Address) -> None: ...

    def get_write_buffer_size(self) -> int: ...

    def close(self) -> None: ...


class UdpPort(asyncio.DatagramProtocol):
    """The socket, its routes, and counters of what was not let in."""

    def __init__(self) -> None:
        self._transport: _Transport | None = None
        self._by_ufrag: dict[str, Session] = {}
        self._by_address: dict[Address, Session] = {}
        self._addresses: dict[str, list[Address]] = {}
        self.datagrams_in = 0
        self.datagrams_out = 0
        self.refused = 0
        self.dropped_out = 0

    def add(self, session: Session) -> None:
        self._by_ufrag[session.ufrag] = session
        self._addresses[session.ufrag] = []

    def remove(self, session: Session) -> None:
        self._by_ufrag.pop(session.ufrag, None)
        for address in self._addresses.pop(session.ufrag, ()):
            if self._by_address.get(address) is session:
                del self._by_address[address]

    def send(self, data: bytes, address: Address) -> bool:
        """Sends at once, or drops where the socket cannot keep up; says which."""
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() > MAX_SEND_BUFFER:
            self.dropped_out += 1
            return False
        self.datagrams_out += 1
        transport.sendto(data, address)
        return True

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # ---- asyncio.DatagramProtocol

    def connection_made(self, transport: _Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, address: Address) -> None:
        self.datagrams_in += 1
        session = self._by_address.get(address)
        first = data[0] if data else 255
        try:
            if first < 4:
                self._stun_received(data, address)
            elif session is None or len(data) < 12:
                self.refused += 1
            elif 127 < first < 192:
                session.rtp_received(data)
            elif 19 < first < 64:
                session.dtls_received(data)
            else:
                self.refused += 1
        except Exception:
            # The root of the packet path: one peer's packet must not end everyone's.
            log.exception("a datagram could not be handled")

    def error_received(self, exc: Exception) -> None:
        # ICMP unreachable and the like: the peer's silence tells the same.
        log.debug("udp: %s", exc)

    def _stun_received(self, data: bytes, address: Address) -> None:
        request = parse_binding_request(data)
        session = self._by_ufrag.get(local_ufrag(request)) if request is not None else None
        if request is None or session is None or self._is_taken(address, session):
            self.refused += 1
            return
        if not session.check_received(request, address):
            self.refused += 1
            return
        # Most recently checked last: a browser checks the pair in use the most often.
        known = self._addresses[session.ufrag]
        if address in known:
            known.remove(address)
        known.append(address)
        self._by_address[address] = session
        if len(known) > MAX_ADDRESSES:
            stale = known.pop(0)
            if self._by_address.get(stale) is session:
                del self._by_address[stale]

    def _is_taken(self, address: Address, session: Session) -> bool:
        """Whether the address is another live peer's: source addresses can be made up."""
        owner = self._by_address.get(address)
        return owner is not None and owner is not session and not owner.is_silent
