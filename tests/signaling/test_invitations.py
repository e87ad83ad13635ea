from collections.abc import Iterator
from pathlib import Path

import pytest

from server.core.interviews import Role
from server.signaling.invitations import (
    LINK_LIFETIME_S,
    OWNER_LIFETIME_S,
    Links,
    invite,
    link_id_of,
    owner_link,
)
from server.signaling.tokens import TokenError, parse
from server.store import Store

KEY = bytes(range(32))
LINKS = Links(KEY, "https://interviews.example")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "db") as opened:
        yield opened


def test_an_invitation_has_a_link_for_each_role(store: Store) -> None:
    made = invite(store, LINKS, "Backend engineer", 1_000.0)
    roles = {link.role for link in store.links(made.interview_id)}
    assert roles == set(Role) - {Role.OWNER}
    assert made.interviewer_url.startswith("https://interviews.example/interview#v1.")
    claims = parse(KEY, made.candidate_url.rpartition("#")[2], 1_000.0)
    assert (claims.role, claims.interview_id) == (Role.CANDIDATE, made.interview_id)
    assert claims.expires_s == 1_000 + LINK_LIFETIME_S == made.expires_s


def test_the_owners_link_is_the_same_at_each_start(store: Store) -> None:
    first = owner_link(store, 1_000.0)
    assert owner_link(store, 2_000.0) == first
    assert LINKS.url(first).startswith("https://interviews.example/#v1.")


def test_a_revoked_or_old_owners_link_is_replaced(store: Store) -> None:
    first = owner_link(store, 1_000.0)
    store.revoke(first.id, 1_001.0)
    second = owner_link(store, 1_002.0)
    third = owner_link(store, 1_000.0 + OWNER_LIFETIME_S)
    assert len({first.id, second.id, third.id}) == 3


def test_a_link_is_named_by_its_id_its_token_or_any_of_its_urls(store: Store) -> None:
    made = invite(store, LINKS, "T", 1_000.0)
    candidate = next(each for each in store.links(made.interview_id) if each.role is Role.CANDIDATE)
    token = LINKS.token(candidate)
    for text in (candidate.id, token, made.candidate_url, made.whip_url, f"{made.whip_url}/abc"):
        assert link_id_of(KEY, text) == candidate.id


def test_anothers_token_names_no_link(store: Store) -> None:
    made = invite(store, LINKS, "T", 1_000.0)
    with pytest.raises(TokenError):
        link_id_of(bytes(32), made.candidate_url)
