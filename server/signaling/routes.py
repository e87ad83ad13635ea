"""The one table of routes: who may call what. The router and `/openapi.json` are made from it."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from server.core.interviews import Role
from server.recorder.catalog.listing import RecordingSummary
from server.recorder.catalog.receipt import SignedReceipt
from server.recorder.replay.hls import MEDIA_TYPE, SEGMENT_TYPE
from server.recorder.replay.index import ReplayIndex
from server.signaling import api, hls, pages, replay, whip
from server.signaling.access import (
    ANY_ROLE,
    CANDIDATE,
    MANAGERS,
    OBSERVERS,
    OWNER,
    Access,
    Grant,
    token_of,
)
from server.signaling.errors import Refusal, error_middleware
from server.signaling.exports.export import ExportItem, NewExport
from server.signaling.exports.handlers import FILE_TYPE, Exports
from server.signaling.http_connection import answering
from server.signaling.hub import Hub
from server.signaling.invitations import Invitation
from server.signaling.limits import MAX_SDP_BYTES, PER_ADDRESS, KeyedLimit
from server.signaling.metrics import Metrics
from server.signaling.openapi import document
from server.signaling.protocol import ErrorId
from server.signaling.socket import Sockets
from server.signaling.tokens import Claims
from server.signaling.view_log import ViewingItem

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GrantedHandler = Callable[[web.Request, Grant], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """``roles`` None: no token needed. Types are those of the JSON bodies, or a media type."""

    method: str
    path: str
    handler: Handler | GrantedHandler
    summary: str
    roles: frozenset[Role] | None = None
    status: int = 200
    takes: Any = None
    gives: Any = None


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the routes lead to."""

    pages: pages.Pages
    api: api.Api
    replay: replay.Replay
    exports: Exports
    hls: hls.Hls
    whip: whip.Whip
    sockets: Sockets
    metrics: Metrics


def table(to: Handlers) -> tuple[Route, ...]:
    """Every route but the static assets."""
    return (
        *_public(to),
        *_sessions(to),
        *_api(to),
        *_recordings(to),
        *_exports(to),
        *_hls(to),
    )


def _public(to: Handlers) -> tuple[Route, ...]:
    html = tuple(
        Route("GET", path, to.pages.page, "A page of the web client", gives="text/html")
        for path in pages.PAGES
    )
    return (
        *html,
        Route("GET", "/ws", to.sockets.connect, "Signalling (WebSocket)", status=101),
        Route("GET", "/healthz", to.metrics.healthz, "The process answers", gives="text/plain"),
        Route("GET", "/readyz", to.metrics.readyz, "It takes interviews", gives="text/plain"),
        Route(
            "GET",
            "/metrics",
            to.metrics.metrics,
            "For Prometheus; all of it with the bearer token of data/keys/metrics.token",
            gives="text/plain",
        ),
        Route("GET", "/openapi.json", _openapi, "This description", gives=dict[str, Any]),
    )


def _sessions(to: Handlers) -> tuple[Route, ...]:
    sdp, fragment = whip.SDP_TYPE, whip.FRAGMENT_TYPE
    publish, observe = "Publish (WHIP, RFC 9725)", "Observe (WHEP)"
    routes: list[Route] = []
    for protocol, handler, roles, summary in (
        ("whip", to.whip.publish, CANDIDATE, publish),
        ("whep", to.whip.observe, OBSERVERS, observe),
    ):
        for path in (f"/{protocol}", f"/{protocol}/{{token}}"):
            routes += (
                Route("POST", path, handler, summary, roles, 201, takes=sdp, gives=sdp),
                Route("OPTIONS", path, whip.options, "What may be sent here, and CORS preflight"),
                Route("GET", path, whip.discover, f"Nothing to get here; {summary}", gives=sdp),
            )
        path = f"/{protocol}/{{token}}/{{session}}"
        routes += (
            Route("DELETE", path, to.whip.end, f"End: {summary}", roles),
            Route(
                "PATCH",
                path,
                to.whip.patch,
                "ICE restart (200), or candidates that come later (204)",
                roles,
                takes=fragment,
                gives=fragment,
            ),
            Route("GET", path, to.whip.look, "Whether the session exists", roles, 204),
            Route("OPTIONS", path, whip.options, "What may be sent here, and CORS preflight"),
        )
    return tuple(routes)


