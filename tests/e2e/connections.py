"""The connections of a page as its browser counts them, and ICE restarts of them."""

import asyncio
from typing import Any

from playwright.async_api import Page

from tests.e2e.pages import PATIENCE_MS
from tests.e2e.server_process import POLL_S

_KEEP = """
  window.connections = [];
  window.RTCPeerConnection = class extends window.RTCPeerConnection {
    constructor(configuration) {
      super({...configuration, iceTransportPolicy: '%s'});
      window.connections.push(this);
      this.addEventListener('connectionstatechange', () => {
        if (this.connectionState === 'connected') window.connectedS = Date.now() / 1000;
      });
    }
  };
  window.sockets = [];
  window.WebSocket = class extends window.WebSocket {
    constructor(url) {
      super(url);
      window.sockets.push(this);
    }
  };
"""
_TRANSPORT = """async () => {
  const report = new Map(await window.connections.at(-1).getStats());
  const transport = [...report.values()].find((each) => each.type === 'transport');
  const pair = report.get(transport.selectedCandidatePairId);
  return {
    connections: window.connections.length,
    way: report.get(pair.localCandidateId).candidateType,
    ours: transport.iceLocalUsernameFragment,
    theirs: report.get(pair.remoteCandidateId).usernameFragment,
    packets: transport.packetsSent + transport.packetsReceived,
    dtls: transport.dtlsState,
    cipher: transport.srtpCipher,
  };
}"""


async def keep_connections(page: Page, *, policy: str = "all") -> None:
    """From the next page on; `policy` is an `iceTransportPolicy`."""
    await page.add_init_script(_KEEP % policy)


async def transport(page: Page) -> dict[str, Any]:
    """Of the newest connection, once it is connected: how it goes and what has passed it."""
    told: dict[str, Any] = await page.evaluate(_TRANSPORT)
    return told


async def connected_s(page: Page) -> float:
    """Unix time at which a connection of the page was last connected."""
    at_s: float = await page.evaluate("window.connectedS")
    return at_s


async def restarted(page: Page, before: dict[str, Any]) -> dict[str, Any]:
    """The transport once it works with other ICE credentials on both sides."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while True:
            after = await transport(page)
            if after["ours"] != before["ours"] and after["theirs"] != before["theirs"]:
                return after
            await asyncio.sleep(POLL_S)
