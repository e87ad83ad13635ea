"""A rough network between a browser and the server: a relay of datagrams that loses and delays.

The browser is told the relay's port instead of the server's; what the server answers goes back
the same way. Each direction is a `loadtest.network.Link`, so a run can be had again by its seed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from playwright.async_api import Page

from loadtest.network import Impairments, Link

#: The page's connection, for its statistics, and its one way to the server.
_THROUGH_RELAY = """
const answered = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
  window.connection = this;
  const lines = sdp.split("\\r\\n")
    .filter((line) => !/^a=candidate:\\S+ 1 tcp /.test(line))
    .map((line) => line.replace(/^(a=candidate:\\S+ 1 udp \\S+ \\S+) \\d+/, "$1 PORT"));
  return answered.call(this, { type, sdp: lines.join("\\r\\n") });
};
"""


class _Half(asyncio.DatagramProtocol):
    """One side's socket: what comes in leaves by the other one, through `link`."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.other: _Half | None = None
        self.to: tuple[str, int] | None = None  #: the far end of this side
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.to = address
        loop = asyncio.get_running_loop()
        arrival = self.link.arrival(len(data), loop.time())
        if arrival is not None and self.other is not None:
            loop.call_at(arrival, self.other.leave, data)

    def leave(self, data: bytes) -> None:
        if self.transport is not None and self.to is not None and not self.transport.is_closing():
            self.transport.sendto(data, self.to)


class RoughPath:
    """From `rough_path`; `down` may be replaced while it runs."""

    def __init__(self, browser: _Half, server: _Half, port: int) -> None:
        self._browser, self._server, self.port = browser, server, port

    def change(self, up: Impairments, down: Impairments, seed: str) -> None:
        """From now on the network is another."""
        self._browser.link, self._server.link = Link(up, f"{seed} up"), Link(down, f"{seed} down")

    @property
    def down(self) -> Link:
        """From the server to the browser."""
        return self._server.link

    async def lead(self, page: Page) -> None:
        """The page's next connection goes this way, and is `window.connection`."""
        await page.add_init_script(_THROUGH_RELAY.replace("PORT", str(self.port)))


@asynccontextmanager
async def rough_path(
    server_port: int, up: Impairments, down: Impairments, seed: str = "rough"
) -> AsyncIterator[RoughPath]:
    loop = asyncio.get_running_loop()
    browser, server = _Half(Link(up, f"{seed} up")), _Half(Link(down, f"{seed} down"))
    browser.other, server.other = server, browser
    server.to = ("127.0.0.1", server_port)
    inner, _ = await loop.create_datagram_endpoint(lambda: browser, ("127.0.0.1", 0))
    outer, _ = await loop.create_datagram_endpoint(lambda: server, ("127.0.0.1", 0))
    try:
        yield RoughPath(browser, server, inner.get_extra_info("sockname")[1])
    finally:
        inner.close()
        outer.close()
