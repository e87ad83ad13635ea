"""Making interviews and links; used by the API and by the command line alike."""

from dataclasses import dataclass

import msgspec

from server.core.interviews import Role
from server.signaling.tokens import Claims, parse, sign
from server.store import Interview, Link, Store

DAY_S = 86_400
#: Interviews are planned days ahead, and a recruiter replays for weeks after.
LINK_LIFETIME_S = 30 * DAY_S
MAX_LIFETIME_S = 366 * DAY_S
#: The owner's link is printed at each start and stays until it is revoked.
OWNER_LIFETIME_S = 10 * 366 * DAY_S

#: The page that a role's link opens. A fragment reaches no log and no referrer (RFC 3986 3.5).
PAGES = {
    Role.CANDIDATE: "/join",
    Role.INTERVIEWER: "/interview",
    Role.OBSERVER: "/observe",
    Role.RECRUITER: "/observe",
    Role.OWNER: "/",
}


class Invitation(msgspec.Struct, frozen=True):
    """An interview and its first links; the tokens are in the URLs."""

    interview_id: str
    title: str
    candidate_url: str
    whip_url: str
    interviewer_url: str
    observer_url: str
    whep_url: str
    recruiter_url: str
    expires_s: int


@dataclass(frozen=True, slots=True)
class Links:
    """How this server's links look: its key and where browsers find it."""

    key: bytes
    base_url: str

    def token(self, link: Link) -> str:
        return sign(self.key, Claims(link.id, link.interview_id, link.role, link.expires_s))

    def url(self, link: Link) -> str:
        return f"{self.base_url}{PAGES[link.role]}#{self.token(link)}"

    def invite(self, store: Store, interview: Interview, now: float) -> Invitation:
        """The first four links of an interview."""
        expires_s = int(now) + LINK_LIFETIME_S
        candidate, interviewer, observer, recruiter = (
            store.create_link(interview.id, role, now, expires_s)
            for role in (Role.CANDIDATE, Role.INTERVIEWER, Role.OBSERVER, Role.RECRUITER)
        )
        return Invitation(
            interview_id=interview.id,
            title=interview.title,
            candidate_url=self.url(candidate),
            whip_url=f"{self.base_url}/whip/{self.token(candidate)}",
            interviewer_url=self.url(interviewer),
            observer_url=self.url(observer),
            whep_url=f"{self.base_url}/whep/{self.token(observer)}",
            recruiter_url=self.url(recruiter),
            expires_s=expires_s,
        )


def invite(store: Store, links: Links, title: str, now: float) -> Invitation:
    """A new interview with its links."""
    return links.invite(store, store.create_interview(title, now), now)


def owner_link(store: Store, now: float) -> Link:
    """The owner's link: the one there is, or a new one if that was revoked or soon expires."""
    for link in store.links(None):
        if link.revoked_s is None and link.expires_s > now + LINK_LIFETIME_S:
            return link
    return store.create_link(None, Role.OWNER, now, int(now) + OWNER_LIFETIME_S)


def link_id_of(key: bytes, text: str) -> str:
    """The link's id from an id, a token, or any URL with the token at its end or in its path.

    Raises TokenError for a token that is not ours. An expired one can be revoked all the same.
    """
    last = text.rpartition("#")[2] if "#" in text else text
    token = next((part for part in last.split("/") if part.startswith("v1.")), None)
    return parse(key, token, now=0).link_id if token else text
