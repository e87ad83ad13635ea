"""A request's body, in bounded size and time; a response's, in pieces."""

import asyncio

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from server.signaling.errors import Refusal
from server.signaling.protocol import ErrorId

#: The largest, an offer, comes in this time at 30 kbit/s.
BODY_TIMEOUT_S = 20.0
#: To hand half a megabyte to the kernel at once takes 0.5 ms, in which no packet is forwarded.
PIECE_BYTES = 64 << 10


async def read_body(request: web.Request, most: int) -> bytes:
    """All of it. Raises Refusal: more than ``most`` bytes, or they don't come."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.read()
    except TimeoutError as error:
        message = f"The body did not come within {BODY_TIMEOUT_S:.0f} s."
        raise Refusal(ErrorId.TOO_SLOW, message) from error
    if len(body) > most:
        raise Refusal(ErrorId.TOO_LARGE, f"The body has at most {most} bytes.")
    return body


class Pieces(Payload):
    """A response's whole body, sent in turn with what else the event loop has to do; its first
    piece goes with the head."""

    def __init__(self, body: memoryview) -> None:
        super().__init__(body)
        self._body = body
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._body, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        for start in range(0, len(self._body), PIECE_BYTES):
            await writer.write(self._body[start : start + PIECE_BYTES])
            await asyncio.sleep(0)