def _api(to: Handlers) -> tuple[Route, ...]:
    one = "/api/interviews/{interview}/links"
    return (
        Route("GET", "/api/me", to.api.me, "What this link is for", ANY_ROLE, gives=api.Me),
        Route(
            "GET",
            "/api/interviews",
            to.api.interviews,
            "The interviews this link is for, the newest first",
            MANAGERS,
            gives=list[api.InterviewItem],
        ),
        Route(
            "GET",
            "/api/storage",
            to.api.storage,
            "What threatens the recordings here, or may; nothing where all is well",
            MANAGERS,
            gives=list[api.StorageItem],
        ),
        Route(
            "POST",
            "/api/interviews",
            to.api.create_interview,
            "A new interview with its links",
            OWNER,
            201,
            takes=api.NewInterview,
            gives=Invitation,
        ),
        Route("GET", one, to.api.links, "An interview's links", MANAGERS, gives=list[api.LinkItem]),
        Route(
            "POST",
            one,
            to.api.create_link,
            "A new link",
            MANAGERS,
            201,
            takes=api.NewLink,
            gives=api.MadeLink,
        ),
        Route("DELETE", f"{one}/{{link}}", to.api.revoke_link, "Revoke a link", MANAGERS, 204),
    )


def _recordings(to: Handlers) -> tuple[Route, ...]:
    one = "/api/recordings/{interview}"
    media = "application/octet-stream"
    return (
        Route(
            "GET",
            "/api/recordings",
            to.replay.recordings,
            "The recordings this link may see",
            MANAGERS,
            gives=list[RecordingSummary],
        ),
        Route("GET", one, to.replay.index, "What a player needs", MANAGERS, gives=ReplayIndex),
        Route(
            "GET",
            f"{one}/init/{{number:\\d{{1,9}}}}",
            to.replay.init,
            "An init segment for Media Source Extensions",
            MANAGERS,
            gives=media,
        ),
        Route(
            "GET",
            f"{one}/fragment/{{seq:\\d{{1,9}}}}",
            to.replay.fragment,
            "A fragment, decrypted on the fly; the view is logged",
            MANAGERS,
            gives=media,
        ),
        Route(
            "GET",
            f"{one}/pictures/{{seq:\\d{{1,9}}}}",
            to.replay.pictures,
            "When a fragment's pictures begin, in seconds",
            MANAGERS,
            gives=list[float],
        ),
        Route(
            "GET",
            f"{one}/screen/init/{{number:\\d{{1,9}}}}",
            to.replay.screen_init,
            "The same of the shared screen",
            MANAGERS,
            gives=media,
        ),
        Route(
            "GET",
            f"{one}/screen/fragment/{{seq:\\d{{1,9}}}}",
            to.replay.screen_fragment,
            "The screen's pictures in a fragment; the view is logged",
            MANAGERS,
            gives=media,
        ),
        Route(
            "GET",
            f"{one}/interviewer/init/{{number:\\d{{1,9}}}}",
            to.replay.interviewer_init,
            "The same of the interviewer",
            MANAGERS,
            gives=media,
        ),
        Route(
            "GET",
            f"{one}/interviewer/fragment/{{seq:\\d{{1,9}}}}",
            to.replay.interviewer_fragment,
            "The interviewer's picture and sound in a fragment; the view is logged",
            MANAGERS,
            gives=media,
        ),
        Route(
            "GET",
            f"{one}/verify",
            to.replay.verify,
            "Whether the recording is as it was written",
            MANAGERS,
            gives=replay.VerifyResult,
        ),
        Route(
            "GET",
            f"{one}/receipt",
            to.replay.receipt,
            "What was sealed, signed, to be kept and checked by `vivavoce verify`",
            MANAGERS | CANDIDATE,
            gives=SignedReceipt,
        ),
        Route(
            "GET",
            f"{one}/viewings",
            to.replay.viewings,
            "Who read which seconds of the recording, and when",
            MANAGERS | CANDIDATE,
            gives=list[ViewingItem],
        ),
    )


