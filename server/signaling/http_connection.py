"""A connection to the HTTP server: what is no HTTP is answered shortly, and never logged."""

import asyncio
import logging

from aiohttp import web

from server.signaling.errors import error_response
from server.signaling.pages import HEADERS
from server.signaling.protocol import ErrorId

log = logging.getLogger(__name__)

#: A connection on which no request, or only a part of its head, has come for so long is closed.
#: A reverse proxy closes its own idle ones before that (nginx: 60 s), so that none is lost to it.
IDLE_S = 75.0


class HttpConnection(web.RequestHandler):
    """aiohttp's own repeats what it could not parse, which may be a token, and says its version."""

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        # None is what aiohttp's own runner gives where nothing is to be logged of a request.
        super().__init__(server, loop=loop, access_log=None, keepalive_timeout=IDLE_S)  # type: ignore[arg-type]

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
        response = error_response(ErrorId.BAD_MESSAGE, "This is no HTTP request.")
        response.headers.update(HEADERS)
        response.headers["Server"] = "Vivavoce"  # aiohttp puts its own where there is none
        response.force_close()
        return response
