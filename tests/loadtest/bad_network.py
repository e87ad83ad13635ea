"""A network between server and observer that delays and drops what it is told to."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

#: Says for a datagram from the server how long it takes in seconds; None: it is lost.
Fault = Callable[[bytes], float | None]


class _Side(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._receive = receive

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._receive(data, address)

    def send(self, data: bytes, address: tuple[str, int] | None = None) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(data, address)  # type: ignore[attr-defined]


class BadNetwork:
    """For one observer; its address is learnt from its first datagram."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._observer: tuple[str, int] | None = None

    @asynccontextmanager
    async def between(self, answer: str) -> AsyncIterator[str]:
        """Stands before the server of `answer`; yields the answer that leads here."""
        loop = asyncio.get_running_loop()
        found = re.search(r"127\.0\.0\.1 (\d+) typ host", answer)
        assert found is not None
        _, self._near = await loop.create_datagram_endpoint(
            lambda: _Side(self._to_server), ("127.0.0.1", 0)
        )
        _, self._far = await loop.create_datagram_endpoint(
            lambda: _Side(self._to_observer), remote_addr=("127.0.0.1", int(found[1]))
        )
        port = self._near.transport.get_extra_info("sockname")[1]
        yield answer.replace(found[0], f"127.0.0.1 {port} typ host")
        self._near.transport.close()
        self._far.transport.close()

    def _to_server(self, data: bytes, address: tuple[str, int]) -> None:
        self._observer = address
        self._far.send(data)

    def _to_observer(self, data: bytes, address: tuple[str, int]) -> None:
        delay_s = self._fault(data)
        if delay_s is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(delay_s, self._near.send, data, self._observer)


def is_video(data: bytes) -> bool:
    """An SRTP packet of the payload types that we offer for video; the header is in the clear."""
    return 128 <= data[0] <= 191 and data[1] & 0x7F in (96, 102)


def is_repair(data: bytes) -> bool:
    """Of the payload types that we offer for repairs of these (RFC 4588)."""
    return 128 <= data[0] <= 191 and data[1] & 0x7F in (97, 103)


def seqno(data: bytes) -> int:
    return data[2] << 8 | data[3]
