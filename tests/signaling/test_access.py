from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from server.core.interviews import Role
from server.signaling.access import ANY_ROLE, CANDIDATE, Access, Grant, token_of
from server.signaling.errors import Refusal
from server.signaling.invitations import Links
from server.signaling.limits import PER_LINK
from server.signaling.protocol import ErrorId
from server.store import AsyncStore, Store, open_store

LINKS = Links(bytes(32), "")


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[AsyncStore]:
    async with open_store(tmp_path / "db") as opened:
        yield opened


def refused(grant: Grant, roles: frozenset[Role], interview_id: str | None) -> ErrorId | None:
    try:
        grant.allow(roles, interview_id)
    except Refusal as refusal:
        return refusal.id
    return None


async def test_a_grant_is_what_the_store_knows_of_the_link(db: AsyncStore) -> None:
    interview = await db.run(Store.create_interview, "T", 0.0)
    link = await db.run(Store.create_link, interview.id, Role.OBSERVER, 0.0, 100)
    access = Access(LINKS.key, db, lambda: 50.0)
    grant = await access.admit(access.claims(LINKS.token(link)))
    assert grant == Grant(link.id, Role.OBSERVER, interview.id)


async def test_a_link_is_limited_across_its_uses(db: AsyncStore) -> None:
    link = await db.run(Store.create_link, None, Role.OWNER, 0.0, 100)
    access = Access(LINKS.key, db, lambda: 50.0)
    for _ in range(int(PER_LINK.burst)):
        await access.admit(access.claims(LINKS.token(link)))
    with pytest.raises(Refusal) as caught:
        await access.admit(access.claims(LINKS.token(link)))
    assert caught.value.id is ErrorId.TOO_MANY_REQUESTS


def test_a_grant_is_for_its_roles_and_its_interview() -> None:
    candidate = Grant("l", Role.CANDIDATE, "one")
    assert refused(candidate, CANDIDATE, "one") is None
    assert refused(candidate, CANDIDATE, "two") is ErrorId.FORBIDDEN
    assert refused(candidate, ANY_ROLE - CANDIDATE, "one") is ErrorId.FORBIDDEN
    owner = Grant("l", Role.OWNER, None)
    assert refused(owner, ANY_ROLE, "any") is None


def test_only_an_owner_names_an_interview() -> None:
    observer, owner = Grant("l", Role.OBSERVER, "one"), Grant("l", Role.OWNER, None)
    assert observer.interview(None) == observer.interview("one") == "one"
    assert owner.interview("two") == "two"
    for grant, named in ((observer, "two"), (owner, None)):
        with pytest.raises(Refusal):
            grant.interview(named)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", "in-path"),
        ("Bearer", "in-path"),
        ("", "in-path"),
    ],
)
def test_a_bearer_token_comes_before_the_path(header: str, token: str) -> None:
    request = make_mocked_request("POST", "/whip/in-path", headers={"Authorization": header})
    request.match_info["token"] = "in-path"
    assert token_of(request) == token
