"""A peer's UDP socket, with the emulated network between it and the peer where there is one."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from loadtest.network import Network
from loadtest.pacer import Pacer

Address = tuple[str, int]

#: Room for the bursts that arrive while the loop is busy with other peers.
SOCKET_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Emulation:
    """Delays are kept by the pacer, and so rounded up to its grid."""

    network: Network
    pacer: Pacer


class Port(asyncio.DatagramProtocol):
    """`await open()`; then `send`, and what arrives goes to `on_datagram`.

    `on_unreachable`: nobody has the port any more that we are connected to (ICMP).
    `on_moved`: the emulated network has given us another address; the old socket is closed.
    """

    def __init__(
        self,
        on_datagram: Callable[[bytes, Address], None],
        on_unreachable: Callable[[], None],
        on_moved: Callable[[], None],
        emulation: Emulation | None = None,
    ) -> None:
        self.refused = 0  #: sends that the kernel did not take
        self._on_datagram, self._on_unreachable = on_datagram, on_unreachable
        self._on_moved = on_moved
        self._emulation = emulation
        self._socket: socket.socket | None = None
        self._transport: asyncio.BaseTransport | None = None
        self._remote: Address | None = None
        self._moving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._bind()
        if self._emulation is not None:
            moving = self._move_every(self._emulation.network.impairments.move_s)
            self._moving = asyncio.create_task(moving, name="moving port")

    def connect(self, remote: Address) -> None:
        """From now on only `remote` is heard, and sent to. Raises OSError."""
        assert self._socket is not None
        self._socket.connect(remote)
        self._remote = remote

    def close(self) -> None:
        """Idempotent; what the network still delays is lost."""
        if self._moving is not None:
            self._moving.cancel()
        if self._transport is not None:
            self._transport.close()
        self._socket = None

    def send(self, data: bytes, address: Address | None = None) -> None:
        """To `address`, or to the one we are connected to."""
        if self._emulation is None:
            self._put(data, address)
        else:
            network = self._emulation.network
            self._pass_on(network.up.arrival, data, partial(self._put, data, address))

    # ---- the socket ---------------------------------------------------------------------

    async def _bind(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        sock.bind(("0.0.0.0", 0))
        if self._remote is not None:
            sock.connect(self._remote)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=sock)
        if self._transport is not None:
            self._transport.close()
        self._socket, self._transport = sock, transport

    async def _move_every(self, interval_s: float) -> None:
        while interval_s < float("inf"):
            await asyncio.sleep(interval_s)
            await self._bind()
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

    def error_received(self, error: Exception) -> None:
        """The kernel tells what ICMP said to whoever calls it first, our send or the loop."""
        if isinstance(error, ConnectionRefusedError) and self._remote is not None:
            self._on_unreachable()

    def datagram_received(self, data: bytes, address: Address) -> None:
        if self._emulation is None:
            self._on_datagram(data, address)
        else:
            network = self._emulation.network
            self._pass_on(network.down.arrival, data, partial(self._deliver, data, address))

    def _deliver(self, data: bytes, address: Address) -> None:
        if self._socket is not None:
            self._on_datagram(data, address)

    # ---- the network --------------------------------------------------------------------

    def _pass_on(
        self,
        arrival: Callable[[int, float], float | None],
        data: bytes,
        arrive: Callable[[], None],
    ) -> None:
        assert self._emulation is not None
        now = asyncio.get_running_loop().time()
        due = arrival(len(data), now)
        if due is None:
            return
        if due <= now:
            arrive()
        else:
            self._emulation.pacer.at(due, lambda due, now: arrive())