def _exports(to: Handlers) -> tuple[Route, ...]:
    of_one = "/api/recordings/{interview}/exports"
    file, items = "/exports/{ticket}", list[ExportItem]
    json = "application/json"
    return (
        Route(
            "GET",
            of_one,
            to.exports.exports,
            "The exports that were asked for with this link",
            MANAGERS,
            gives=items,
        ),
        Route(
            "POST",
            of_one,
            to.exports.create,
            "Make an MP4 in the background; it is logged as a view",
            MANAGERS,
            201,
            takes=NewExport,
            gives=ExportItem,
        ),
        Route(
            "DELETE",
            f"{of_one}/{{export}}",
            to.exports.remove,
            "Remove an export, or stop it",
            MANAGERS,
            204,
        ),
        # Downloads carry no header of ours: the address is the secret.
        Route("GET", file, to.exports.file, "An export that is ready", gives=FILE_TYPE),
        Route(
            "GET", f"{file}/statement", to.exports.statement, "What was signed of it", gives=json
        ),
    )


def _hls(to: Handlers) -> tuple[Route, ...]:
    """For the players; their token is in the address."""
    one = f"/hls/{{token}}/{{interview}}/{{side:{hls.SIDES}}}"
    playlist, segment = MEDIA_TYPE, SEGMENT_TYPE
    return tuple(
        Route("GET", f"{one}/{name}", handler, summary, MANAGERS, gives=gives)
        for name, handler, summary, gives in (
            ("index.m3u8", to.hls.multivariant, "For a player of HLS: open this", playlist),
            ("event.m3u8", to.hls.event, "Segments so far, while it is recorded", playlist),
            ("vod.m3u8", to.hls.vod, "Segments of what is recorded", playlist),
            (r"{name:[\w-]+\.(?:mp4|m4s)}", to.hls.part, "Media; the view is logged", segment),
        )
    )


async def _openapi(request: web.Request) -> web.Response:
    return api.json_response(request.app[OPENAPI])


#: What the request's token says, where it has a valid one.
_CLAIMS = web.RequestKey("claims", Claims)
OPENAPI: web.AppKey[dict[str, Any]] = web.AppKey("openapi", dict)


def make_app(hub: Hub, access: Access, to: Handlers) -> web.Application:
    """The application with every route, limit and header."""
    app = web.Application(
        middlewares=[answering, error_middleware, _address_limit(access)],
        client_max_size=MAX_SDP_BYTES,
    )
    routes = table(to)
    for route in routes:
        app.router.add_route(route.method, route.path, _guarded(route, access))
        if _has_head(route):
            app.router.add_route("HEAD", route.path, _guarded(route, access))
    to.pages.add_assets(app.router)
    app[OPENAPI] = document(routes)
    app.on_response_prepare.append(pages.add_headers)
    app.on_response_prepare.append(whip.add_headers)
    app.on_shutdown.append(lambda _: hub.shut_down())
    return app


def _has_head(route: Route) -> bool:
    """RFC 9110 9.3.2. Not what reads a recording: each reading is on the record."""
    of_all = route.roles is None and route.status == 200
    return route.method == "GET" and (of_all or "{session}" in route.path)


def _guarded(route: Route, access: Access) -> Handler:
    """The handler behind its check: a valid token, of one of the roles, for that interview."""
    handler: Any = route.handler
    if route.roles is None:
        return handler  # type: ignore[no-any-return]
    roles = route.roles

    async def guarded(request: web.Request) -> web.StreamResponse:
        claims = request.get(_CLAIMS) or access.claims(token_of(request))
        grant = await access.admit(claims)
        grant.allow(roles, request.match_info.get("interview"))
        response: web.StreamResponse = await handler(request, grant)
        return response

    return guarded


def _address_limit(access: Access) -> Any:
    """Of requests that no link answers for: an office of twenty who replay has one address."""
    limit = KeyedLimit(PER_ADDRESS)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            request[_CLAIMS] = access.claims(token_of(request))
        except Refusal as refusal:
            # Assets are left out: fifty people of one office opening a page are no attack.
            free = request.path.startswith(f"{pages.ASSETS}/")
            if not free and not limit.take(request.remote or "", time.monotonic()):
                message = "Too many requests from this address."
                raise Refusal(ErrorId.TOO_MANY_REQUESTS, message) from refusal
        return await handler(request)

    return middleware
