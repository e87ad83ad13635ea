"""A UDP socket of the media port: datagrams in, each with its path, and datagrams out.

The socket is read and written by itself: a datagram costs a third of what it does through an
event loop's transport (docs/decisions/media-cost.md). The loop only tells when there is something.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable

from server.media.ice import Address
from server.media.router import Router, Session

log = logging.getLogger(__name__)

#: Bytes held back before packets are dropped: about a second of one observer.
MAX_SEND_BUFFER = 1 << 20
#: Asked of the kernel; hundreds of publishers send their keyframes in bursts.
SOCKET_BUFFER = 4 << 20
#: A longer one is cut, and then refused as forged: nothing on a path's MTU comes near it.
MAX_DATAGRAM = 2048
#: Read at a time, until everything else on the loop has had its turn.
MAX_READ = 256


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


class UdpSocket:
    """Owns a bound socket that does not block, from `open` to `close`.

    `paths` are those that have a session; an address without one costs no memory.
    """

    def __init__(self, router: Router, sock: socket.socket) -> None:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        self._router, self._socket = router, sock
        self._waiting: deque[tuple[bytes, Address]] = deque()
        self._waiting_bytes = 0
        self.paths: dict[Address, UdpPath] = {}
        self.datagrams_out = 0
        self.dropped_out = 0

    def open(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def close(self) -> None:
        """Idempotent."""
        if self._socket.fileno() >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            self._socket.close()

    def sender(self, address: Address) -> Callable[[bytes], bool]:
        """A function that sends to `address` at once, or as soon as the socket takes it; where
        that cannot keep up it drops, and says so."""
        sendto = self._socket.sendto

        def send(data: bytes) -> bool:
            if self._waiting:
                return self._wait(data, address)
            try:
                sendto(data, address)
            except BlockingIOError:
                return self._wait(data, address)
            except OSError as error:
                return self._drop(error)
            self.datagrams_out += 1
            return True

        return send

    def _wait(self, data: bytes, address: Address) -> bool:
        if self._waiting_bytes + len(data) > MAX_SEND_BUFFER:
            return self._drop(BlockingIOError("the socket cannot keep up"))
        if not self._waiting:
            asyncio.get_running_loop().add_writer(self._socket, self._writable)
        self._waiting.append((data, address))
        self._waiting_bytes += len(data)
        return True

    def _drop(self, error: OSError) -> bool:
        # No route, a closed socket, ICMP of an earlier datagram: the peer's silence tells the same.
        log.debug("udp: %s", error)
        self.dropped_out += 1
        return False

    def _writable(self) -> None:
        while self._waiting:
            data, address = self._waiting[0]
            try:
                self._socket.sendto(data, address)
                self.datagrams_out += 1
            except BlockingIOError:
                return
            except OSError as error:
                self._drop(error)
            self._waiting.popleft()
            self._waiting_bytes -= len(data)
        asyncio.get_running_loop().remove_writer(self._socket)

    def _readable(self) -> None:
        receive, paths, route = self._socket.recvfrom, self.paths, self._router.datagram_received
        try:
            for _ in range(MAX_READ):
                data, address = receive(MAX_DATAGRAM)
                route(data, paths.get(address) or UdpPath(self, address))
        except BlockingIOError:
            pass
        except OSError as error:
            log.debug("udp: %s", error)
