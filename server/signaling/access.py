"""Who may do what: from a token to a grant, by the token's MAC, its expiry and the store."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from server.core.interviews import Role
from server.signaling.errors import Refusal
from server.signaling.limits import PER_LINK, KeyedLimit
from server.signaling.protocol import ErrorId
from server.signaling.tokens import Claims, TokenError, parse
from server.store import AsyncStore, Store

CANDIDATE = frozenset({Role.CANDIDATE})
#: Who is seen and heard in an interview, and recorded; everybody else is hidden from the candidate.
SPEAKERS = frozenset({Role.CANDIDATE, Role.INTERVIEWER})
OBSERVERS = frozenset({Role.OBSERVER, Role.RECRUITER, Role.OWNER})
MANAGERS = frozenset({Role.RECRUITER, Role.OWNER})
OWNER = frozenset({Role.OWNER})
ANY_ROLE = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a valid link allows. ``interview_id`` is None for the owner: every interview."""

    link_id: str
    role: Role
    interview_id: str | None

    def allow(self, roles: frozenset[Role], interview_id: str | None) -> None:
        """Raises Refusal unless the role is one of them and the interview is the link's own.

        The answer is the same whether or not another interview exists.
        """
        if self.role not in roles:
            raise Refusal(ErrorId.FORBIDDEN, f"A link for the {self.role} can't be used for this.")
        if interview_id is not None and self.interview_id not in (None, interview_id):
            raise Refusal(ErrorId.FORBIDDEN, "This link is for another interview.")

    def interview(self, named: str | None) -> str:
        """The interview this is about: the link's own, or for an owner the one named."""
        interview_id = self.interview_id or named
        if interview_id is None:
            raise Refusal(ErrorId.FORBIDDEN, "The owner's link must be told which interview.")
        if named not in (None, interview_id):
            raise Refusal(ErrorId.FORBIDDEN, "This link is for another interview.")
        return interview_id


class Access:
    """Checks tokens; each use counts against the link's rate."""

    def __init__(self, key: bytes, db: AsyncStore, clock: Callable[[], float]) -> None:
        self._key = key
        self._db = db
        self._clock = clock  # Unix seconds, of the wall clock: expiry is a date
        self._limit = KeyedLimit(PER_LINK)

    def claims(self, token: str | None) -> Claims:
        """What a genuine token says. Raises Refusal: missing, invalid, expired."""
        if not token:
            raise Refusal(ErrorId.TOKEN_MISSING)
        try:
            return parse(self._key, token, self._clock())
        except TokenError as error:
            raise Refusal(error.id) from error

    async def admit(self, claims: Claims) -> Grant:
        """The grant that they name. Raises Refusal: revoked, unknown, too often."""
        if not self._limit.take(claims.link_id, self._clock()):
            raise Refusal(ErrorId.TOO_MANY_REQUESTS, "Too many requests with this link.")
        link = await self._db.run(Store.link, claims.link_id)
        if link is None:  # signed by us, but for a store that is no more
            raise Refusal(ErrorId.TOKEN_INVALID)
        if link.revoked_s is not None:
            raise Refusal(ErrorId.TOKEN_REVOKED)
        return Grant(link.id, link.role, link.interview_id)


def token_of(request: web.Request) -> str | None:
    """The bearer token (RFC 6750 2.1), or the one in the path of WHIP and WHEP."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return request.match_info.get("token")
