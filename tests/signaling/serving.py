"""A whole server in this process, on free ports, with everything real but the analysis workers."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from aiohttp import ClientSession, ClientWebSocketResponse

from server.app import Server, open_server
from server.config import Config
from server.core.interviews import Role
from server.data_dir import metrics_token
from server.signaling import admission
from server.signaling.invitations import Invitation, invite
from server.signaling.protocol import PROTOCOL_VERSION
from server.store import Link, Store

#: An offer of a browser with camera and microphone, as short as this server takes it.
_OFFER = """v=0
o=- 1 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=mid:0
a={direction}
a=rtcp-mux
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=fingerprint:sha-256 {fingerprint}
a=setup:actpass
a=rtpmap:111 opus/48000/2
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=mid:1
a={direction}
a=rtcp-mux
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=fingerprint:sha-256 {fingerprint}
a=setup:actpass
a=rtpmap:96 VP8/90000
"""


def _offer(direction: str) -> str:
    text = _OFFER.format(direction=direction, fingerprint=":".join(["AB"] * 32))
    return text.replace("\n", "\r\n")


PUBLISH_OFFER = _offer("sendonly")
WATCH_OFFER = _offer("recvonly")
NO_CODEC_OFFER = PUBLISH_OFFER.replace("VP8", "FOO").replace("opus", "bar")


class Serving:
    """The server, a client for it, and links of every role to two interviews."""

    def __init__(self, server: Server, http: ClientSession, data_dir: Path) -> None:
        self.server = server
        self.data_dir = data_dir
        self.http = http
        self.owner = token_in(server.owner_url)
        self.metrics = ""  #: the token that reads them
        self.one: Invitation
        self.two: Invitation

    async def make_interviews(self) -> None:
        self.metrics = await asyncio.to_thread(metrics_token, self.data_dir)
        self.one = await self.server.db.run(invite, self.server.links, "One", _now(self) - 2)
        self.two = await self.server.db.run(invite, self.server.links, "Two", _now(self) - 1)

    def token(self, role: Role, of: Invitation | None = None) -> str:
        of = of or self.one
        urls = {
            Role.CANDIDATE: of.candidate_url,
            Role.INTERVIEWER: of.interviewer_url,
            Role.OBSERVER: of.observer_url,
            Role.RECRUITER: of.recruiter_url,
        }
        return self.owner if role is Role.OWNER else token_in(urls[role])

    async def link(self, role: Role) -> Link:
        links = await self.server.db.run(Store.links, self.one.interview_id)
        return next(link for link in links if link.role is role)

    def bearer(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    async def call(
        self, method: str, path: str, token: str | None = None, **more: Any
    ) -> tuple[int, Any]:
        """Status, and the body as JSON where it is some."""
        headers = more.pop("headers", {}) | (self.bearer(token) if token else {})
        async with self.http.request(method, path, headers=headers, **more) as answer:
            text = await answer.read()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(text) if is_json else text

    @asynccontextmanager
    async def socket(self, token: str, **hello: Any) -> AsyncIterator[ClientWebSocketResponse]:
        """A socket that has said hello."""
        async with self.http.ws_connect("/ws") as socket:
            await socket.send_json(
                {"type": "hello", "version": PROTOCOL_VERSION, "token": token} | hello
            )
            yield socket


def token_in(url: str) -> str:
    return url.rpartition("#")[2]


def _now(serving: Serving) -> float:
    return serving.server.hub.clock()


async def receive(socket: ClientWebSocketResponse, type: str) -> dict[str, Any]:
    """The next message of that type; others in between are passed over."""
    while True:
        message: dict[str, Any] = await socket.receive_json(timeout=10)
        if message["type"] == type:
            return message


@asynccontextmanager
async def open_serving(folder: Path, **settings: Any) -> AsyncIterator[Serving]:
    config = Config(data_dir=folder / "data", port=0, **({"workers": 0} | settings))
    # The test shares the loop that measures itself, and a busy machine is nobody's fault here.
    unlimited = dict.fromkeys(admission.LIMITS, admission.Limits(math.inf, math.inf, math.inf))
    with mock.patch.dict(admission.LIMITS, unlimited):
        async with open_server(config) as server, ClientSession(server.base_url) as http:
            serving = Serving(server, http, config.data_dir)
            await serving.make_interviews()
            yield serving
