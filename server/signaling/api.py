"""`/api/me`, interviews and links: JSON in, JSON out."""

from typing import Any, TypeVar

import msgspec
from aiohttp import web

from server.core.interviews import InterviewState, Role
from server.signaling.access import Grant
from server.signaling.body import read_body
from server.signaling.errors import Refusal
from server.signaling.hub import Hub
from server.signaling.invitations import LINK_LIFETIME_S, MAX_LIFETIME_S, Links, invite
from server.signaling.limits import MAX_JSON_BYTES, MAX_TITLE_CHARS
from server.signaling.protocol import ErrorId, InterviewInfo
from server.store import AsyncStore, Link, Store

_T = TypeVar("_T")


class Me(msgspec.Struct, frozen=True):
    role: Role
    interview: InterviewInfo | None


class InterviewItem(msgspec.Struct, frozen=True):
    id: str
    title: str
    state: InterviewState
    created_s: float
    started_s: float | None
    recording_failed: bool  #: it is live, and what comes in is not recorded at present


class StorageItem(msgspec.Struct, frozen=True):
    """What holds of all recordings here."""

    id: str  #: `store-behind` or `disk-filling`, as of the alerts of an interview
    since_s: float


class NewInterview(msgspec.Struct, frozen=True):
    title: str


class LinkItem(msgspec.Struct, frozen=True):
    id: str
    role: Role
    created_s: float
    expires_s: int
    revoked: bool


class NewLink(msgspec.Struct, frozen=True):
    role: Role
    expires_in_s: int = LINK_LIFETIME_S


class MadeLink(msgspec.Struct, frozen=True):
    id: str
    role: Role
    created_s: float
    expires_s: int
    revoked: bool
    url: str


def json_response(value: Any, status: int = 200) -> web.Response:
    """``value`` as JSON that no cache keeps: it is about one person's interview."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


async def json_body(request: web.Request, type: type[_T]) -> _T:
    """The request's body. Raises Refusal: too large, too slow, or not that."""
    body = await read_body(request, MAX_JSON_BYTES)
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(ErrorId.BAD_MESSAGE, f"The request's body: {error}") from error


class Api:
    """Handlers; who may call them is in the table of routes."""

    def __init__(self, hub: Hub, db: AsyncStore, links: Links) -> None:
        self._hub = hub
        self._db = db
        self._links = links

    async def me(self, _: web.Request, grant: Grant) -> web.Response:
        info = None
        if grant.interview_id is not None:
            interview = await self._db.run(Store.interview, grant.interview_id)
            info = InterviewInfo(interview.id, interview.title) if interview else None
        return json_response(Me(grant.role, info))

    async def interviews(self, _: web.Request, grant: Grant) -> web.Response:
        rows = await self._db.run(Store.interviews)
        return json_response(
            [
                InterviewItem(
                    r.id,
                    r.title,
                    r.state,
                    r.created_s,
                    r.started_s,
                    self._hub.recording_failed(r.id),
                )
                for r in rows
                if grant.interview_id in (None, r.id)
            ]
        )

    async def storage(self, _: web.Request, grant: Grant) -> web.Response:
        return json_response([StorageItem(each.id, each.since_s) for each in self._hub.storage])

    async def create_interview(self, request: web.Request, grant: Grant) -> web.Response:
        title = (await json_body(request, NewInterview)).title.strip()
        if not 0 < len(title) <= MAX_TITLE_CHARS:
            raise Refusal(ErrorId.BAD_MESSAGE, f"A title has 1 to {MAX_TITLE_CHARS} characters.")
        made = await self._db.run(invite, self._links, title, self._hub.clock())
        return json_response(made, status=201)

    async def links(self, request: web.Request, grant: Grant) -> web.Response:
        interview_id = await self._interview_id(request)
        rows = await self._db.run(Store.links, interview_id)
        return json_response([_item(row) for row in rows])

    async def create_link(self, request: web.Request, grant: Grant) -> web.Response:
        wanted = await json_body(request, NewLink)
        interview_id = await self._interview_id(request)
        if wanted.role is Role.OWNER:
            raise Refusal(ErrorId.FORBIDDEN, "An owner's link is made by the server alone.")
        if not 0 < wanted.expires_in_s <= MAX_LIFETIME_S:
            raise Refusal(
                ErrorId.BAD_MESSAGE, f"expires_in_s is from 1 to {MAX_LIFETIME_S} seconds."
            )
        now = self._hub.clock()
        expires_s = int(now) + wanted.expires_in_s
        link = await self._db.run(Store.create_link, interview_id, wanted.role, now, expires_s)
        made = MadeLink(link.id, link.role, now, expires_s, False, self._links.url(link))
        return json_response(made, status=201)

    async def revoke_link(self, request: web.Request, grant: Grant) -> web.Response:
        """The same answer however often; a link of another interview is not found."""
        link = await self._db.run(Store.link, request.match_info["link"])
        if link is None or link.interview_id != request.match_info["interview"]:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such link.")
        await self._hub.revoke(link.id, self._hub.clock())
        return web.Response(status=204)

    async def _interview_id(self, request: web.Request) -> str:
        interview_id = request.match_info["interview"]
        if await self._db.run(Store.interview, interview_id) is None:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such interview.")
        return interview_id


def _item(link: Link) -> LinkItem:
    return LinkItem(link.id, link.role, link.created_s, link.expires_s, link.revoked_s is not None)
