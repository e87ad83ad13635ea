"""A UDP socket of the media port: datagrams in, each with its path, and datagrams out.

The socket is read and written by itself, not by an event loop's transport: the loop only tells
when there is something. What a round of reading has to send leaves at its end, the packets of a
path together: the kernel cuts a row of one size into datagrams for half the cost of sending
each (docs/decisions/media-cost.md).
"""

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from server.media.transport.dtls import INBOX, MAX_DATAGRAM
from server.media.transport.ice import Address
from server.media.transport.router import Router, Session

log = logging.getLogger(__name__)

#: Bytes held back before packets are dropped: about a second of one observer.
MAX_SEND_BUFFER = 1 << 20
#: Asked of the kernel; hundreds of publishers send their keyframes in bursts.
SOCKET_BUFFER = 4 << 20
#: Read at a time, a millisecond or two of work, before it is sent on and others have their turn.
MAX_READ = 128
#: udp(7): datagrams of the size given as ancillary data are cut from what is sent.
UDP_SEGMENT = 103
#: The kernel takes 64 (UDP_MAX_SEGMENTS), and 65 507 octets.
MAX_ROW = 30
_SIZE = struct.Struct("=H")


class UdpPath:
    """A remote address seen by one socket (a `Path`)."""

    __slots__ = ("_udp", "address", "outgoing", "session")

    def __init__(self, udp: "UdpSocket", address: Address) -> None:
        self.address = address
        self.session: Session | None = None
        self.outgoing: list[bytes] = []
        self._udp = udp

    def send(self, data: bytes) -> None:
        if not self.outgoing:
            self._udp.has_outgoing(self)
        self.outgoing.append(data)

    def bound(self) -> None:
        self._udp.paths[self.address] = self

    def released(self) -> None:
        del self._udp.paths[self.address]


class UdpSocket:
    """Owns a bound socket that does not block, from `open` to `close`.

    `paths` are those that have a session; an address without one costs no memory.
    """

    def __init__(self, router: Router, sock: socket.socket, clock: Callable[[], float]) -> None:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        self._router, self._socket, self._clock = router, sock, clock
        self._segments = _can_segment(sock)
        self._outgoing: list[UdpPath] = []  # those that have something to send
        self._reading = False  # after which it is sent
        self._waiting: deque[tuple[bytes, Address]] = deque()
        self._waiting_bytes = 0
        self.paths: dict[Address, UdpPath] = {}
        self.datagrams_out = 0
        self.dropped_out = 0

    def open(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def close(self) -> None:
        """What was to be sent leaves; idempotent."""
        if self._socket.fileno() >= 0:
            self._flush()
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            self._socket.close()

    # ---- in

    def _readable(self) -> None:
        receive, inbox = self._socket.recvfrom_into, INBOX
        paths, received = self.paths, self._router.datagram_received
        now, read = self._clock(), 0
        self._reading = True
        try:
            for read in range(1, MAX_READ + 1):  # noqa: B007
                size, address = receive(inbox, MAX_DATAGRAM)
                received(size, paths.get(address) or UdpPath(self, address), now)
        except OSError as error:
            read -= 1
            if not isinstance(error, BlockingIOError):
                log.debug("udp: %s", error)
        self._router.datagrams_in += read
        self._reading = False
        self._flush()

    # ---- out

    def has_outgoing(self, path: UdpPath) -> None:
        """It leaves before the loop does anything else."""
        if not self._outgoing and not self._reading:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(path)

    def _flush(self) -> None:
        paths, self._outgoing = self._outgoing, []
        for path in paths:
            packets, path.outgoing = path.outgoing, []
            if len(packets) == 1 or self._waiting or not self._segments:
                self._send_each(packets, path.address)
            else:
                for row in rows(packets):
                    self._send_row(row, path.address)

    def _send_row(self, row: Sequence[bytes], address: Address) -> None:
        if len(row) == 1:
            self._send_each(row, address)
            return
        size = _SIZE.pack(len(row[0]))
        try:
            self._socket.sendmsg(row, [(socket.IPPROTO_UDP, UDP_SEGMENT, size)], 0, address)
        except OSError:
            # More than the buffer takes at once, a small MTU, a device that cannot: one by one.
            self._send_each(row, address)
        else:
            self.datagrams_out += len(row)

    def _send_each(self, packets: Sequence[bytes], address: Address) -> None:
        for data in packets:
            if self._waiting:
                self._wait(data, address)
                continue
            try:
                self._socket.sendto(data, address)
                self.datagrams_out += 1
            except BlockingIOError:
                self._wait(data, address)
            except OSError as error:
                self._drop(error)

    def _wait(self, data: bytes, address: Address) -> None:
        if self._waiting_bytes + len(data) > MAX_SEND_BUFFER:
            self._drop(BlockingIOError("the socket cannot keep up"))
            return
        if not self._waiting:
            asyncio.get_running_loop().add_writer(self._socket, self._writable)
        self._waiting.append((data, address))
        self._waiting_bytes += len(data)

    def _drop(self, error: OSError) -> None:
        # No route, a closed socket, ICMP of an earlier datagram: the peer's silence tells the same.
        log.debug("udp: %s", error)
        self.dropped_out += 1

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


def rows(packets: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Those that the kernel can cut from one message: of one size, only the last may be smaller."""
    begin = 0
    size = before = len(packets[0])
    for index, length in enumerate(map(len, packets)):
        if length > size or before < size or index - begin == MAX_ROW:
            yield packets[begin:index]
            begin, size = index, length
        before = length
    yield packets[begin:] if begin else packets


def _can_segment(sock: socket.socket) -> bool:
    try:
        sock.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True
