"""Sockets on every address that was asked for, and connections as they come."""

import asyncio
import errno
import ipaddress
import logging
import socket
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Connections that the kernel keeps until they are accepted.
BACKLOG = 512
#: When there is no descriptor left for a connection, some time has to pass.
RETRY_S = 0.5
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def bind(host: str, port: int, kind: socket.SocketKind) -> list[socket.socket]:
    """Sockets bound to `port` (0: any free one) of `host`.

    All addresses of one family mean all of both: then the second socket is the other family's,
    where the machine has it. Raises `OSError`.
    """
    first = _bind(host, port, kind)
    other = _other_family(host)
    if other is None:
        return [first]
    try:
        return [first, _bind(other, first.getsockname()[1], kind)]
    except OSError as error:
        if error.errno in _NO_FAMILY:
            return [first]
        first.close()
        raise


def bind_both(
    host: str, port: int, http_port: int | None
) -> tuple[list[socket.socket], list[socket.socket]]:
    """UDP and TCP sockets of one number (0: one that is free for both), as `bind` has them.

    None for TCP if that is `http_port`, which somebody else has bound. Raises `OSError`.
    """
    udp = bind(host, port, socket.SOCK_DGRAM)
    number = udp[0].getsockname()[1]
    if number == http_port:
        return udp, []
    try:
        return udp, bind(host, number, socket.SOCK_STREAM)
    except OSError as error:
        for each in udp:
            each.close()
        if port or error.errno != errno.EADDRINUSE:
            raise
    return bind_both(host, port, http_port)


def _other_family(host: str) -> str | None:
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return None
    return "::" if address.version == 4 else "0.0.0.0"


def _bind(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        if family == socket.AF_INET6:
            # IPv4 has a socket of its own, so that its addresses look like what they are.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        if kind == socket.SOCK_STREAM:
            made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


async def accept(listener: socket.socket, on_connection: Callable[[socket.socket], None]) -> None:
    """Until cancelled: gives each connection, not blocking, to its new owner."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError as error:
            # Out of descriptors, most likely; the connection waits in the backlog.
            log.warning("no connection can be accepted: %s", error)
            await asyncio.sleep(RETRY_S)
        else:
            on_connection(connection)
