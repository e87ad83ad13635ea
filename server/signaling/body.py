"""A request's body, in bounded size and time."""

import asyncio

from aiohttp import web

from server.signaling.errors import Refusal
from server.signaling.protocol import ErrorId

#: The largest, an offer, comes in this time at 30 kbit/s.
BODY_TIMEOUT_S = 20.0


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
