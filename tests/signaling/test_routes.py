"""The matrix: every route with every kind of link, valid, of another interview, and spoilt."""

from typing import Any

import pytest

from server.core.interviews import Role
from server.signaling import openapi, routes, tokens
from server.signaling.api import Api
from server.signaling.exports.handlers import Exports
from server.signaling.hls import Hls
from server.signaling.limits import PER_ADDRESS, PER_LINK
from server.signaling.metrics import Metrics
from server.signaling.pages import ASSETS, Pages
from server.signaling.replay import Replay
from server.signaling.routes import Handlers, Route
from server.signaling.socket import Sockets
from server.signaling.whip import Whip
from server.store import Store
from tests.signaling.serving import PUBLISH_OFFER, WATCH_OFFER, Serving

C, OB, R, OW = Role.CANDIDATE, Role.OBSERVER, Role.RECRUITER, Role.OWNER
IN = Role.INTERVIEWER

#: Who may call what, written out independently of the product's own table.
ALLOWED: dict[tuple[str, str], set[Role]] = {
    ("POST", "/whip"): {C},
    ("POST", "/whip/{token}"): {C},
    ("GET", "/whip/{token}/{session}"): {C},
    ("PATCH", "/whip/{token}/{session}"): {C},
    ("DELETE", "/whip/{token}/{session}"): {C},
    ("POST", "/whep"): {OB, R, OW},
    ("POST", "/whep/{token}"): {OB, R, OW},
    ("GET", "/whep/{token}/{session}"): {OB, R, OW},
    ("PATCH", "/whep/{token}/{session}"): {OB, R, OW},
    ("DELETE", "/whep/{token}/{session}"): {OB, R, OW},
    ("GET", "/api/me"): {C, IN, OB, R, OW},
    ("GET", "/api/interviews"): {R, OW},
    ("GET", "/api/storage"): {R, OW},
    ("POST", "/api/interviews"): {OW},
    ("GET", "/api/interviews/{interview}/links"): {R, OW},
    ("POST", "/api/interviews/{interview}/links"): {R, OW},
    ("DELETE", "/api/interviews/{interview}/links/{link}"): {R, OW},
    ("GET", "/api/recordings"): {R, OW},
    ("GET", "/api/recordings/{interview}"): {R, OW},
    ("GET", "/api/recordings/{interview}/init/{number}"): {R, OW},
    ("GET", "/api/recordings/{interview}/fragment/{seq}"): {R, OW},
    ("GET", "/api/recordings/{interview}/pictures/{seq}"): {R, OW},
    ("GET", "/api/recordings/{interview}/screen/init/{number}"): {R, OW},
    ("GET", "/api/recordings/{interview}/screen/fragment/{seq}"): {R, OW},
    ("GET", "/api/recordings/{interview}/interviewer/init/{number}"): {R, OW},
    ("GET", "/api/recordings/{interview}/interviewer/fragment/{seq}"): {R, OW},
    ("GET", "/api/recordings/{interview}/verify"): {R, OW},
    ("GET", "/api/recordings/{interview}/viewings"): {C, R, OW},
    ("GET", "/api/recordings/{interview}/receipt"): {C, R, OW},
    ("GET", "/api/recordings/{interview}/exports"): {R, OW},
    ("POST", "/api/recordings/{interview}/exports"): {R, OW},
    ("DELETE", "/api/recordings/{interview}/exports/{export}"): {R, OW},
    ("GET", "/hls/{token}/{interview}/{side}/index.m3u8"): {R, OW},
    ("GET", "/hls/{token}/{interview}/{side}/event.m3u8"): {R, OW},
    ("GET", "/hls/{token}/{interview}/{side}/vod.m3u8"): {R, OW},
    ("GET", "/hls/{token}/{interview}/{side}/{name}"): {R, OW},
}
PUBLIC = {"/", "/join", "/interview", "/observe", "/recordings", "/viewings", "/ws"}
PUBLIC |= {"/healthz", "/readyz", "/metrics", "/openapi.json"}
PUBLIC |= {"/exports/{ticket}", "/exports/{ticket}/statement"}  # the address is the secret
PUBLIC |= {"/whip", "/whip/{token}", "/whep", "/whep/{token}"}  # with nothing to get

_NOT_CALLED: Any = None
HANDLERS = Handlers(
    Pages(),
    Api(_NOT_CALLED, _NOT_CALLED, _NOT_CALLED),
    Replay(*(_NOT_CALLED,) * 6),
    Exports(*(_NOT_CALLED,) * 7),
    Hls(_NOT_CALLED),
    Whip(_NOT_CALLED),
    Sockets(_NOT_CALLED, _NOT_CALLED),
    Metrics(_NOT_CALLED, _NOT_CALLED, _NOT_CALLED, "token"),
)
ROUTES = routes.table(HANDLERS)


def guarded() -> list[Route]:
    return [route for route in ROUTES if route.roles is not None]


def name(route: Route) -> tuple[str, str]:
    return route.method, openapi.plain_path(route.path)


