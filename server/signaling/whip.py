"""WHIP for publishing (RFC 9725) and WHEP for observing (draft-ietf-wish-whep-04)."""

from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web
from multidict import CIMultiDict

from server.media.sdp.sdpfrag import parse_fragment
from server.media.server import Peer, SdpError
from server.media.transport.ice import Credentials
from server.signaling.access import Grant
from server.signaling.body import read_body
from server.signaling.errors import Refusal, refusing_offers
from server.signaling.hub import Hub
from server.signaling.interview import LiveInterview
from server.signaling.limits import MAX_SDP_BYTES
from server.signaling.participant import Participant
from server.signaling.protocol import ErrorId
from server.signaling.turn import links

SDP_TYPE = "application/sdp"
#: RFC 8840 9: what PATCH brings.
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"

#: RFC 9725 4.2: an OPTIONS request is how a page of another origin asks (WHATWG Fetch, CORS).
#: Any origin may: what counts is the token, and no cookie exists that could be misused.
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "DELETE, GET, HEAD, OPTIONS, PATCH, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Expose-Headers": "Accept-Patch, Accept-Post, Allow, ETag, Link, Location, "
    "Retry-After",
}


_Negotiate = Callable[[LiveInterview, Participant, str], Awaitable[str]]


class Whip:
    """Both protocols: one offer in, one answer out, a session that DELETE ends."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def publish(self, request: web.Request, grant: Grant) -> web.Response:
        # RFC 9725 4.4.3: half an interview would mislead whoever sends it.
        return await self._open(request, grant, partial(LiveInterview.publish, whole=True))

    async def observe(self, request: web.Request, grant: Grant) -> web.Response:
        return await self._open(request, grant, LiveInterview.watch)

    async def _open(
        self, request: web.Request, grant: Grant, negotiate: _Negotiate
    ) -> web.Response:
        interview_id = grant.interview(request.query.get("interview"))
        offer = await _body(request, SDP_TYPE)
        participant = Participant(grant.link_id, grant.role)
        interview = await self._hub.enter(interview_id, participant)
        try:
            with refusing_offers():
                answer = await negotiate(interview, participant, offer)
        except BaseException:
            await interview.exit(participant)
            raise
        headers = CIMultiDict({"Location": _location(request, participant)})
        headers.extend(("Link", link) for link in links(interview.ice_servers(participant)))
        peer = interview.peer_of(participant)
        if peer is not None:
            headers["ETag"] = _etag(peer)
        return web.Response(status=201, text=answer, content_type=SDP_TYPE, headers=headers)

    async def patch(self, request: web.Request, grant: Grant) -> web.Response:
        """RFC 9725 4.3: candidates that come later, or an ICE restart.

        Candidates are read and let be: this server is ICE-lite and learns addresses from checks.
        """
        body = await _body(request, FRAGMENT_TYPE)
        interview, participant = self._session(request, grant)
        peer = interview.peer_of(participant)
        if peer is None:
            raise _no_session()
        with refusing_offers():
            remote = parse_fragment(body)
        _check_precondition(request, peer)
        if remote == peer.ice.remote:
            return web.Response(status=204)
        return _restarted(interview, peer, remote)

    async def look(self, request: web.Request, grant: Grant) -> web.Response:
        """RFC 9725 4.1: a session has no representation, but GET succeeds."""
        self._session(request, grant)
        return web.Response(status=204)

    async def end(self, request: web.Request, grant: Grant) -> web.Response:
        """RFC 9725 4.2: DELETE on the session's URL ends it, whatever its ICE session."""
        interview, participant = self._session(request, grant)
        await interview.hang_up(participant)
        return web.Response()

    def _session(self, request: web.Request, grant: Grant) -> tuple[LiveInterview, Participant]:
        interview = self._hub.find(grant.interview(request.query.get("interview")))
        session_id = request.match_info["session"]
        participant = interview.session(session_id, grant.link_id) if interview else None
        if interview is None or participant is None:
            raise _no_session()
        return interview, participant


async def options(request: web.Request) -> web.Response:
    """RFC 9725 4.2, RFC 5789 3.1: what may be sent here, to anyone, without a token."""
    headers = {"Accept-Post": SDP_TYPE}
    if "session" in request.match_info:
        headers["Accept-Patch"] = FRAGMENT_TYPE
    return web.Response(headers=headers)


async def discover(_: web.Request) -> web.Response:
    """WHEP-04 4.2: by HEAD a player knows an endpoint; RFC 9725 4.1: GET succeeds, empty."""
    return web.Response(content_type=SDP_TYPE)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: a page of another origin may read refusals too."""
    # RFC 9112 3.2: `OPTIONS *` and CONNECT have no path with a "/" in it.
    if request.path.startswith(("/whip", "/whep")):
        response.headers.update(CORS)
        if response.status == 415:  # RFC 5789 2.2, and likewise for POST
            name = "Accept-Patch" if request.method == "PATCH" else "Accept-Post"
            response.headers[name] = FRAGMENT_TYPE if request.method == "PATCH" else SDP_TYPE


async def _body(request: web.Request, media_type: str) -> str:
    if request.content_type != media_type:
        raise Refusal(ErrorId.UNSUPPORTED_MEDIA_TYPE, f"The body must be {media_type}.")
    body = await read_body(request, MAX_SDP_BYTES)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Refusal(ErrorId.BAD_SDP, "The body is not UTF-8 text.") from error


def _location(request: web.Request, participant: Participant) -> str:
    endpoint = request.path if "token" in request.match_info else f"{request.path}/session"
    query = f"?{request.query_string}" if request.query_string else ""
    return f"{endpoint}/{participant.id}{query}"


def _etag(peer: Peer) -> str:
    """A strong entity-tag that names the ICE session (RFC 9725 4.3.1): our user name."""
    return f'"{peer.ice.ufrag}"'


def _check_precondition(request: web.Request, peer: Peer) -> None:
    """RFC 9725 4.3.1: a fragment is for one ICE session, and so says which, or `*`."""
    header = request.headers.get("If-Match")
    if header is None:
        raise Refusal(ErrorId.PRECONDITION_MISSING, "PATCH needs If-Match: an entity-tag, or *.")
    # The example of RFC 9725 4.3.3 quotes the star; RFC 9110 13.1.1 does not.
    named = [tag.strip() for tag in header.split(",")]
    if not {"*", '"*"', _etag(peer)}.intersection(named):
        raise Refusal(ErrorId.PRECONDITION_FAILED, "This is another ICE session by now.")


def _restarted(interview: LiveInterview, peer: Peer, remote: Credentials) -> web.Response:
    try:
        answer = interview.restart_by_fragment(peer, remote)
    except SdpError as error:
        raise Refusal(ErrorId.UNPROCESSABLE, str(error)) from error
    return web.Response(text=answer, content_type=FRAGMENT_TYPE, headers={"ETag": _etag(peer)})


def _no_session() -> Refusal:
    return Refusal(ErrorId.NOT_FOUND, "There is no such session (any more).")
