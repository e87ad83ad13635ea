"""Refusals: one table from error id to HTTP status, one middleware that answers with them."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import msgspec
from aiohttp import web

from server.media.errors import MediaBusy, NoCommonCodec, PartialAnswer, SdpError
from server.signaling.protocol import Connection, Error, ErrorId

log = logging.getLogger(__name__)

#: RFC 9110 15.5; RFC 6585 3 and 4 for 428 and 429.
STATUS: dict[ErrorId, int] = {
    ErrorId.BAD_MESSAGE: 400,
    ErrorId.BAD_SDP: 400,
    ErrorId.UNSUPPORTED_VERSION: 400,
    # RFC 9725 4.4.3. Not 406: there a WHEP player looks for the server's own offer.
    ErrorId.NO_COMMON_CODEC: 422,
    ErrorId.UNPROCESSABLE: 422,
    ErrorId.RESTART_REFUSED: 409,
    ErrorId.PRECONDITION_MISSING: 428,
    ErrorId.PRECONDITION_FAILED: 412,
    ErrorId.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorId.TOKEN_MISSING: 401,
    ErrorId.TOKEN_INVALID: 401,
    ErrorId.TOKEN_EXPIRED: 401,
    ErrorId.TOKEN_REVOKED: 401,
    ErrorId.FORBIDDEN: 403,
    ErrorId.NOT_FOUND: 404,
    ErrorId.RECORDING_LOCKED: 409,
    ErrorId.RECORDING_DAMAGED: 409,
    ErrorId.NOT_SEALED: 409,
    ErrorId.NO_HLS: 406,
    ErrorId.RECORDING_UNREADABLE: 500,
    ErrorId.METHOD_NOT_ALLOWED: 405,
    ErrorId.TOO_LARGE: 413,
    ErrorId.TOO_SLOW: 408,
    ErrorId.TOO_MANY_REQUESTS: 429,
    ErrorId.TOO_MANY_EXPORTS: 429,
    ErrorId.CONSENT_MISSING: 403,
    ErrorId.SERVER_BUSY: 503,
    ErrorId.SERVER_RESTARTING: 503,
    ErrorId.INTERNAL: 500,
}

#: When to try again: an interview may have ended by then; a restart takes some seconds.
RETRY_AFTER_S = {ErrorId.SERVER_BUSY: 10, ErrorId.SERVER_RESTARTING: 2}
#: Where only the moment is too busy, as for who wants to see what runs already: it is over by
#: then, and to ask costs next to nothing.
RETRY_SOON_S = 2

_FROM_AIOHTTP = {
    403: ErrorId.FORBIDDEN,
    404: ErrorId.NOT_FOUND,
    405: ErrorId.METHOD_NOT_ALLOWED,
    413: ErrorId.TOO_LARGE,
}

#: What every refusal of a token says: which part was wrong is nobody's business.
TOKEN_MESSAGES = {
    ErrorId.TOKEN_MISSING: "This needs a link's token.",
    ErrorId.TOKEN_INVALID: "This link is not valid.",
    ErrorId.TOKEN_EXPIRED: "This link has expired.",
    ErrorId.TOKEN_REVOKED: "This link was withdrawn.",
}


class Refusal(Exception):
    """The client's request is refused; the message is for the person who made it.

    `retry_after_s`: when the same may succeed, if it is not as usual for this error.
    """

    def __init__(
        self, id: ErrorId, message: str | None = None, retry_after_s: int | None = None
    ) -> None:
        self.id = id
        self.retry_after_s = retry_after_s or RETRY_AFTER_S.get(id)
        self.message = message or TOKEN_MESSAGES.get(id, "This is not allowed.")
        super().__init__(self.message)


@contextmanager
def refusing_offers() -> Iterator[None]:
    """Media's complaints about an offer are refusals: they speak to whoever sent it."""
    try:
        yield
    except NoCommonCodec as error:
        raise Refusal(ErrorId.NO_COMMON_CODEC, str(error)) from error
    except PartialAnswer as error:
        raise Refusal(ErrorId.UNPROCESSABLE, str(error)) from error
    except SdpError as error:
        raise Refusal(ErrorId.BAD_SDP, str(error)) from error
    except MediaBusy as error:
        raise Refusal(ErrorId.SERVER_BUSY, str(error), RETRY_SOON_S) from error


class ErrorInfo(msgspec.Struct, frozen=True):
    id: ErrorId
    message: str


class ErrorBody(msgspec.Struct, frozen=True):
    error: ErrorInfo


def error_message(
    refusal: Refusal, *, fatal: bool = False, connection: Connection | None = None
) -> Error:
    """The same for a socket."""
    return Error(refusal.id, refusal.message, fatal, refusal.retry_after_s, connection)


def error_response(refusal: Refusal) -> web.Response:
    """The JSON error of `docs/protocol.md`, with its status (RFC 6750 3 asks 401 to say how)."""
    headers = {"Cache-Control": "no-store"}
    if STATUS[refusal.id] == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.retry_after_s is not None:  # RFC 9110 10.2.3
        headers["Retry-After"] = str(refusal.retry_after_s)
    body = msgspec.json.encode(ErrorBody(ErrorInfo(refusal.id, refusal.message)))
    return web.Response(
        body=body, status=STATUS[refusal.id], content_type="application/json", headers=headers
    )


@web.middleware
async def error_middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer each failure with the JSON error; what went wrong inside stays in the log."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return error_response(refusal)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        id = _FROM_AIOHTTP.get(error.status, ErrorId.BAD_MESSAGE)
        response = error_response(Refusal(id, error.reason))
        if "Allow" in error.headers:  # RFC 9110 15.5.6
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:  # the root of one request: it must not say what broke, only that it did
        log.exception("request failed method=%s", request.method)
        return error_response(
            Refusal(ErrorId.INTERNAL, "The server failed to do this; see its log.")
        )
