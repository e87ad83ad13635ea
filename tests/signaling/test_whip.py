import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse

from server.core.interviews import InterviewState, Role
from server.signaling.limits import MAX_SDP_BYTES
from tests.signaling.serving import (
    NO_CODEC_OFFER,
    PUBLISH_OFFER,
    WATCH_OFFER,
    Serving,
    receive,
)

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
_VIDEO = PUBLISH_OFFER[PUBLISH_OFFER.index("m=video") :]
WITH_SCREEN = PUBLISH_OFFER.replace("BUNDLE 0 1", "BUNDLE 0 1 2") + _VIDEO.replace(
    "a=mid:1", "a=mid:2"
)
THREE_VIDEOS = WITH_SCREEN.replace("BUNDLE 0 1 2", "BUNDLE 0 1 2 3") + _VIDEO.replace(
    "a=mid:1", "a=mid:3"
)
#: With the credentials of the offers, then with others: RFC 9725 4.3.2 and 4.3.3.
TRICKLE = """a=group:BUNDLE 0 1
m=audio 9 UDP/TLS/RTP/SAVPF 111
a=mid:0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host generation 0
"""
RESTART = TRICKLE.replace("abcd", "ABCD")


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
        (NO_CODEC_OFFER, SDP, (422, "no-common-codec")),
        (PUBLISH_OFFER.replace("VP8", "FOO"), SDP, (422, "unprocessable")),
        (WATCH_OFFER.replace("recvonly", "sendonly", 1), SDP, (422, "unprocessable")),
        (THREE_VIDEOS, SDP, (422, "unprocessable")),
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


async def test_a_player_without_a_codec_of_ours_is_told_so_and_made_no_offer(
    serving: Serving,
) -> None:
    """406 would promise one (draft-ietf-wish-whep, "Server Sends Counter-Offer")."""
    url, offer = f"/whep/{serving.token(Role.OBSERVER)}", NO_CODEC_OFFER.replace("send", "recv")
    async with serving.http.post(url, data=offer, headers=SDP) as answer:
        assert (answer.status, (await answer.json())["error"]["id"]) == (422, "no-common-codec")
        assert answer.content_type == "application/json"
        assert "Location" not in answer.headers


async def test_a_screen_is_taken_as_a_second_video_section(serving: Serving) -> None:
    url = f"/whip/{serving.token(Role.CANDIDATE)}"
    async with serving.http.post(url, data=WITH_SCREEN, headers=SDP) as answer:
        assert answer.status == 201
        assert [line for line in (await answer.text()).splitlines() if line.startswith("m=")] == [
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "m=video 9 UDP/TLS/RTP/SAVPF 96",
            "m=video 9 UDP/TLS/RTP/SAVPF 96",
        ]


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


async def test_offers_that_a_client_disabled_itself_are_no_half_answers(serving: Serving) -> None:
    offer = PUBLISH_OFFER.replace("m=video 9", "m=video 0").replace("BUNDLE 0 1", "BUNDLE 0")
    status, _ = await serving.call(
        "POST", "/whip", serving.token(Role.CANDIDATE), data=offer, headers=SDP
    )
    assert status == 201


# ---- PATCH -------------------------------------------------------------------------------


class Session:
    """An open session, and the headers that go with it."""

    def __init__(self, serving: Serving, opened: ClientResponse, bearer: dict[str, str]) -> None:
        self.serving = serving
        self.url = opened.headers["Location"]
        self.etag = opened.headers["ETag"]
        self.bearer = bearer

    async def patch(self, body: str, **headers: str) -> tuple[int, str, ClientResponse]:
        sent = FRAGMENT | self.bearer | {name.replace("_", "-"): v for name, v in headers.items()}
        async with self.serving.http.patch(self.url, data=body, headers=sent) as answer:
            return answer.status, await answer.text(), answer


@pytest.fixture(params=["whip", "whep", "whip-bearer"])
async def session(serving: Serving, request: pytest.FixtureRequest) -> Session:
    protocol, _, bearer = request.param.partition("-")
    role = Role.CANDIDATE if protocol == "whip" else Role.OBSERVER
    token = serving.token(role)
    headers = serving.bearer(token) if bearer else {}
    url = f"/{protocol}" if bearer else f"/{protocol}/{token}"
    offer = PUBLISH_OFFER if protocol == "whip" else WATCH_OFFER
    async with serving.http.post(url, data=offer, headers=SDP | headers) as opened:
        assert opened.status == 201
        return Session(serving, opened, headers)


