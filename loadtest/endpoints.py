"""Any server that speaks WHIP (RFC 9725) and WHEP, by the addresses of its endpoints."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from loadtest.whip import Whip

#: In an address: the number of the interview, from 1.
NUMBER = "{n}"


class EndpointError(Exception):
    """These addresses cannot be used; the text says why."""


def is_http(url: str) -> bool:
    """Whether a server can be asked there."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port above 65535, half an IPv6 address
        return False


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the two peers of one interview go in; without `whep`, nobody observes."""

    whip: Whip
    whep: Whip | None


@dataclass(frozen=True, slots=True)
class EndpointTemplates:
    """The addresses of all interviews. Raises EndpointError."""

    whip_url: str
    whep_url: str | None
    bearer: str | None
    interviews: int

    def __post_init__(self) -> None:
        given = [url for url in (self.whip_url, self.whep_url) if url is not None]
        for url in given:
            if not is_http(url):
                raise EndpointError(f"not an http or https address: {url!r}")
        # Without observers, one address may well take any number of candidates.
        if self.whep_url and self.interviews > 1 and any(NUMBER not in url for url in given):
            raise EndpointError(
                f"with {self.interviews} interviews both addresses need {NUMBER}, "
                "which the number of the interview replaces"
            )

    @property
    def origin(self) -> str:
        return "{0.scheme}://{0.netloc}".format(urlsplit(self.whip_url))

    def endpoints(self, http: aiohttp.ClientSession, number: int) -> Endpoints:
        """Those of one interview."""
        whip, whep = (
            None if url is None else Whip(http, url.replace(NUMBER, str(number)), self.bearer)
            for url in (self.whip_url, self.whep_url)
        )
        assert whip is not None
        return Endpoints(whip, whep)
