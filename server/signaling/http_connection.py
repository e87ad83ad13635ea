"""A connection to the HTTP server: what is no HTTP is answered shortly, and never logged.

Whoever asks nothing, or takes nothing of what was asked for, costs little: such connections are
bounded in time and number.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from server.signaling.errors import Refusal, error_response
from server.signaling.pages import HEADERS
from server.signaling.protocol import ErrorId

log = logging.getLogger(__name__)

#: A connection on which no request, or only a part of its head, has come for so long is closed.
#: A reverse proxy closes its own idle ones before that (nginx: 60 s), so that none is lost to it.
IDLE_S = 75.0
#: Connections on which nothing is asked: the oldest makes room for the newest. A browser keeps up
#: to six, and opens another one when it needs it.
MAX_IDLE = 2048
#: Whoever takes less than a buffer (48 KiB) in so long is no longer waited for.
STALLED_S = 60.0


class HttpConnection(web.RequestHandler):
    """aiohttp's own repeats what it could not parse, which may be a token, and says its version."""

    def __init__(
        self,
        server: web.Server,
        idle: dict["HttpConnection", None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``idle``: those of all connections on which nothing is asked, the oldest first."""
        # None is what aiohttp's own runner gives where nothing is to be logged of a request.
        super().__init__(server, loop=loop, access_log=None, keepalive_timeout=IDLE_S)  # type: ignore[arg-type]
        self._idle = idle
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.rest()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._idle.pop(self, None)
        self._take_up()
        super().connection_lost(exc)

    def work(self) -> None:
        """It is being answered: it is not closed to make room."""
        self._idle.pop(self, None)

    def rest(self) -> None:
        """Nothing is asked any more, or yet."""
        if self.transport is None:
            return
        self._idle[self] = None
        if len(self._idle) > MAX_IDLE:
            next(iter(self._idle)).give_up()

    def give_up(self) -> None:
        """End at once what may never end by itself."""
        self._idle.pop(self, None)
        if self.transport is not None:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = asyncio.get_running_loop().call_later(STALLED_S, self.give_up)

    def resume_writing(self) -> None:
        self._take_up()
        super().resume_writing()

    def _take_up(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Sends what was answered: it rests once all of that is on the way."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.rest()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what can't be parsed; the connection ends with it."""
        if status != 400:  # requests that could be: theirs are answered by `error_middleware`
            return super().handle_error(request, status, exc, message)
        log.debug("no HTTP from %s", request.remote)
        response = error_response(Refusal(ErrorId.BAD_MESSAGE, "This is no HTTP request."))
        response.headers.update(HEADERS)
        response.headers["Server"] = "Vivavoce"  # aiohttp puts its own where there is none
        response.force_close()
        return response


@web.middleware
async def answering(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Tells the connection that it works for a request, until all of the answer is sent."""
    connection = request.protocol
    assert isinstance(connection, HttpConnection)
    connection.work()
    return await handler(request)
