"""WHIP and WHEP from the client's side: a POST with the offer, a DELETE at the end (RFC 9725)."""

from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=10)


class Refused(Exception):
    """The server refused the request; `status` is its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text.strip()[:200] or 'no reason given'}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Session:
    answer: str
    location: str  #: absolute; DELETE ends the session


async def post_offer(http: aiohttp.ClientSession, url: str, offer: str) -> Session:
    """Raises Refused, or aiohttp.ClientError when there is no server."""
    headers = {"Content-Type": "application/sdp"}
    async with http.post(url, data=offer, headers=headers, timeout=REQUEST_TIMEOUT) as response:
        body = await response.text()
        if response.status != 201:
            raise Refused(response.status, body)
        return Session(body, urljoin(url, response.headers.get("Location", "")))


async def end(http: aiohttp.ClientSession, session: Session) -> None:
    """Ends the session; a server that has ended it already, or is gone, is no error."""
    with suppress(aiohttp.ClientConnectionError, TimeoutError):
        async with http.delete(session.location, timeout=REQUEST_TIMEOUT) as response:
            if response.status not in (200, 204, 404):
                raise Refused(response.status, await response.text())
