"""HTTP and media on one TCP port, told apart by the first byte that a connection brings.

So one port number is enough for everything, and on 443 media passes where only HTTPS does.
"""

import asyncio
import socket
from collections.abc import Callable

#: RFC 4571 2: the length of the first STUN check, at most 548, in two bytes. An HTTP request
#: begins with a letter, TLS with 0x16 (RFC 8446 5.1).
_MEDIA = range(3)
#: Browsers connect before they know what they will ask.
FIRST_BYTE_S = 10.0
#: Connections that have brought nothing yet: the oldest makes room for the newest.
MAX_WAITING = 256


class FirstByte:
    """`accepted` takes over a connection; it goes on to `on_media` or to `on_http`, unread."""

    def __init__(
        self,
        on_http: Callable[[socket.socket], None],
        on_media: Callable[[socket.socket], None],
    ) -> None:
        self._on_http, self._on_media = on_http, on_media
        self._waiting: dict[socket.socket, asyncio.TimerHandle] = {}

    def accepted(self, connection: socket.socket) -> None:
        """The connection must not block."""
        if len(self._waiting) >= MAX_WAITING:
            self._give_up(next(iter(self._waiting)))
        loop = asyncio.get_running_loop()
        self._waiting[connection] = loop.call_later(FIRST_BYTE_S, self._give_up, connection)
        loop.add_reader(connection, self._readable, connection)

    def close(self) -> None:
        for connection in list(self._waiting):
            self._give_up(connection)

    def _readable(self, connection: socket.socket) -> None:
        try:
            first = connection.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            first = b""
        if not first:
            self._give_up(connection)
            return
        self._forget(connection)
        if first[0] in _MEDIA:
            self._on_media(connection)
        else:
            self._on_http(connection)

    def _give_up(self, connection: socket.socket) -> None:
        self._forget(connection)
        connection.close()

    def _forget(self, connection: socket.socket) -> None:
        self._waiting.pop(connection).cancel()
        asyncio.get_running_loop().remove_reader(connection)
