"""The sockets of all peers of a process, read together on the pacer's grid.

To wake for every datagram costs more than to read it (docs/decisions/loadtest-pacing.md). Nothing
is measured late for it: when a datagram has arrived is what the kernel says, also when this
process was busy or asleep.
"""

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

Address = tuple[str, int]

#: socket(7), asm-generic/socket.h; Python has no name for it. A timespec comes with each datagram.
SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
#: Likewise: how many datagrams the kernel has dropped, once there is one, with those that follow.
SO_RXQ_OVFL = 40
_DROPPED = struct.Struct("@I")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(_DROPPED.size)
#: More than any datagram of a session that keeps to its path's MTU.
MAX_DATAGRAM = 2048
#: One datagram of each socket a round; what is still there then waits for the next tick.
MAX_ROUNDS = 64


class Datagram(NamedTuple):
    data: bytes
    address: Address  #: of its sender
    arrived_s: float  #: Unix seconds
    dropped: int  #: before it, for want of room


def stamp_arrivals(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)


def read_datagram(sock: socket.socket) -> Datagram:
    """The next one. Raises OSError."""
    data, ancillary, _, address = sock.recvmsg(MAX_DATAGRAM, _ANCILLARY_BYTES)
    arrived_s, dropped = None, 0
    for _, kind, value in ancillary:
        if kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            arrived_s = seconds + nanoseconds * 1e-9
        elif kind == SO_RXQ_OVFL:
            (dropped,) = _DROPPED.unpack(value)
    return Datagram(data, address, time.time() if arrived_s is None else arrived_s, dropped)


class Inbox:
    """`add` sockets; `drain` reads what is there and never waits."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self.on_added: Callable[[], None] = lambda: None

    def __bool__(self) -> bool:
        return bool(self._readers)

    def add(self, sock: socket.socket, read: Callable[[], None]) -> None:
        """`read` takes one datagram from the socket."""
        self._readers[sock.fileno()] = read
        self._poll.register(sock.fileno(), select.EPOLLIN)
        self.on_added()

    def remove(self, sock: socket.socket) -> None:
        """Before it is closed; idempotent."""
        if self._readers.pop(sock.fileno(), None) is not None:
            self._poll.unregister(sock.fileno())

    def drain(self) -> None:
        readers = self._readers
        for _ in range(MAX_ROUNDS):
            ready = self._poll.poll(0, max(1, len(readers)))
            if not ready:
                return
            for descriptor, _ in ready:
                read = readers.get(descriptor)  # one that was read before may have closed it
                if read is not None:
                    read()

    def close(self) -> None:
        self._poll.close()
