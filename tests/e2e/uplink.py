"""A home's narrow line between one browser and the server: the load tester's network, for real."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from loadtest.network import Impairments, Link
from server.core.rtp import is_rtcp

SOUND_PAYLOAD_TYPES = (111, 63)  #: Chromium's, of Opus and of RED


@dataclass(frozen=True, slots=True)
class Passage:
    """One datagram of the browser's media."""

    sent_s: float  #: by the event loop's clock
    size: int
    queued_s: float | None  #: beyond the line's own delay; None: it was dropped
    is_audio: bool


class _Side(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._receive(data, address)


class Uplink:
    """Advertise `port` in place of the server's, then `connect` to it."""

    def __init__(self, network: Impairments) -> None:
        self.passages: list[Passage] = []
        self.port = 0
        self._delay_s = network.delay_s
        self._up = Link(network, "up")
        self._browser: tuple[str, int] | None = None
        self._transports: list[asyncio.DatagramTransport] = []

    async def open(self) -> None:
        await self._add(self._from_browser, local_addr=("127.0.0.1", 0))
        self.port = self._transports[0].get_extra_info("sockname")[1]

    async def connect(self, port: int) -> None:
        await self._add(self._from_server, remote_addr=("127.0.0.1", port))

    def close(self) -> None:
        for each in self._transports:
            each.close()

    async def _add(
        self,
        receive: Callable[[bytes, tuple[str, int]], None],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
    ) -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Side(receive), local_addr, remote_addr
        )
        self._transports.append(transport)

    def _from_browser(self, data: bytes, address: tuple[str, int]) -> None:
        self._browser = address
        loop = asyncio.get_running_loop()
        now = loop.time()
        arrival = self._up.arrival(len(data), now)
        if 128 <= data[0] <= 191 and not is_rtcp(data):  # RFC 7983 7
            queued_s = None if arrival is None else arrival - now - self._delay_s
            is_audio = data[1] & 0x7F in SOUND_PAYLOAD_TYPES
            self.passages.append(Passage(now, len(data), queued_s, is_audio))
        if arrival is not None:
            loop.call_at(arrival, self._send, 1, data, None)

    def _from_server(self, data: bytes, address: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._delay_s, self._send, 0, data, self._browser)

    def _send(self, side: int, data: bytes, address: tuple[str, int] | None) -> None:
        if not self._transports[side].is_closing():
            self._transports[side].sendto(data, address)


@asynccontextmanager
async def uplink(network: Impairments) -> AsyncIterator[Uplink]:
    line = Uplink(network)
    await line.open()
    try:
        yield line
    finally:
        line.close()
