"""ICE-TCP: each connection is a path (RFC 6544, passive side; packets framed by RFC 4571).

Anybody can connect. So whoever has not sent a valid check yet may send nothing else, is closed
at the first frame that is none, and shares a bounded number of places with others like him.
"""

import asyncio
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from server.media.transport.dtls import INBOX
from server.media.transport.framing import Deframer, FrameTooLong, frame
from server.media.transport.ice import Address
from server.media.transport.router import Router, Session

log = logging.getLogger(__name__)

#: Connections without a valid check: the oldest makes room for the newest.
MAX_UNKNOWN = 256
#: Of them from one address; an office behind one address needs a round trip for each.
MAX_UNKNOWN_PER_ADDRESS = 32
#: From the connection to the check; a browser sends it at once.
FIRST_CHECK_S = 5.0
#: What one connection may hold back: 2 s of one observer. Beyond it whole frames are dropped,
#: as a router's queue would drop them, and repaired like any loss.
MAX_SEND_BUFFER = 256 << 10
#: Bytes the kernel takes beyond those in flight: old packets wait where they can be dropped.
KERNEL_UNSENT = 32 << 10
#: For what waits when the session ends, such as the end of the DTLS association.
LINGER_S = 2.0


class _Transport(Protocol):
    """A stream transport, as far as it is used here."""

    def write(self, data: bytes) -> None: ...

    def get_write_buffer_size(self) -> int: ...

    def is_closing(self) -> bool: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class TcpPath(asyncio.Protocol):
    """One connection (a `Path`)."""

    def __init__(self, port: "TcpPort", address: Address) -> None:
        self.address = address
        self.session: Session | None = None
        self._port = port
        self._deframer = Deframer()
        self._transport: _Transport | None = None

    # ---- for the router

    def send(self, data: bytes) -> None:
        transport = self._transport
        if (
            transport is None
            or transport.is_closing()
            or transport.get_write_buffer_size() > MAX_SEND_BUFFER
        ):
            self._port.dropped_out += 1
            return
        self._port.datagrams_out += 1
        transport.write(frame(data))

    def bound(self) -> None:
        self._port.known(self)

    def released(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._port.closing(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio.Protocol

    def connection_made(self, transport: _Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._port.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            packets = self._deframer.feed(data)
        except FrameTooLong as error:
            log.debug("tcp: %s", error)
            self._port.refuse(self)
            return
        for packet in packets:
            self._port.received(packet, self)
            if self.session is None:
                self._port.refuse(self)
                return

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._port.router.path_closed(self)
        self._port.lost(self)


class TcpPort:
    """All connections of the media port and their limits; call `tick` often."""

    def __init__(self, router: Router, clock: Callable[[], float]) -> None:
        self.router = router
        self._clock = clock
        self._paths: set[TcpPath] = set()
        self._unknown: dict[TcpPath, float] = {}  # with deadlines, the next one first
        self._unknown_from: Counter[str] = Counter()
        self._closing: dict[TcpPath, float] = {}
        self.datagrams_out = 0
        self.dropped_out = 0
        self.refused = 0  #: connections

    @property
    def connections(self) -> int:
        return len(self._paths)

    async def adopt(self, connection: socket.socket) -> None:
        """Takes over a connection that was accepted. Raises `OSError` if it has ended since."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_UNSENT)
        address = connection.getpeername()
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: TcpPath(self, address), connection)

    def tick(self, now: float) -> None:
        """Ends connections that have sent no valid check in time, or do not close."""
        for path, deadline in list(self._unknown.items()):
            if now < deadline:
                break
            self.refuse(path)
        for path, deadline in list(self._closing.items()):
            if now < deadline:
                break
            path.abort()

    def close(self) -> None:
        for path in list(self._paths):
            path.abort()

    # ---- told by paths

    def received(self, packet: bytes, path: TcpPath) -> None:
        INBOX[: len(packet)] = packet
        self.router.datagrams_in += 1
        self.router.datagram_received(len(packet), path, self._clock())

    def opened(self, path: TcpPath) -> None:
        self._paths.add(path)
        network = _network(path.address)
        if self._unknown_from[network] >= MAX_UNKNOWN_PER_ADDRESS:
            self.refuse(path)
            return
        if len(self._unknown) >= MAX_UNKNOWN:
            self.refuse(next(iter(self._unknown)))
        self._unknown[path] = self._clock() + FIRST_CHECK_S
        self._unknown_from[network] += 1

    def known(self, path: TcpPath) -> None:
        """The router has found its session."""
        if self._unknown.pop(path, None) is not None:
            network = _network(path.address)
            self._unknown_from[network] -= 1
            if not self._unknown_from[network]:
                del self._unknown_from[network]

    def refuse(self, path: TcpPath) -> None:
        self.refused += 1
        self.known(path)
        path.abort()

    def closing(self, path: TcpPath) -> None:
        self._closing.setdefault(path, self._clock() + LINGER_S)

    def lost(self, path: TcpPath) -> None:
        self.known(path)
        self._closing.pop(path, None)
        self._paths.discard(path)


def _network(address: Address) -> str:
    """What one person has: an IPv4 address, or an IPv6 network of 64 bits."""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    return str(ip) if ip.version == 4 else ip.exploded[:19]
