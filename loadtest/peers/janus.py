"""Janus's own API from the client's side: its videoroom plugin over a WebSocket.

https://janus.conf.meetecho.com/docs/rest.html and .../videoroom.html; 1.x ("multistream").
The messages are made and read by pure functions; `JanusPublisher` and `JanusSubscriber` are the
`Signalling` of a candidate and of an observer.
"""

import asyncio
import itertools
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiortc.sdp import SessionDescription

from loadtest import sdp

SUBPROTOCOL = "janus-protocol"
PLUGIN = "janus.plugin.videoroom"
REPLY_TIMEOUT_S = 10.0
#: Janus ends a session of which it has heard nothing for 60 s.
KEEPALIVE_INTERVAL_S = 25.0

Json = dict[str, Any]


#: Of the VideoRoom.
NO_SUCH_FEED = 428


class JanusError(aiohttp.ClientError):
    """Janus refused a request, or said what we do not understand; the text says which."""

    def __init__(self, text: str, code: int | None = None) -> None:
        """``code``: Janus's own."""
        super().__init__(text)
        self.code = code


class _Id(msgspec.Struct):
    id: int


class _Error(msgspec.Struct):
    code: int
    reason: str


class _Plugin(msgspec.Struct):
    data: Json


class _Jsep(msgspec.Struct):
    type: str
    sdp: str


class Reply(msgspec.Struct):
    """What of Janus's messages matters here."""

    janus: str
    transaction: str = ""
    data: _Id | None = None  #: of a success: the new session or handle
    plugindata: _Plugin | None = None
    jsep: _Jsep | None = None
    error: _Error | None = None


_decode = msgspec.json.Decoder(Reply).decode


def read_reply(text: str) -> Reply | None:
    """A message; None for an `ack`, after which the real one follows. Raises JanusError."""
    try:
        reply = _decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise JanusError(f"not a message of Janus: {text[:100]!r}") from error
    if reply.error is not None:
        raise JanusError(f"Janus: {reply.error.reason} ({reply.error.code})", reply.error.code)
    if reply.plugindata is not None and "error" in reply.plugindata.data:
        plugin = reply.plugindata.data
        code = plugin.get("error_code")
        raise JanusError(f"Janus: {plugin['error']} ({code})", code)
    return None if reply.janus == "ack" else reply


def create_room(room: int, rec_dir: Path | None) -> Json:
    """A room for one publisher, recorded where a folder is given."""
    body: Json = {
        "request": "create",
        "room": room,
        "publishers": 1,
        "bitrate": 0,  # no limit
        "audiocodec": "opus",
        "videocodec": "vp8,h264",
        "record": rec_dir is not None,
    }
    return body if rec_dir is None else body | {"rec_dir": str(rec_dir)}


def join_and_publish(room: int) -> Json:
    return {"request": "joinandconfigure", "ptype": "publisher", "room": room, "id": 1}


def join_to_watch(room: int) -> Json:
    streams = [{"feed": 1}]
    return {"request": "join", "ptype": "subscriber", "room": room, "streams": streams}


def answer_offer(ours: str, theirs: str) -> str:
    """The answer to a subscriber's offer of Janus, with the transport of our own receiving offer.

    Raises JanusError for payload types other than those we know, as published ones stay.
    """
    local = SessionDescription.parse(ours).media[0]
    remote = SessionDescription.parse(theirs)
    assert local.ice is not None
    assert local.dtls is not None
    fingerprint = local.dtls.fingerprints[0]
    lines = [
        *("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"),
        "a=group:BUNDLE " + " ".join(media.rtp.muxId for media in remote.media),
    ]
    for media in remote.media:
        codec = media.rtp.codecs[0]
        number = sdp.PAYLOAD_TYPES.get(codec.name.lower())
        if number is None or number != codec.payloadType:
            raise JanusError(f"Janus offers {codec.name} as payload type {codec.payloadType}")
        rtx = sdp.RTX_PAYLOAD_TYPES.get(codec.name.lower())
        repairs = rtx if rtx in (each.payloadType for each in media.rtp.codecs) else None
        lines += [
            f"m={media.kind} 9 UDP/TLS/RTP/SAVPF {codec.payloadType}"
            + (f" {repairs}" if repairs is not None else ""),
            "c=IN IP4 0.0.0.0",
            f"a=ice-ufrag:{local.ice.usernameFragment}",
            f"a=ice-pwd:{local.ice.password}",
            f"a=fingerprint:{fingerprint.algorithm} {fingerprint.value}",
            "a=setup:active",
            f"a=mid:{media.rtp.muxId}",
            "a=recvonly",
            "a=rtcp-mux",
            f"a=rtpmap:{codec.payloadType} {codec.name}/{codec.clockRate}"
            + ("/2" if codec.channels == 2 else ""),
            *(_feedback(number, repairs) if media.kind == "video" else []),
        ]
    return "\r\n".join(lines) + "\r\n"