async def test_candidates_that_come_later_are_taken_note_of(session: Session) -> None:
    for condition in (session.etag, "*", f'"other", {session.etag}'):
        status, body, answer = await session.patch(TRICKLE, If_Match=condition)
        assert (status, body) == (204, "")
        assert "ETag" not in answer.headers


async def test_new_credentials_restart_ice_and_rename_the_session(session: Session) -> None:
    status, body, answer = await session.patch(RESTART, If_Match="*")
    assert (status, answer.content_type) == (200, FRAGMENT["Content-Type"])
    lines = body.split("\r\n")
    assert lines[:5] == [
        "a=ice-lite",
        "a=ice-options:ice2 trickle",
        "a=group:BUNDLE 0 1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=mid:0",
    ]
    ufrag = re.findall(r"a=ice-ufrag:(\w{4,})\r\na=ice-pwd:(\w{22,})\r\n", body)[0][0]
    assert re.search(r"a=candidate:1 1 udp \d+ 127.0.0.1 \d+ typ host\r\n", body)
    assert lines[-2:] == ["a=end-of-candidates", ""]
    assert answer.headers["ETag"] == f'"{ufrag}"' != session.etag
    # What is for the former ICE session comes too late; the new one takes candidates.
    assert (await session.patch(RESTART, If_Match=session.etag))[0] == 412
    assert (await session.patch(RESTART, If_Match=answer.headers["ETag"]))[0] == 204


async def test_the_star_may_be_quoted_as_in_the_example_of_the_rfc(session: Session) -> None:
    assert (await session.patch(RESTART, If_Match='"*"'))[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (RESTART, {}, (428, "precondition-missing")),
        (TRICKLE, {}, (428, "precondition-missing")),
        (TRICKLE, {"If_Match": '"other"'}, (412, "precondition-failed")),
        (TRICKLE, {"If_Match": 'W/"*"'}, (412, "precondition-failed")),
        (TRICKLE, {"Content_Type": "application/sdp"}, (415, "unsupported-media-type")),
        ("v=0", {"If_Match": "*"}, (400, "bad-sdp")),
        ("", {"If_Match": "*"}, (400, "bad-sdp")),
        (TRICKLE.replace("typ host", "host"), {"If_Match": "*"}, (400, "bad-sdp")),
        (RESTART.replace("ufrag:ABCD", "ufrag:abcd"), {"If_Match": "*"}, (422, "unprocessable")),
        (RESTART.replace("pwd:ABCD", "pwd:abcd"), {"If_Match": "*"}, (422, "unprocessable")),
        ("x" * (MAX_SDP_BYTES + 1), {"If_Match": "*"}, (413, "too-large")),
    ],
)
async def test_a_fragment_that_cannot_be_taken_leaves_the_session_as_it_is(
    session: Session, body: str, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    status, text, answer = await session.patch(body, **headers)
    assert (status, (await answer.json())["error"]["id"]) == expected, text
    assert answer.headers.get("Accept-Patch") == (
        "application/trickle-ice-sdpfrag" if status == 415 else None
    )
    assert (await session.patch(TRICKLE, If_Match=session.etag))[0] == 204


async def test_what_is_over_can_not_be_patched(session: Session) -> None:
    # RFC 9725 4.3.1: the entity-tag means nothing to DELETE.
    bearer = session.bearer
    call = session.serving.call
    for method in ("GET", "HEAD"):
        assert (await call(method, session.url, headers=bearer))[0] == 204
    old = bearer | {"If-Match": '"other"'}
    assert (await call("DELETE", session.url, headers=old))[0] == 200
    assert (await session.patch(RESTART, If_Match="*"))[0] == 404
    assert (await call("GET", session.url, headers=bearer))[0] == 404


async def test_a_replaced_session_can_not_be_patched(serving: Serving) -> None:
    url = f"/whip/{serving.token(Role.CANDIDATE)}"
    async with serving.http.post(url, data=PUBLISH_OFFER, headers=SDP) as opened:
        older = Session(serving, opened, {})
    async with serving.http.post(url, data=PUBLISH_OFFER, headers=SDP) as opened:
        newer = Session(serving, opened, {})
    assert (await older.patch(RESTART, If_Match="*"))[0] == 404
    assert (await newer.patch(RESTART, If_Match="*"))[0] == 200


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "GET"])
async def test_a_session_is_for_its_link_alone(serving: Serving, method: str) -> None:
    token = serving.token(Role.CANDIDATE)
    async with serving.http.post(
        "/whip", data=PUBLISH_OFFER, headers=SDP | serving.bearer(token)
    ) as opened:
        session = Session(serving, opened, {})
    headers = FRAGMENT | {"If-Match": "*"}
    for other, status in ((None, 401), (serving.token(Role.OBSERVER), 403)):
        answer = await serving.call(method, session.url, other, data=RESTART, headers=headers)
        assert answer[0] == status
    other = serving.token(Role.CANDIDATE, serving.two)
    answer = await serving.call(method, session.url, other, data=RESTART, headers=headers)
    assert answer[0] == 404
    assert (await session.patch(TRICKLE, If_Match="*", **serving.bearer(token)))[0] == 204


