from collections.abc import AsyncIterator

import pytest

from server.core.interviews import InterviewState, Role
from server.signaling.limits import MAX_SDP_BYTES
from tests.signaling.serving import (
    NO_CODEC_OFFER,
    PUBLISH_OFFER,
    WATCH_OFFER,
    Serving,
)

SDP = {"Content-Type": "application/sdp"}


@pytest.mark.parametrize(
    ("protocol", "role", "offer"),
    [("whip", Role.CANDIDATE, PUBLISH_OFFER), ("whep", Role.OBSERVER, WATCH_OFFER)],
)
@pytest.mark.parametrize("in_path", [True, False])
async def test_an_offer_makes_a_session_that_delete_ends(
    serving: Serving, protocol: str, role: Role, offer: str, in_path: bool
) -> None:
    token = serving.token(role)
    url = f"/{protocol}/{token}" if in_path else f"/{protocol}"
    headers = SDP if in_path else SDP | serving.bearer(token)
    async with serving.http.post(url, data=offer, headers=headers) as answer:
        assert answer.status == 201
        assert answer.content_type == "application/sdp"
        assert "a=ice-lite" in await answer.text()
        location = answer.headers["Location"]
    bearer = {} if in_path else serving.bearer(token)
    assert (in_path and token in location) or (not in_path and token not in location)
    assert (await serving.call("DELETE", location, headers=bearer))[0] == 200
    status, body = await serving.call("DELETE", location, headers=bearer)
    assert (status, body["error"]["id"]) == (404, "not-found")


async def test_an_owner_observes_the_interview_it_names(serving: Serving) -> None:
    interview = serving.one.interview_id
    url = f"/whep/{serving.owner}?interview={interview}"
    async with serving.http.post(url, data=WATCH_OFFER, headers=SDP) as answer:
        assert answer.status == 201
        location = answer.headers["Location"]
    assert (await serving.call("DELETE", location))[0] == 200
    assert (await serving.call("POST", "/whep", serving.owner, data=WATCH_OFFER, headers=SDP))[
        0
    ] == 403


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (PUBLISH_OFFER, {"Content-Type": "text/plain"}, (415, "unsupported-media-type")),
        ("v=0", SDP, (400, "bad-sdp")),
        ("", SDP, (400, "bad-sdp")),
        (b"\xff\xfe\x00", SDP, (400, "bad-sdp")),
        (NO_CODEC_OFFER, SDP, (406, "no-common-codec")),
        ("x" * (MAX_SDP_BYTES + 1), SDP, (413, "too-large")),
    ],
)
async def test_a_bad_offer_is_refused_and_nothing_is_recorded(
    serving: Serving, body: str | bytes, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    token = serving.token(Role.CANDIDATE)
    status, answer = await serving.call("POST", f"/whip/{token}", data=body, headers=headers)
    assert (status, answer["error"]["id"]) == expected
    assert await serving.call("GET", "/api/recordings", serving.owner) == (200, [])


async def test_a_body_without_a_length_is_bounded_too(serving: Serving) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 4096

    status, answer = await serving.call(
        "POST", "/whip", serving.token(Role.CANDIDATE), data=endless(), headers=SDP
    )
    assert (status, answer["error"]["id"]) == (413, "too-large")


async def test_one_link_does_not_end_anothers_session(serving: Serving) -> None:
    url = f"/whip/{serving.token(Role.CANDIDATE)}"
    async with serving.http.post(url, data=PUBLISH_OFFER, headers=SDP) as answer:
        session = answer.headers["Location"].rpartition("/")[2]
    other = serving.token(Role.CANDIDATE, serving.two)
    status, _ = await serving.call("DELETE", f"/whip/{other}/{session}")
    assert status == 404
    (interview,) = serving.server.hub.live
    assert interview.state is InterviewState.WAITING
    assert len(interview.open_links) == 1


async def test_pages_of_other_origins_may_ask(serving: Serving) -> None:
    for path in ("/whip", "/whep/x", "/whip/x/y"):
        async with serving.http.options(path) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "DELETE" in answer.headers["Access-Control-Allow-Methods"]
            assert answer.headers["Accept-Post"] == "application/sdp"
