import asyncio
import itertools

import pytest

from server.core.interviews import Role
from server.signaling.limits import MAX_JSON_BYTES, MAX_TITLE_CHARS
from tests.signaling.serving import Serving, receive, token_in


async def test_an_owner_makes_an_interview_whose_links_work(serving: Serving) -> None:
    status, made = await serving.call(
        "POST", "/api/interviews", serving.owner, json={"title": " Backend engineer "}
    )
    assert status == 201
    assert made["title"] == "Backend engineer"
    for url, page, role in (
        (made["candidate_url"], "/join#", "candidate"),
        (made["observer_url"], "/observe#", "observer"),
        (made["recruiter_url"], "/observe#", "recruiter"),
    ):
        assert url.startswith(serving.server.base_url + page)
        _, me = await serving.call("GET", "/api/me", token_in(url))
        assert me["role"] == role
        assert me["interview"] == {"id": made["interview_id"], "title": "Backend engineer"}
    assert made["whip_url"].endswith(token_in(made["candidate_url"]))
    assert made["whep_url"].endswith(token_in(made["observer_url"]))


async def test_an_owner_lists_the_interviews_newest_first(serving: Serving) -> None:
    _, listed = await serving.call("GET", "/api/interviews", serving.owner)
    assert [each["title"] for each in listed] == ["Two", "One"]
    assert set(listed[0]) == {"id", "title", "state", "created_s", "started_s", "recording_failed"}


async def test_a_recruiter_lists_its_own_interview_and_no_other(serving: Serving) -> None:
    for invitation in (serving.one, serving.two):
        token = serving.token(Role.RECRUITER, invitation)
        status, listed = await serving.call("GET", "/api/interviews", token)
        assert (status, [each["id"] for each in listed]) == (200, [invitation.interview_id])


async def test_a_recruiter_sees_that_a_recording_has_failed(serving: Serving) -> None:
    recruiter = serving.token(Role.RECRUITER)
    _, (idle,) = await serving.call("GET", "/api/interviews", recruiter)
    async with serving.socket(recruiter) as socket:
        await receive(socket, "welcome")
        live = serving.server.hub.find(serving.one.interview_id)
        assert live is not None
        _, (well,) = await serving.call("GET", "/api/interviews", recruiter)
        live._recording_failed("disk full")
        _, (failed,) = await serving.call("GET", "/api/interviews", recruiter)
    assert [each["recording_failed"] for each in (idle, well, failed)] == [False, False, True]


async def test_what_threatens_all_recordings_is_told_to_those_who_run_interviews(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    recruiter = serving.token(Role.RECRUITER)
    assert await serving.call("GET", "/api/storage", recruiter) == (200, [])
    loop, measured, calls = asyncio.get_running_loop(), asyncio.Event(), itertools.count(1)

    def store_behind_s() -> float:
        if next(calls) == 2:  # what was measured the first time is known
            loop.call_soon_threadsafe(measured.set)
        return 61.0

    monkeypatch.setattr(serving.server.recorder, "store_behind_s", store_behind_s)
    await measured.wait()
    _, told = await serving.call("GET", "/api/storage", recruiter)
    assert [each["id"] for each in told] == ["store-behind"]


async def test_an_owner_has_no_interview_of_its_own(serving: Serving) -> None:
    assert await serving.call("GET", "/api/me", serving.owner) == (
        200,
        {"role": "owner", "interview": None},
    )


async def test_a_recruiter_makes_lists_and_revokes_links(serving: Serving) -> None:
    recruiter = serving.token(Role.RECRUITER)
    path = f"/api/interviews/{serving.one.interview_id}/links"
    status, made = await serving.call(
        "POST", path, recruiter, json={"role": "observer", "expires_in_s": 60}
    )
    assert status == 201
    assert made["expires_s"] - made["created_s"] == pytest.approx(60, abs=1)
    async with serving.socket(token_in(made["url"])) as socket:
        assert (await receive(socket, "welcome"))["role"] == "observer"
    assert (await serving.call("DELETE", f"{path}/{made['id']}", recruiter))[0] == 204
    assert (await serving.call("DELETE", f"{path}/{made['id']}", recruiter))[0] == 204
    _, links = await serving.call("GET", path, recruiter)
    assert {link["id"]: link["revoked"] for link in links}[made["id"]] is True
    roles = ["candidate", "interviewer", "observer", "recruiter", "observer"]
    assert [link["role"] for link in links] == roles
    status, _ = await serving.call("GET", "/api/me", token_in(made["url"]))
    assert status == 401


async def test_nobody_revokes_a_link_of_another_interview(serving: Serving) -> None:
    link = await serving.link(Role.OBSERVER)
    path = f"/api/interviews/{serving.two.interview_id}/links/{link.id}"
    recruiter_of_two = serving.token(Role.RECRUITER, serving.two)
    assert (await serving.call("DELETE", path, recruiter_of_two))[0] == 404
    assert (await serving.call("GET", "/api/me", serving.token(Role.OBSERVER)))[0] == 200


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "bad-message")),
        (b"[]", (400, "bad-message")),
        (b'{"title": 5}', (400, "bad-message")),
        (b'{"title": ""}', (400, "bad-message")),
        (b'{"title": "%s"}' % (b"x" * (MAX_TITLE_CHARS + 1)), (400, "bad-message")),
        (b'{"title": "\xff"}', (400, "bad-message")),
        (b'{"title": "%s"}' % (b"x" * MAX_JSON_BYTES), (413, "too-large")),
    ],
)
async def test_a_bad_interview_is_refused(
    serving: Serving, body: bytes, expected: tuple[int, str]
) -> None:
    status, answer = await serving.call("POST", "/api/interviews", serving.owner, data=body)
    assert (status, answer["error"]["id"]) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"role": "owner"}, (403, "forbidden")),
        ({"role": "king"}, (400, "bad-message")),
        ({"role": "observer", "expires_in_s": 0}, (400, "bad-message")),
        ({"role": "observer", "expires_in_s": 10**12}, (400, "bad-message")),
        ({}, (400, "bad-message")),
    ],
)
async def test_a_bad_link_is_refused(
    serving: Serving, body: dict[str, object], expected: tuple[int, str]
) -> None:
    path = f"/api/interviews/{serving.one.interview_id}/links"
    status, answer = await serving.call("POST", path, serving.owner, json=body)
    assert (status, answer["error"]["id"]) == expected


async def test_answers_about_people_are_not_cached(serving: Serving) -> None:
    headers = serving.bearer(serving.owner)
    async with serving.http.get("/api/interviews", headers=headers) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
