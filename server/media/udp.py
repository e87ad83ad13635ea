"""A UDP socket of the media port: datagrams in, each with its path, and datagrams out."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from server.media.ice import Address
from server.media.router import Router, Session

log = logging.getLogger(__name__)

#: Bytes the socket may hold back before packets are dropped: about a second of one observer.
MAX_SEND_BUFFER = 1 << 20
#: Asked of the kernel; hundreds of publishers send their keyframes in bursts.
SOCKET_BUFFER = 4 << 20


class _Transport(Protocol):
    """A datagram transport as asyncio and uvloop both make it (typeshed lacks the size)."""

    def sendto(self, data: bytes, addr: Address) -> None: ...

    def get_write_buffer_size(self) -> int: ...

    def close(self) -> None: ...


class UdpPath:
    """A remote address seen by one socket (a `Path`)."""

    __slots__ = ("_paths", "address", "send", "session")

    def __init__(self, udp: "UdpSocket", address: Address) -> None:
        self.address = address
        self.session: Session | None = None
        self.send = udp.sender(address)
        self._paths = udp.paths

    def bound(self) -> None:
        self._paths[self.address] = self

    def released(self) -> None:
        del self._paths[self.address]


class UdpSocket(asyncio.DatagramProtocol):
    """`paths` are those that have a session; an address without one costs no memory."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._transport: _Transport | None = None
        self.paths: dict[Address, UdpPath] = {}
        self.datagrams_out = 0
        self.dropped_out = 0

    def sender(self, address: Address) -> Callable[[bytes], bool]:
        """A function that sends to `address` at once, or drops where the socket cannot keep up,
        and says which."""

        def send(data: bytes) -> bool:
            transport = self._transport
            if transport is None or transport.get_write_buffer_size() > MAX_SEND_BUFFER:
                self.dropped_out += 1
                return False
            self.datagrams_out += 1
            transport.sendto(data, address)
            return True

        return send

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # ---- asyncio.DatagramProtocol

    def connection_made(self, transport: _Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, address: Address) -> None:
        self._router.datagram_received(data, self.paths.get(address) or UdpPath(self, address))

    def error_received(self, exc: Exception) -> None:
        # ICMP unreachable and the like: the peer's silence tells the same.
        log.debug("udp: %s", exc)
