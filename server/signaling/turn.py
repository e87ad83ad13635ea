"""Time-limited credentials for a TURN server, as coturn checks them (`use-auth-secret`).

The scheme is draft-uberti-behave-turn-rest-00: the two servers share a secret, and what a client
gets of it is worth a day. No I/O; the time is an argument.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

from server.signaling.protocol import IceServer

#: draft-uberti-behave-turn-rest-00 2.2. Longer than any interview: a page that restarts ICE
#: allocates anew, with what it was given at its `welcome`.
CREDENTIAL_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Turn:
    """The relays that clients may use; without URLs there is none."""

    urls: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)

    def ice_servers(self, label: str, now: float) -> tuple[IceServer, ...]:
        """For one client, with credentials of its own; `now` in Unix seconds.

        `label` stands in the relay's log, so that it must say nothing of a person.
        """
        if not self.urls:
            return ()
        username = f"{int(now) + CREDENTIAL_S}:{label}"
        mac = hmac.digest(self.secret.encode(), username.encode(), hashlib.sha1)
        return (IceServer(self.urls, username, base64.b64encode(mac).decode()),)


def links(servers: Iterable[IceServer]) -> list[str]:
    """The values of `Link` headers that tell of them (RFC 9725 4.6)."""
    return [
        f'<{url}>; rel="ice-server"; username="{each.username}"; '
        f'credential="{each.credential}"; credential-type="password"'
        for each in servers
        for url in each.urls
    ]