def _feedback(payload_type: int, repairs: int | None) -> list[str]:
    """Pictures are asked for again, in a stream of their own where that was offered."""
    lines = [f"a=rtcp-fb:{payload_type} {each}" for each in ("nack", "nack pli")]
    if repairs is not None:
        lines += [f"a=rtpmap:{repairs} rtx/90000", f"a=fmtp:{repairs} apt={payload_type}"]
    return lines


class _Handle:
    """A session with one plugin handle, over a WebSocket of its own."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._address: Json = {}
        self._transactions = itertools.count(1)
        self._keeping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises JanusError or aiohttp.ClientError."""
        self._socket = await self._http.ws_connect(self._url, protocols=[SUBPROTOCOL])
        for request, name in (("create", "session_id"), ("attach", "handle_id")):
            reply = await self.request({"janus": request, "plugin": PLUGIN})
            if reply.data is None:
                raise JanusError(f"Janus answers {request} without an id")
            self._address[name] = reply.data.id
        self._keeping = asyncio.create_task(self._keep_alive(), name="janus keepalive")

    async def message(self, body: Json, jsep: Json | None = None) -> Reply:
        """Raises JanusError."""
        with_jsep = {} if jsep is None else {"jsep": jsep}
        return await self.request({"janus": "message", "body": body, **with_jsep})

    async def request(self, request: Json) -> Reply:
        """Raises JanusError."""
        assert self._socket is not None
        transaction = str(next(self._transactions))
        await self._socket.send_json(request | self._address | {"transaction": transaction})
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            async for message in self._socket:
                reply = read_reply(message.data)
                if reply is not None and reply.transaction == transaction:
                    return reply
        raise JanusError("Janus has closed its WebSocket")

    async def _keep_alive(self) -> None:
        assert self._socket is not None
        while True:
            await asyncio.sleep(KEEPALIVE_INTERVAL_S)
            request = {"janus": "keepalive", "transaction": "keepalive"}
            await self._socket.send_json(request | self._address)

    async def close(self) -> None:
        """Ends the session at Janus; idempotent, and it may be opened again."""
        socket, self._socket = self._socket, None
        if self._keeping is not None:
            self._keeping.cancel()
        if socket is not None:
            with suppress(ConnectionError):
                await socket.send_json({"janus": "destroy", "transaction": "end"} | self._address)
            await socket.close()
        self._address = {}


async def make_room(http: aiohttp.ClientSession, url: str, room: int, rec_dir: Path | None) -> None:
    """Raises JanusError or aiohttp.ClientError."""
    handle = _Handle(http, url)
    try:
        await handle.open()
        await handle.message(create_room(room, rec_dir))
    finally:
        await handle.close()


class JanusPublisher:
    """The signalling of a candidate, who is alone in a room that there is already."""

    def __init__(self, http: aiohttp.ClientSession, url: str, room: int) -> None:
        self._handle, self._room = _Handle(http, url), room

    async def exchange(self, offer: str) -> str:
        """The answer. Raises JanusError or aiohttp.ClientError."""
        await self._handle.open()
        jsep = {"type": "offer", "sdp": offer}
        reply = await self._handle.message(join_and_publish(self._room), jsep)
        if reply.jsep is None:
            raise JanusError("Janus takes the publisher without an answer")
        return reply.jsep.sdp

    async def end(self) -> None:
        await self._handle.close()


class JanusSubscriber:
    """The signalling of an observer of the room's publisher. Here Janus makes the offer."""

    def __init__(self, http: aiohttp.ClientSession, url: str, room: int) -> None:
        self._handle, self._room = _Handle(http, url), room

    async def exchange(self, offer: str) -> str:
        """Janus's offer, answered. Raises JanusError or aiohttp.ClientError."""
        await self._handle.open()
        reply = await self._join()
        if reply.jsep is None:
            raise JanusError("Janus takes the subscriber without an offer")
        answer = {"type": "answer", "sdp": answer_offer(offer, reply.jsep.sdp)}
        await self._handle.message({"request": "start"}, answer)
        return reply.jsep.sdp

    async def _join(self) -> Reply:
        """The publisher may be connected a little before Janus says so."""
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            while True:
                try:
                    return await self._handle.message(join_to_watch(self._room))
                except JanusError as error:
                    if error.code != NO_SUCH_FEED:
                        raise
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        await self._handle.close()
