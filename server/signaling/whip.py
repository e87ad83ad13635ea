"""WHIP for publishing (RFC 9725) and WHEP for observing (draft-ietf-wish-whep)."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from server.signaling.access import Grant
from server.signaling.errors import Refusal, refusing_offers
from server.signaling.hub import Hub
from server.signaling.interview import LiveInterview
from server.signaling.limits import MAX_SDP_BYTES
from server.signaling.participant import Participant
from server.signaling.protocol import ErrorId

SDP_TYPE = "application/sdp"

#: RFC 9725 4.2: an OPTIONS request is how a page of another origin asks (WHATWG Fetch, CORS).
#: Any origin may: what counts is the token, and no cookie exists that could be misused.
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": "Location",
}


_Negotiate = Callable[[LiveInterview, Participant, str], Awaitable[str]]


class Whip:
    """Both protocols: one offer in, one answer out, a session that DELETE ends."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def publish(self, request: web.Request, grant: Grant) -> web.Response:
        return await self._open(request, grant, LiveInterview.publish)

    async def observe(self, request: web.Request, grant: Grant) -> web.Response:
        return await self._open(request, grant, LiveInterview.watch)

    async def _open(
        self, request: web.Request, grant: Grant, negotiate: _Negotiate
    ) -> web.Response:
        interview_id = grant.interview(request.query.get("interview"))
        offer = await _offer(request)
        participant = Participant(grant.link_id, grant.role)
        interview = await self._hub.enter(interview_id, participant)
        try:
            with refusing_offers():
                answer = await negotiate(interview, participant, offer)
        except BaseException:
            await interview.exit(participant)
            raise
        return _created(request, participant, answer)

    async def end(self, request: web.Request, grant: Grant) -> web.Response:
        """RFC 9725 4.2: DELETE on the session's URL ends it."""
        interview_id = grant.interview(request.query.get("interview"))
        interview = self._hub.find(interview_id)
        session_id = request.match_info["session"]
        participant = interview.session(session_id, grant.link_id) if interview else None
        if interview is None or participant is None:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such session (any more).")
        await interview.hang_up(participant)
        return web.Response(headers=CORS)


async def options(_: web.Request) -> web.Response:
    return web.Response(status=204, headers=CORS | {"Accept-Post": SDP_TYPE})


async def _offer(request: web.Request) -> str:
    if request.content_type != SDP_TYPE:
        raise Refusal(ErrorId.UNSUPPORTED_MEDIA_TYPE, f"The body must be {SDP_TYPE}.")
    body = await request.read()
    if len(body) > MAX_SDP_BYTES:
        raise Refusal(ErrorId.TOO_LARGE, f"An offer has at most {MAX_SDP_BYTES} bytes.")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Refusal(ErrorId.BAD_SDP, "The offer is not UTF-8 text.") from error


def _created(request: web.Request, participant: Participant, answer: str) -> web.Response:
    """RFC 9725 4.2: 201, the answer, and where the session is."""
    endpoint = request.path if "token" in request.match_info else f"{request.path}/session"
    query = f"?{request.query_string}" if request.query_string else ""
    location = f"{endpoint}/{participant.id}{query}"
    return web.Response(
        status=201, text=answer, content_type=SDP_TYPE, headers=CORS | {"Location": location}
    )