async def test_a_pages_socket_is_no_session(serving: Serving) -> None:
    token = serving.token(Role.CANDIDATE)
    async with serving.socket(token) as socket:
        await receive(socket, "welcome")
        (interview,) = serving.server.hub.live
        (page,) = interview._audience
        status, _ = await serving.call("DELETE", f"/whip/{token}/{page.id}")
        assert status == 404
        assert page in interview._audience


# ---- pages of other origins, and what else HTTP asks --------------------------------------


@pytest.mark.parametrize("path", ["/whip", "/whip/x", "/whep", "/whep/x"])
async def test_endpoints_say_what_may_be_posted(serving: Serving, path: str) -> None:
    async with serving.http.options(path) as answer:
        assert answer.status == 200
        assert answer.headers["Accept-Post"] == "application/sdp"
        assert "Accept-Patch" not in answer.headers
    for method in ("GET", "HEAD"):
        async with serving.http.request(method, path) as answer:
            assert (answer.status, answer.content_type) == (200, "application/sdp")
            assert await answer.read() == b""
    for method in ("PATCH", "DELETE", "PUT"):
        async with serving.http.request(method, path) as answer:
            assert answer.status == 405
            assert answer.headers["Allow"] == "GET,HEAD,OPTIONS,POST"


@pytest.mark.parametrize("path", ["/whip/x/y", "/whep/session/y"])
async def test_sessions_say_what_may_be_patched(serving: Serving, path: str) -> None:
    async with serving.http.options(path) as answer:
        assert answer.status == 200
        assert answer.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    async with serving.http.post(path) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "DELETE,GET,HEAD,OPTIONS,PATCH"


async def test_wrong_types_are_told_which_would_be_right(serving: Serving) -> None:
    url = f"/whip/{serving.token(Role.CANDIDATE)}"
    async with serving.http.post(url, data="{}", headers={"Content-Type": "text/json"}) as answer:
        assert (answer.status, answer.headers["Accept-Post"]) == (415, "application/sdp")


async def test_pages_of_other_origins_may_use_all_of_it(serving: Serving) -> None:
    url = f"/whip/{serving.token(Role.CANDIDATE)}"
    requests = [
        ("OPTIONS", "/whip", {}, 200),
        ("OPTIONS", "/whep/x/y", {}, 200),
        ("POST", url, SDP, 201),
        ("POST", "/whip", SDP, 401),
        ("POST", url, {}, 415),
        ("PATCH", f"{url}/none", FRAGMENT, 404),
        ("PUT", url, {}, 405),
    ]
    for method, path, headers, status in requests:
        async with serving.http.request(
            method, path, headers=headers, data=PUBLISH_OFFER
        ) as answer:
            assert answer.status == status
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            allowed = answer.headers["Access-Control-Allow-Methods"].split(", ")
            assert {"POST", "PATCH", "DELETE", "OPTIONS"} < set(allowed)
            allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
            assert {"Authorization", "Content-Type", "If-Match"} == set(allowed)
            exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
            assert {"Location", "ETag", "Link"} < set(exposed)
    async with serving.http.get("/api/me") as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
