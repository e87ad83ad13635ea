"""A peer's UDP socket, with the emulated network between it and the peer where there is one."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from loadtest.inbox import Address, Inbox, read_datagram, stamp_arrivals
from loadtest.network import Network
from loadtest.pacer import Pacer

#: Room for the bursts that arrive while the loop is busy with other peers.
SOCKET_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Emulation:
    """What is sent leaves on the pacer's grid, so that delays are rounded up to it."""

    network: Network
    pacer: Pacer


class Port:
    """`await open()`; then `send`, and what arrives goes to `on_datagram`.

    `on_datagram` gets the data, its sender, and the Unix seconds at which it arrived, after the
    emulated network. `on_unreachable`: nobody has the port any more that we are connected to
    (ICMP). `on_moved`: the emulated network has given us another address; the old socket is
    closed.
    """

    def __init__(
        self,
        on_datagram: Callable[[bytes, Address, float], None],
        on_unreachable: Callable[[], None],
        on_moved: Callable[[], None],
        emulation: Emulation | None = None,
    ) -> None:
        self.refused = 0  #: sends that the kernel did not take
        self._dropped = 0  # arrivals for which it had no room: of this socket,
        self._dropped_before = 0  # and of those before it
        self._on_datagram, self._on_unreachable = on_datagram, on_unreachable
        self._on_moved = on_moved
        self._emulation = emulation
        self._socket: socket.socket | None = None
        self._remote: Address | None = None
        self._inbox: Inbox | None = None
        self._moving: asyncio.Task[None] | None = None

    @property
    def dropped(self) -> int:
        """Arrivals that this process was too slow to make room for."""
        return self._dropped_before + self._dropped

    async def open(self) -> None:
        self._bind()
        if self._emulation is not None:
            moving = self._move_every(self._emulation.network.impairments.move_s)
            self._moving = asyncio.create_task(moving, name="moving port")

    def connect(self, remote: Address) -> None:
        """From now on only `remote` is heard, and sent to. Raises OSError."""
        assert self._socket is not None
        self._socket.connect(remote)
        self._remote = remote

    def read_by(self, inbox: Inbox) -> None:
        """From now on, together with all others; until then, each datagram wakes the loop."""
        if self._socket is not None:
            self._let_go()
            self._inbox = inbox
            inbox.add(self._socket, self._read)

    def close(self) -> None:
        """Idempotent; what the network still delays is lost."""
        if self._moving is not None:
            self._moving.cancel()
        if self._socket is not None:
            self._let_go()
            self._socket.close()
        self._socket = None

    def send(self, data: bytes, address: Address | None = None, *, spared: bool = False) -> None:
        """To `address`, or to the one we are connected to; `spared`: never lost on the way."""
        if self._emulation is None:
            self._put(data, address)
        else:
            arrival = partial(self._emulation.network.up.arrival, spared=spared)
            self._pass_on(arrival, data, self._now(), lambda _: self._put(data, address))

    # ---- the socket ---------------------------------------------------------------------

    def _bind(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        stamp_arrivals(sock)
        sock.bind(("0.0.0.0", 0))
        if self._remote is not None:
            sock.connect(self._remote)
        if self._socket is not None:
            self._let_go()
            self._socket.close()
        self._dropped_before, self._dropped = self.dropped, 0
        self._socket = sock
        if self._inbox is None:
            asyncio.get_running_loop().add_reader(sock, self._read)
        else:
            self._inbox.add(sock, self._read)

    def _let_go(self) -> None:
        assert self._socket is not None
        if self._inbox is None:
            asyncio.get_running_loop().remove_reader(self._socket)
        else:
            self._inbox.remove(self._socket)

    async def _move_every(self, interval_s: float) -> None:
        while interval_s < float("inf"):
            await asyncio.sleep(interval_s)
            self._bind()
            self._on_moved()

    def _put(self, data: bytes, address: Address | None) -> None:
        if self._socket is None:
            return
        try:
            if address is None:
                self._socket.send(data)
            else:
                with suppress(OSError):  # an address that this machine cannot reach
                    self._socket.sendto(data, address)
        except ConnectionRefusedError:
            self._on_unreachable()
        except OSError:
            self.refused += 1

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data, address, arrived_s, self._dropped = read_datagram(self._socket)
        except BlockingIOError:
            return
        except OSError as error:
            # The kernel tells what ICMP said to whoever calls it first, our send or this.
            if isinstance(error, ConnectionRefusedError) and self._remote is not None:
                self._on_unreachable()
            return
        if self._emulation is None:
            self._on_datagram(data, address, arrived_s)
        else:
            at = self._now() - (time.time() - arrived_s)
            link = self._emulation.network.down
            deliver = partial(self._deliver, data, address, arrived_s)
            self._pass_on(link.arrival, data, at, deliver)

    def _deliver(self, data: bytes, address: Address, arrived_s: float, delay_s: float) -> None:
        if self._socket is not None:
            self._on_datagram(data, address, arrived_s + delay_s)

    # ---- the network --------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _pass_on(
        self,
        arrival: Callable[[int, float], float | None],
        data: bytes,
        at: float,
        arrive: Callable[[float], None],
    ) -> None:
        """`arrive` is called with the delay of what was sent `at`, unless it is lost."""
        assert self._emulation is not None
        due = arrival(len(data), at)
        if due is None:
            return
        if due <= self._now():
            arrive(due - at)
        else:
            self._emulation.pacer.at(due, lambda due, now: arrive(due - at))
