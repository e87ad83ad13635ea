"""WHIP and WHEP clients by others (npm `whip-whep`, `@eyevinn/whip-web-client`), in pages of
another origin.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import PATIENCE_MS, finished
from tests.e2e.server_process import ServerProcess
from tests.project import ROOT

MODULES = ROOT / "node_modules"
CLIENTS = MODULES / "whip-whep"
#: By the names under which they require each other.
EYEVINN = {
    "client": MODULES / "@eyevinn/whip-web-client/dist/whip-client.js",
    "events": MODULES / "events/events.js",
    "sdp-transform": MODULES / "sdp-transform/lib/index.js",
    **{
        f"./{name}": MODULES / f"sdp-transform/lib/{name}.js"
        for name in ("grammar", "parser", "writer")
    },
}

_PUBLISH = """async ([url, token]) => {
  const {WHIPClient} = await import('/client/whip.js');
  const stream = await navigator.mediaDevices.getUserMedia({video: true, audio: true});
  window.pc = new RTCPeerConnection({bundlePolicy: 'max-bundle'});
  for (const track of stream.getTracks()) {
    pc.addTransceiver(track, {direction: 'sendonly', streams: [stream]});
  }
  window.client = new WHIPClient();
  await client.publish(pc, url, token);
}"""
_INGEST = """async ([endpoint, sources]) => {
  const loaded = {};
  const require = (name) => {
    if (!(name in loaded)) {
      const module = { exports: {} };
      loaded[name] = module;
      new Function('module', 'exports', 'require', sources[name])(module, module.exports, require);
    }
    return loaded[name].exports;
  };
  const {WHIPClient} = require('client');
  const stream = await navigator.mediaDevices.getUserMedia({video: true, audio: true});
  window.client = new WHIPClient({
    endpoint,
    opts: {},
    peerConnectionFactory: (configuration) => window.pc = new RTCPeerConnection(configuration),
  });
  await client.ingest(stream);
}"""
_VIEW = """async ([url, token]) => {
  const {WHEPClient} = await import('/client/whep.js');
  window.pc = new RTCPeerConnection({bundlePolicy: 'max-bundle'});
  pc.addTransceiver('audio', {direction: 'recvonly'});
  pc.addTransceiver('video', {direction: 'recvonly'});
  const video = document.querySelector('video');
  video.srcObject = new MediaStream();
  pc.ontrack = ({track}) => video.srcObject.addTrack(track);
  window.client = new WHEPClient();
  await client.view(pc, url, token);
  await video.play();
}"""
#: What the client's own `restart()` does, but for its joining of several candidates.
_RESTART = """async (token) => {
  pc.restartIce();
  await pc.setLocalDescription();
  const credentials = pc.localDescription.sdp.match(/a=ice-(ufrag|pwd):.*\\r\\n/g).slice(0, 2);
  const answered = await fetch(client.resourceURL, {
    method: 'PATCH',
    body: credentials.join(''),
    headers: {
      'Content-Type': 'application/trickle-ice-sdpfrag',
      'If-Match': '*',
      Authorization: `Bearer ${token}`,
    },
  });
  const fragment = await answered.text();
  let sdp = pc.remoteDescription.sdp;
  for (const name of ['ice-ufrag', 'ice-pwd']) {
    const [line] = fragment.match(new RegExp(`a=${name}:.*\\r\\n`));
    sdp = sdp.replace(new RegExp(`a=${name}:.*\\r\\n`, 'g'), line);
  }
  await pc.setRemoteDescription({type: 'answer', sdp});
  return {status: answered.status, etag: answered.headers.get('ETag'), former: client.etag};
}"""
_FRAMES = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"


@pytest.mark.timeout(240)
async def test_clients_by_others_publish_restart_and_view(
    server: ServerProcess, chromium: ChromiumLauncher
) -> None:
    invited = await server.invite("Backend engineer")
    async with _other_origin() as url:
        candidate, observer = [await _page(chromium, url) for _ in range(2)]
        await _interview(server, candidate, observer, invited)
    index = await finished(server, invited)
    assert index["gaps"] == []
    assert set(index["tracks"]) == {"camera", "microphone"}
    assert index["duration_s"] > 1
    await server.command("verify", str(server.recording(invited)))


async def test_a_client_that_gathers_before_it_offers_publishes_and_leaves(
    server: ServerProcess, chromium: ChromiumLauncher
) -> None:
    """Of another origin it can't read that PATCH is allowed, so it does not trickle."""
    invited = await server.invite("Backend engineer")
    endpoint = f"{server.base_url}/whip/{invited['candidate_url'].partition('#')[2]}"
    sources = {name: path.read_text() for name, path in EYEVINN.items()}
    async with _other_origin() as url:
        candidate, observer = [await _page(chromium, url) for _ in range(2)]
        await candidate.evaluate(_INGEST, [endpoint, sources])
        await _connected(candidate)
        await _viewed(observer, f"{server.base_url}/whep", invited["observer_url"])
        for page, end in ((observer, "client.stop()"), (candidate, "client.destroy()")):
            await page.evaluate(end)
    index = await finished(server, invited)
    assert set(index["tracks"]) == {"camera", "microphone"}


async def _interview(
    server: ServerProcess, candidate: Page, observer: Page, invited: dict[str, Any]
) -> None:
    token = invited["candidate_url"].partition("#")[2]
    async with candidate.expect_response(lambda each: each.request.method == "PATCH") as trickled:
        await candidate.evaluate(_PUBLISH, [f"{server.base_url}/whip", token])
    assert (await trickled.value).status == 204
    await _connected(candidate)
    await _viewed(observer, f"{server.base_url}/whep", invited["observer_url"])

    restarted = await candidate.evaluate(_RESTART, token)
    assert restarted["status"] == 200
    assert restarted["etag"] not in (None, restarted["former"])
    await _sends_over(candidate, restarted["etag"])
    await _picture_moves(observer)

    for page in (candidate, observer):
        await page.evaluate("client.stop()")


@asynccontextmanager
async def _other_origin() -> AsyncIterator[str]:
    """The URL of an HTTP server of somebody else, with a page and the clients' modules."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<video muted></video>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_static("/client", CLIENTS)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def _page(chromium: ChromiumLauncher, url: str) -> Page:
    page = await (await chromium.launch()).new_page()
    await page.goto(url)
    return page


async def _connected(page: Page) -> None:
    await page.wait_for_function("pc.connectionState === 'connected'", timeout=PATIENCE_MS)


async def _viewed(page: Page, url: str, observer_url: str) -> None:
    await page.evaluate(_VIEW, [url, observer_url.partition("#")[2]])
    await _connected(page)
    await _picture_moves(page)


async def _picture_moves(page: Page) -> None:
    first = await page.evaluate(_FRAMES)
    await page.wait_for_function(f"(first) => {_FRAMES} > first + 10", arg=first)


async def _sends_over(page: Page, etag: str) -> None:
    """Returns once the pair in use is one of the restarted ICE session, whose name is its ETag."""
    await page.wait_for_function(
        """async (ufrag) => {
          const report = new Map(await pc.getStats());
          const transport = [...report.values()].find((each) => each.type === 'transport');
          const pair = report.get(transport.selectedCandidatePairId);
          return report.get(pair?.remoteCandidateId)?.usernameFragment === ufrag;
        }""",
        arg=etag.strip('"'),
        timeout=PATIENCE_MS,
    )
