"""WHIP and WHEP from the client's side: a POST with the offer, a DELETE at the end (RFC 9725)."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urljoin

import aiohttp

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=10)
#: A server that hangs must not keep whoever wants to go.
END_TIMEOUT = aiohttp.ClientTimeout(total=3)
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


#: How a refusal begins where only its text is left.
REFUSAL = re.compile(r"HTTP \d{3}: ")


class Refused(Exception):
    """The server refused the request; `status` is its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text.strip()[:200] or 'no reason given'}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Session:
    answer: str
    location: str  #: absolute; DELETE ends the session


class Whip:
    """One session at a WHIP or WHEP endpoint."""

    def __init__(self, http: aiohttp.ClientSession, url: str, bearer: str | None = None) -> None:
        self._http, self._url = http, url
        self._headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        self._session: Session | None = None
        self.location = ""  #: of the last session, which may have ended

    async def exchange(self, offer: str) -> str:
        """The answer. Raises what `post_offer` does."""
        self._session = await post_offer(self._http, self._url, offer, self._headers)
        self.location = self._session.location
        return self._session.answer

    async def end(self) -> None:
        """Ends the session if there is one; idempotent. Raises Refused."""
        session, self._session = self._session, None
        if session is not None:
            await end(self._http, session, self._headers)


async def post_offer(
    http: aiohttp.ClientSession, url: str, offer: str, headers: Mapping[str, str] = NO_HEADERS
) -> Session:
    """Raises Refused, or aiohttp.ClientError when there is no server."""
    headers = {"Content-Type": "application/sdp", **headers}
    async with http.post(url, data=offer, headers=headers, timeout=REQUEST_TIMEOUT) as response:
        body = await response.text()
        if response.status != 201:
            raise Refused(response.status, body)
        return Session(body, urljoin(url, response.headers.get("Location", "")))


async def end(
    http: aiohttp.ClientSession, session: Session, headers: Mapping[str, str] = NO_HEADERS
) -> None:
    """Ends the session; a server that has ended it already, or is gone, is no error."""
    with suppress(aiohttp.ClientConnectionError, TimeoutError):
        async with http.delete(session.location, headers=headers, timeout=END_TIMEOUT) as response:
            if response.status not in (200, 204, 404):
                raise Refused(response.status, await response.text())