async def call(serving: Serving, route: Route, token: str, interview: str) -> tuple[int, Any]:
    path = openapi.plain_path(route.path).format(
        token=token,
        session="none",
        interview=interview,
        link="none",
        export="none",
        number=0,
        seq=1,
        side="candidate",
        print="0" * 8,
        name="1-1.m4s",
    )
    more: dict[str, Any] = {"headers": {}}
    if "{token}" not in route.path:
        more["headers"] |= serving.bearer(token)
    if isinstance(route.takes, str):
        offer = PUBLISH_OFFER if "whip" in path else WATCH_OFFER
        more |= {"data": offer, "params": {"interview": interview}}
        more["headers"] |= {"Content-Type": route.takes}
    elif route.takes is not None:
        more["json"] = {"title": "New", "role": "observer"}
    elif "session" in route.path:
        more["params"] = {"interview": interview}
    return await serving.call(route.method, path, **more)


def test_the_table_is_the_one_that_was_decided() -> None:
    assert {name(route): set(route.roles or ()) for route in guarded()} == ALLOWED
    public = {route.path for route in ROUTES if route.roles is None and route.method == "GET"}
    assert public == PUBLIC


@pytest.mark.parametrize("route", guarded(), ids=lambda r: f"{r.method} {r.path}")
async def test_each_role_reaches_what_it_may_and_nothing_else(
    serving: Serving, route: Route
) -> None:
    for role in Role:
        status, body = await call(serving, route, serving.token(role), serving.one.interview_id)
        if role in ALLOWED[name(route)]:
            assert status in (200, 201, 204, 404), (role, body)
        else:
            assert (status, body["error"]["id"]) == (403, "forbidden"), role


@pytest.mark.parametrize("route", guarded(), ids=lambda r: f"{r.method} {r.path}")
async def test_nobody_but_the_owner_reaches_another_interview(
    serving: Serving, route: Route
) -> None:
    for other in (serving.two.interview_id, "no-such-interview"):
        for role in ALLOWED[name(route)] - {OW}:
            if route.path.startswith("/api/") and "{interview}" not in route.path:
                continue  # about the link's own interview, or all of an owner's
            status, body = await call(serving, route, serving.token(role), other)
            assert (status, body["error"]["id"]) == (403, "forbidden"), role


async def test_lists_hold_only_what_the_link_is_for(serving: Serving) -> None:
    status, me = await serving.call("GET", "/api/me", serving.token(Role.RECRUITER))
    assert (status, me["interview"]["id"]) == (200, serving.one.interview_id)


@pytest.mark.parametrize("route", guarded(), ids=lambda r: f"{r.method} {r.path}")
async def test_spoilt_links_open_nothing(serving: Serving, route: Route) -> None:
    links = serving.server.links
    role = min(ALLOWED[name(route)])
    interview_id = None if role is OW else serving.one.interview_id
    made = await serving.server.db.run(Store.create_link, interview_id, role, 0.0, 2_000_000_000)
    gone = await serving.server.db.run(Store.create_link, interview_id, role, 0.0, 1)
    good = links.token(made)
    forged = tokens.sign(bytes(32), tokens.Claims(made.id, interview_id, role, made.expires_s))
    unknown = tokens.sign(links.key, tokens.Claims("?", interview_id, role, made.expires_s))
    await serving.server.db.run(Store.revoke, made.id, 1.0)
    for token, expected in (
        (good, "token-revoked"),
        (links.token(gone), "token-expired"),
        (forged, "token-invalid"),
        (unknown, "token-invalid"),
        ("v1.x.y", "token-invalid"),
    ):
        status, body = await call(serving, route, token, serving.one.interview_id)
        assert (status, body["error"]["id"]) == (401, expected)
    if "{token}" not in route.path:
        path = openapi.plain_path(route.path).format(
            interview="x", link="y", export="e", number=0, seq=1, session="z"
        )
        status, body = await serving.call(route.method, path)
        assert (status, body["error"]["id"]) == (401, "token-missing")


async def test_too_many_requests_with_one_link_are_refused(serving: Serving) -> None:
    token = serving.token(Role.RECRUITER)
    statuses = [
        (await serving.call("GET", "/api/me", token))[0] for _ in range(int(PER_LINK.burst * 1.5))
    ]
    assert set(statuses) == {200, 429}
    assert (await serving.call("GET", "/api/me", serving.token(Role.OBSERVER)))[0] == 200


async def test_too_many_requests_from_one_address_are_refused(serving: Serving) -> None:
    statuses = {
        (await serving.call("GET", "/healthz"))[0] for _ in range(int(PER_ADDRESS.burst * 2))
    }
    assert statuses == {200, 429}


async def test_who_has_a_link_is_not_refused_for_others_of_the_same_address(
    serving: Serving,
) -> None:
    tokens = [serving.token(role, of) for role in Role for of in (serving.one, serving.two)]
    share = int(1.5 * PER_ADDRESS.burst / (len(tokens) - 2))
    assert share < PER_LINK.burst
    statuses = {
        (await serving.call("GET", "/api/me", token))[0] for token in tokens for _ in range(share)
    }
    assert statuses == {200}
    forged = tokens[0][:-2] + "xx"
    refused = {
        (await serving.call("GET", "/api/me", forged))[0] for _ in range(int(PER_ADDRESS.burst * 2))
    }
    assert refused == {401, 429}, "a token that is not ours answers for nobody"


def test_every_route_of_the_router_is_documented() -> None:
    app = routes.make_app(_NOT_CALLED, _NOT_CALLED, HANDLERS)
    routed = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
        and route.method != "HEAD"
        and not route.resource.canonical.startswith(ASSETS)
    }
    documented = {
        (method.upper(), path)
        for path, operations in app[routes.OPENAPI]["paths"].items()
        for method in operations
    }
    assert documented == {(method, openapi.plain_path(path)) for method, path in routed}
