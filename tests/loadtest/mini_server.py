"""A server of known behaviour: the real media plane behind the least signalling.

It makes interviews for a fixed owner token, says no indicator but the ones planted, and can put
a bad network between itself and its observers.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.test_utils import TestServer

from server.config import Endpoint
from server.media.server import MediaServer, Peer, SdpError, Source, open_media
from tests.loadtest.bad_network import BadNetwork

OWNER_TOKEN = "owner"
INDICATOR_INTERVAL_S = 0.1


@dataclass
class MiniServer:
    media: MediaServer
    indicator_age_s: float = 0.2
    records: bool = False
    metrics: str = "vivavoce_event_loop_lag_seconds_max 0.004\n"
    observers_network: BadNetwork | None = None
    url: str = ""
    networks: AsyncExitStack = field(default_factory=AsyncExitStack)
    sources: dict[str, Source] = field(default_factory=dict)
    peers: dict[str, Peer] = field(default_factory=dict)

    #: Publishers that are taken before the rest is refused.
    refuse_after: int | None = None
    #: What publishers wait for at the door.
    let_in: asyncio.Event = field(default_factory=asyncio.Event)
    at_the_door: asyncio.Event = field(default_factory=asyncio.Event)
    #: Interviews' recordings are said to be open, for ever.
    recording: asyncio.Event = field(default_factory=asyncio.Event)
    watched: asyncio.Event = field(default_factory=asyncio.Event)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/metrics", self.get_metrics)
        app.router.add_post("/api/interviews", self.create)
        app.router.add_post("/{kind:whip|whep}/{token}", self.open)
        app.router.add_delete("/{kind:whip|whep}/{token}/{session}", self.end)
        app.router.add_get("/ws", self.watch)
        app.router.add_get("/api/recordings/{token}", self.get_recording)
        return app

    async def healthz(self, request: web.Request) -> web.Response:
        return web.Response()

    async def get_metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=self.metrics)

    async def create(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {OWNER_TOKEN}":
            return web.Response(status=401, text="wrong token")
        token = str(len(self.sources))
        self.sources[token] = Source(token)
        roles = ("candidate_url", "observer_url", "recruiter_url")
        links = {name: f"{self.url}/x#{token}" for name in roles}
        if self.records:
            links["interview_id"] = token
        return web.json_response(links, status=201)

    async def get_recording(self, request: web.Request) -> web.Response:
        self.recording.set()
        return web.json_response({"state": "recording", "fragments": [], "gaps": [], "tracks": []})

    async def open(self, request: web.Request) -> web.Response:
        source = self.sources[request.match_info["token"]]
        whip = request.match_info["kind"] == "whip"
        if whip:
            self.at_the_door.set()
            await self.let_in.wait()
        if whip and self.refuse_after is not None:
            self.refuse_after -= 1
            if self.refuse_after < 0:
                return web.Response(status=503, text="full")
        negotiate = self.media.publish if whip else self.media.observe
        try:
            peer, answer = await negotiate(source, await request.text(), lambda state: None)
        except SdpError as error:
            return web.Response(status=400, text=str(error))
        self.peers[peer.id] = peer
        if not whip and self.observers_network is not None:
            answer = await self.networks.enter_async_context(self.observers_network.between(answer))
        headers = {"Location": f"{request.path}/{peer.id}"}
        return web.Response(
            status=201, text=answer, content_type="application/sdp", headers=headers
        )

    async def end(self, request: web.Request) -> web.Response:
        peer = self.peers.pop(request.match_info["session"], None)
        if peer is None:
            return web.Response(status=404)
        await peer.close()
        return web.Response()

    async def close_media(self) -> None:
        """As a server does that stops: every DTLS association is ended."""
        while self.peers:
            await self.peers.popitem()[1].close()

    async def close_sockets(self) -> None:
        for socket in self.sockets:
            await socket.close()

    async def watch(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        hello = await socket.receive_json()
        assert (hello["type"], hello["version"]) == ("hello", 1)
        await socket.send_json({"type": "welcome", "version": 1})
        self.watched.set()
        sending = asyncio.create_task(self._send_indicators(socket))
        async for _ in socket:
            pass
        sending.cancel()
        return socket

    async def _send_indicators(self, socket: web.WebSocketResponse) -> None:
        while True:
            value = {"name": "voice.loudness", "end_s": time.time() - self.indicator_age_s}
            await socket.send_str(json.dumps({"type": "indicators", "values": [value]}))
            await asyncio.sleep(INDICATOR_INTERVAL_S)


@asynccontextmanager
async def mini_server() -> AsyncIterator[MiniServer]:
    async with open_media("127.0.0.1", 0, [Endpoint("127.0.0.1")]) as media:
        server = MiniServer(media)
        server.let_in.set()
        async with server.networks, TestServer(server.app()) as http:
            server.url = str(http.make_url("")).rstrip("/")
            yield server
