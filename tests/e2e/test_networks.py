"""Networks that let no UDP through, and IPv6: a real browser joins and is recorded all the same."""

from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import finished, join, leave, on_the_disk, picture_moves, sounds
from tests.e2e.server_process import ServerProcess, running_server

#: As behind a firewall: the browser never learns of a UDP address. And it remembers its
#: connection, so that the test can ask which way it took.
_NETWORK = """
const answered = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
  window.connection = this;
  const lines = sdp.split("\\r\\n").filter((line) => !/^a=candidate:\\S+ 1 %s /.test(line));
  return answered.call(this, { type, sdp: lines.join("\\r\\n") });
};
"""
_PATH = """async () => {
  const stats = await window.connection.getStats();
  const transport = [...stats.values()].find((each) => each.type === "transport");
  const pair = stats.get(transport.selectedCandidatePairId);
  const remote = stats.get(pair.remoteCandidateId);
  return [remote.protocol, remote.address];
}"""


async def _interview(
    server: ServerProcess, chromium: ChromiumLauncher, without: str
) -> tuple[list[str], list[str]]:
    """From link to verified recording; the paths that candidate and observer took."""
    invited = await server.invite("Backend engineer")
    candidate = await (await chromium.launch()).new_page()
    await candidate.add_init_script(_NETWORK % without)
    await join(candidate, invited["candidate_url"])

    observer = await (await chromium.launch()).new_page()
    await observer.add_init_script(_NETWORK % without)
    await observer.goto(invited["observer_url"])
    await picture_moves(observer)
    await sounds(observer)
    await on_the_disk(server, invited, duration_s=2)
    taken = (await _path(candidate), await _path(observer))
    await leave(candidate)

    await finished(server, invited)
    await server.command("verify", str(server.recording(invited)))
    return taken


async def _path(page: Page) -> list[str]:
    """Protocol and remote address of the path in use."""
    path: list[str] = await page.evaluate(_PATH)
    return path


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("without", "taken"), [("udp", "tcp"), ("none", "udp")])
async def test_an_interview_without_udp_takes_the_port_of_the_pages_and_with_it_udp(
    server: ServerProcess, chromium: ChromiumLauncher, without: str, taken: str
) -> None:
    paths = await _interview(server, chromium, without)
    assert paths == ([taken, "127.0.0.1"], [taken, "127.0.0.1"])


@pytest.mark.timeout(180)
async def test_an_interview_by_ipv6(chromium: ChromiumLauncher, tmp_path: Path) -> None:
    flags = ("--workers", "0", "--host", "::", "--advertise", "::1")
    async with running_server(tmp_path, *flags) as server:
        paths = await _interview(server, chromium, without="tcp")
    assert paths == (["udp", "::1"], ["udp", "::1"])
