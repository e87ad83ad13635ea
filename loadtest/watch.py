"""An observer's WebSocket: how old the indicators are when they arrive (`docs/protocol.md`)."""

import asyncio
import time

import aiohttp
import msgspec

from loadtest.histogram import Histogram

PROTOCOL_VERSION = 1


class _Value(msgspec.Struct):
    end_s: float


class _Message(msgspec.Struct):
    type: str
    values: tuple[_Value, ...] = ()
    message: str = ""  # of an error


_decode = msgspec.json.Decoder(_Message | None).decode


class WatchError(Exception):
    """The server refused or closed the observer's socket; the text is its reason."""


class Watcher:
    """`await run()` in a task of its own; it goes on until it raises or is cancelled."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str) -> None:
        self.latency_s = Histogram()  #: from the end of the measured window to the arrival here
        self.messages = 0
        self.joined = asyncio.Event()
        self._http, self._url, self._token = http, url, token

    async def run(self) -> None:
        """Raises WatchError when the server ends it, aiohttp.ClientError when there is none."""
        async with self._http.ws_connect(f"{self._url}/ws") as socket:
            await socket.send_json(
                {"type": "hello", "version": PROTOCOL_VERSION, "token": self._token}
            )
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self.receive(message.data, time.time())
            raise WatchError(f"closed with code {socket.close_code}")

    def receive(self, text: str, now: float) -> None:
        """Takes one message at `now` (Unix seconds). Raises WatchError for an `error`."""
        try:
            message = _decode(text)
        except msgspec.DecodeError as error:
            raise WatchError(f"not a message of the protocol: {text[:100]!r}") from error
        match message:
            case _Message(type="welcome"):
                self.joined.set()
            case _Message(type="error", message=reason):
                raise WatchError(reason)
            case _Message(type="indicators", values=values):
                self.messages += 1
                for value in values:
                    self.latency_s.add(now - value.end_s)
