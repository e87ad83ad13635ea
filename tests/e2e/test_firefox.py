"""Firefox, whose ICE and SDP are its own: as candidate and as observer, on our pages."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.signaling.addresses import local_addresses
from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.firefox import PROGRAM, FirefoxPage, firefox
from tests.e2e.pages import PATIENCE_MS, finished, join, leave, picture_moves
from tests.e2e.server_process import ServerProcess, running_server

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no Firefox is installed"),
    pytest.mark.xdist_group("browsers"),
]
_TEN_PICTURES = """new Promise((shown) => {
  const video = document.getElementById('video');
  let left = 10;
  const next = () => video.requestVideoFrameCallback(() => --left ? next() : shown());
  next();
})"""

#: As behind a firewall: the browser never learns of a UDP address.
_WITHOUT_UDP = r"""(() => {
  const answered = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    window.connection = this;
    return answered.call(this, { type, sdp: sdp.replace(/a=candidate:\S+ 1 udp .*\r\n/g, "") });
  };
})()"""
#: Once pictures are on their way.
_PROTOCOLS = """new Promise((found) => {
  const look = async () => {
    const stats = [...(await connection.getStats()).values()];
    if (!stats.some(({ framesSent }) => framesSent > 30)) return setTimeout(look, 100);
    found(stats.filter(({ type }) => type === "remote-candidate").map((it) => it.protocol));
  };
  look();
})"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """Its media is at another address than 127.0.0.1, to which Firefox makes no connection.

    Not H.264: a new Firefox has no decoder for it until it has loaded one from its makers.
    """
    others = [address for address in local_addresses() if "." in address]
    if not others:
        pytest.skip("this machine has no network but loopback")
    flags = (
        "--host",
        "0.0.0.0",
        "--advertise",
        others[0],
        "--video-codecs",
        "vp9,vp8",
        "--workers",
        "0",
    )
    async with running_server(tmp_path, *flags) as running:
        yield running


@pytest.mark.timeout(240)
async def test_firefox_is_watched_by_firefox_and_by_chromium(
    server: ServerProcess, chromium: ChromiumLauncher, tmp_path: Path
) -> None:
    invited = await server.invite("Backend engineer")
    async with firefox(tmp_path / "one") as candidate, firefox(tmp_path / "two") as observer:
        await candidate.goto(_here(server, invited["candidate_url"]))
        await _join(candidate)
        await observer.goto(_here(server, invited["observer_url"]))
        await _picture_moves(observer)
        page = await (await chromium.launch()).new_page()
        await page.goto(_here(server, invited["observer_url"]))
        await picture_moves(page)
        await _leave(candidate)
    index = await finished(server, invited)
    assert set(index["tracks"]) == {"camera", "microphone"}
    assert {gap["cause"] for gap in index["gaps"]} <= {"disconnected", "paused"}, (
        "of a busy machine"
    )


@pytest.mark.timeout(240)
async def test_firefox_watches_chromium(
    server: ServerProcess, chromium: ChromiumLauncher, tmp_path: Path
) -> None:
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    await join(candidate, _here(server, invited["candidate_url"]))
    async with firefox(tmp_path / "profile") as observer:
        await observer.goto(_here(server, invited["observer_url"]))
        await _picture_moves(observer)
    await leave(candidate)


@pytest.mark.timeout(240)
async def test_firefox_joins_over_tcp_where_udp_is_blocked(
    server: ServerProcess, tmp_path: Path
) -> None:
    invited = await server.invite("Backend engineer")
    async with firefox(tmp_path / "profile") as candidate:
        await candidate.goto(_here(server, invited["candidate_url"]))
        await candidate.evaluate(_WITHOUT_UDP)
        await _join(candidate)
        async with asyncio.timeout(PATIENCE_MS / 1000):
            assert await candidate.evaluate(_PROTOCOLS) == ["tcp"]
        await _leave(candidate)
    assert set((await finished(server, invited))["tracks"]) == {"camera", "microphone"}


async def _join(page: FirefoxPage) -> None:
    for step in ("#consent", "#consent-go", "#join"):
        await page.click(step)
    await page.until("document.getElementById('recording').dataset.active === 'true'")


async def _leave(page: FirefoxPage) -> None:
    for step in ("#leave", '#leave-dialog button[value="leave"]'):
        await page.click(step)


def _here(server: ServerProcess, url: str) -> str:
    """The same page where browsers give it a camera without TLS."""
    path = urlsplit(url)
    return f"{server.base_url}{path.path}#{path.fragment}"


async def _picture_moves(page: FirefoxPage) -> None:
    async with asyncio.timeout(PATIENCE_MS / 1000):
        await page.evaluate(_TEN_PICTURES)
