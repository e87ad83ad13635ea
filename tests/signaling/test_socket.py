"""`/ws` over real sockets, with real media behind it."""

import asyncio
import contextlib
import json
import re
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from server.core.indicators import Indicator
from server.core.interviews import Role
from server.signaling import socket as socket_module
from server.signaling.errors import Refusal
from server.signaling.limits import MAX_MESSAGE_BYTES, PER_SOCKET
from server.signaling.protocol import PROTOCOL_VERSION, ErrorId
from server.signaling.socket import decode
from tests.signaling.serving import (
    NO_CODEC_OFFER,
    PUBLISH_OFFER,
    WATCH_OFFER,
    Serving,
    receive,
)


async def closed_with(socket: ClientWebSocketResponse) -> tuple[str | None, int | None]:
    """The id of the last error, and the close code."""
    error = None
    async for frame in socket:
        message = json.loads(frame.data)
        if message["type"] == "error":
            error = message["id"]
    return error, socket.close_code


async def still_serves(serving: Serving) -> bool:
    async with serving.socket(serving.token(Role.OBSERVER)) as socket:
        await receive(socket, "welcome")
        await socket.send_json({"type": "ping", "id": 5})
        return bool((await receive(socket, "pong"))["id"] == 5)


@pytest.mark.parametrize("role", [Role.CANDIDATE, Role.OBSERVER, Role.RECRUITER])
async def test_hello_is_answered_with_welcome(serving: Serving, role: Role) -> None:
    async with serving.socket(serving.token(role)) as socket:
        welcome = await receive(socket, "welcome")
    assert welcome["version"] == PROTOCOL_VERSION
    assert welcome["role"] == role
    assert welcome["interview"] == {"id": serving.one.interview_id, "title": "One"}


async def test_what_comes_right_behind_hello_is_answered_after_the_welcome(
    serving: Serving,
) -> None:
    hello = {"type": "hello", "version": 1, "token": serving.token(Role.OBSERVER)}
    async with serving.http.ws_connect("/ws") as socket:
        await socket.send_json(hello)
        await socket.send_json({"type": "watch", "sdp": WATCH_OFFER})
        assert (await socket.receive_json())["type"] == "welcome"
        assert (await receive(socket, "answer"))["connection"] == "down"


async def test_an_owner_names_the_interview(serving: Serving) -> None:
    async with serving.socket(serving.owner, interview=serving.two.interview_id) as socket:
        assert (await receive(socket, "welcome"))["interview"]["title"] == "Two"
    async with serving.socket(serving.owner) as socket:
        assert await closed_with(socket) == ("forbidden", 4403)
    async with serving.socket(serving.owner, interview="nothing") as socket:
        assert await closed_with(socket) == ("not-found", 4404)


async def test_nobody_else_reaches_another_interview(serving: Serving) -> None:
    for role in (Role.CANDIDATE, Role.OBSERVER, Role.RECRUITER):
        other = serving.two.interview_id
        async with serving.socket(serving.token(role), interview=other) as socket:
            assert await closed_with(socket) == ("forbidden", 4403)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ({"type": "ping", "id": 1}, ("bad-message", 4400)),
        ({"type": "hello", "version": 99, "token": "x"}, ("unsupported-version", 4400)),
        ({"type": "hello", "version": 1, "token": "x"}, ("token-invalid", 4401)),
        ({"type": "hello", "version": 1, "token": ""}, ("token-missing", 4401)),
        ({"type": "hello", "version": "1", "token": "x"}, ("bad-message", 4400)),
        (["hello"], ("bad-message", 4400)),
    ],
)
async def test_a_bad_handshake_is_refused(
    serving: Serving, first: Any, expected: tuple[str, int]
) -> None:
    async with serving.http.ws_connect("/ws") as socket:
        await socket.send_json(first)
        assert await closed_with(socket) == expected


async def test_who_speaks_has_two_connections_that_are_told_apart(serving: Serving) -> None:
    for role in (Role.CANDIDATE, Role.INTERVIEWER):
        async with serving.socket(serving.token(role)) as socket:
            await socket.send_json({"type": "watch", "sdp": WATCH_OFFER})
            await socket.send_json({"type": "publish", "sdp": PUBLISH_OFFER, "consent": True})
            answers = [await receive(socket, "answer") for _ in range(2)]
            assert [each["connection"] for each in answers] == ["down", "up"]
            assert ["a=sendonly" in each["sdp"] for each in answers] == [True, False]
            restart = {"type": "restart", "sdp": WATCH_OFFER.replace("abcd", "ABCD")}
            await socket.send_json({**restart, "connection": "down"})
            answer = await receive(socket, "answer")
            assert (answer["connection"], "a=sendonly" in answer["sdp"]) == ("down", True)
            await socket.send_json({"type": "watch", "sdp": "v=1"})
            await socket.send_json({"type": "publish", "sdp": PUBLISH_OFFER, "consent": False})
            await socket.send_json({"type": "hello", "version": 1, "token": ""})
            refused = [await receive(socket, "error") for _ in range(3)]
            assert [each["connection"] for each in refused] == ["down", "up", None]


async def test_publish_and_watch_are_answered(serving: Serving) -> None:
    async with serving.socket(serving.token(Role.CANDIDATE)) as candidate:
        await candidate.send_json({"type": "publish", "sdp": PUBLISH_OFFER, "consent": True})
        assert "a=ice-lite" in (await receive(candidate, "answer"))["sdp"]
        async with serving.socket(serving.token(Role.OBSERVER)) as observer:
            await observer.send_json({"type": "watch", "sdp": WATCH_OFFER})
            assert "a=ice-lite" in (await receive(observer, "answer"))["sdp"]
            await candidate.send_json({"type": "unshare"})
            await candidate.send_json({"type": "ping", "id": 1})
            assert (await receive(candidate, "pong"))["id"] == 1
            await candidate.send_json({"type": "leave"})


@pytest.mark.parametrize(
    ("role", "offer"), [(Role.CANDIDATE, PUBLISH_OFFER), (Role.OBSERVER, WATCH_OFFER)]
)
async def test_a_restart_is_answered_or_refused_by_name(
    serving: Serving, role: Role, offer: str
) -> None:
    restart = {"type": "restart", "sdp": offer.replace("abcd", "ABCD")}
    first: dict[str, Any] = {"type": "watch", "sdp": offer}
    if role is Role.CANDIDATE:
        first = {"type": "publish", "sdp": offer, "consent": True}
    async with serving.socket(serving.token(role)) as socket:
        await socket.send_json(restart)
        assert (await receive(socket, "error"))["id"] == "restart-refused"
        await socket.send_json(first)
        before = (await receive(socket, "answer"))["sdp"]
        await socket.send_json(restart)
        after = (await receive(socket, "answer"))["sdp"]
        await socket.send_json(restart | {"sdp": offer})
        again = (await receive(socket, "answer"))["sdp"]
        await socket.send_json(restart | {"sdp": offer.replace(":AB", ":BA")})
        assert (await receive(socket, "error"))["id"] == "bad-sdp"
    ufrags = [re.findall(r"a=ice-ufrag:(\w+)", sdp)[0] for sdp in (before, after, again)]
    assert len(set(ufrags)) == 3
    fingerprints = [re.findall(r"a=fingerprint:.*", sdp) for sdp in (before, after, again)]
    assert fingerprints[0] == fingerprints[1] == fingerprints[2]


async def test_nothing_is_recorded_without_consent(serving: Serving) -> None:
    async with serving.socket(serving.token(Role.CANDIDATE)) as socket:
        await socket.send_json({"type": "publish", "sdp": PUBLISH_OFFER, "consent": False})
        error = await receive(socket, "error")
    assert (error["id"], error["fatal"]) == ("consent-missing", False)
    assert await serving.call("GET", "/api/recordings", serving.owner) == (200, [])


@pytest.mark.parametrize(
    ("role", "message"),
    [
        (Role.OBSERVER, {"type": "publish", "sdp": PUBLISH_OFFER, "consent": True}),
        (Role.RECRUITER, {"type": "publish", "sdp": PUBLISH_OFFER, "consent": True}),
        (Role.OBSERVER, {"type": "unshare"}),
        (Role.RECRUITER, {"type": "unshare"}),
        (Role.INTERVIEWER, {"type": "unshare"}),
        (Role.OBSERVER, {"type": "camera", "active": False}),
        (Role.OWNER, {"type": "camera", "active": False}),
        (Role.OBSERVER, {"type": "microphone", "active": False}),
    ],
)
async def test_an_observer_never_publishes_and_nobody_but_the_candidate_shares(
    serving: Serving, role: Role, message: dict[str, Any]
) -> None:
    interview = serving.one.interview_id
    async with serving.socket(serving.token(role), interview=interview) as socket:
        await socket.send_json(message)
        assert (await receive(socket, "error"))["id"] == "forbidden"


async def test_a_camera_that_is_off_is_told_to_those_who_see_it(serving: Serving) -> None:
    async with (
        serving.socket(serving.token(Role.INTERVIEWER)) as interviewer,
        serving.socket(serving.token(Role.CANDIDATE)) as candidate,
    ):
        await interviewer.send_json({"type": "camera", "active": False})
        told = await receive(candidate, "camera")
    assert told == {"type": "camera", "role": "interviewer", "active": False}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ("{", "bad-message"),
        ("[]", "bad-message"),
        ('{"type":"dance"}', "bad-message"),
        ('{"type":"ping","id":"one"}', "bad-message"),
        ('{"type":"hello","version":1,"token":"again"}', "bad-message"),
        (b"\x00\x01", "bad-message"),
        ('{"type":"publish","sdp":"hello","consent":true}', "bad-sdp"),
        (
            json.dumps({"type": "publish", "sdp": NO_CODEC_OFFER, "consent": True}),
            "no-common-codec",
        ),
    ],
)
async def test_bad_input_is_refused_by_name_and_the_socket_goes_on(
    serving: Serving, frame: str | bytes, expected: str
) -> None:
    async with serving.socket(serving.token(Role.CANDIDATE)) as socket:
        if isinstance(frame, bytes):
            await socket.send_bytes(frame)
        else:
            await socket.send_str(frame)
        assert (await receive(socket, "error"))["id"] == expected
        await socket.send_json({"type": "ping", "id": 1})
        await receive(socket, "pong")


async def test_text_that_is_not_utf_8_closes_the_socket(serving: Serving) -> None:
    async with serving.socket(serving.token(Role.OBSERVER)) as socket:
        await socket.send_frame(b"\xff\xfe", WSMsgType.TEXT)
        assert (await closed_with(socket))[1] == 1007  # RFC 6455 8.1
    assert await still_serves(serving)


async def test_an_oversized_message_closes_the_socket(serving: Serving) -> None:
    async with serving.socket(serving.token(Role.CANDIDATE)) as socket:
        await receive(socket, "welcome")
        await socket.send_str("x" * (MAX_MESSAGE_BYTES + 1))
        assert (await closed_with(socket))[1] == 1009  # RFC 6455 7.4.1
    assert await still_serves(serving)


async def test_a_flood_of_messages_closes_the_socket(serving: Serving) -> None:
    async with serving.socket(serving.token(Role.OBSERVER)) as socket:
        for number in range(int(PER_SOCKET.burst) + 20):
            await socket.send_json({"type": "ping", "id": number})
        assert await closed_with(socket) == ("too-many-requests", 4429)
    assert await still_serves(serving)


async def test_the_older_socket_of_a_candidate_is_replaced(serving: Serving) -> None:
    token = serving.token(Role.CANDIDATE)
    async with serving.socket(token) as older, serving.socket(token) as newer:
        await receive(older, "replaced")
        assert (await closed_with(older))[1] == 4409
        await receive(newer, "welcome")


async def test_revoking_closes_what_is_open_at_once(serving: Serving) -> None:
    link = await serving.link(Role.OBSERVER)
    async with serving.socket(serving.token(Role.OBSERVER)) as socket:
        await receive(socket, "welcome")
        path = f"/api/interviews/{serving.one.interview_id}/links/{link.id}"
        assert (await serving.call("DELETE", path, serving.token(Role.RECRUITER)))[0] == 204
        assert await closed_with(socket) == ("token-revoked", 4401)
    async with serving.socket(serving.token(Role.OBSERVER)) as socket:
        assert await closed_with(socket) == ("token-revoked", 4401)


async def until_empty(serving: Serving) -> None:
    async with asyncio.timeout(10):
        while serving.server.hub.live:  # noqa: ASYNC110 - the hub tells nobody
            await asyncio.sleep(0.01)


async def test_a_socket_that_vanishes_leaves_nothing_behind(serving: Serving) -> None:
    async with serving.socket(serving.token(Role.OBSERVER)) as socket:
        await receive(socket, "welcome")
        assert socket._writer.transport is not None
        socket._writer.transport.abort()
        await until_empty(serving)


async def test_an_observer_that_reads_nothing_is_cut_off(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_module, "SEND_TIMEOUT_S", 0.2)
    async with serving.socket(serving.token(Role.OBSERVER)) as socket:
        await receive(socket, "welcome")
        socket._writer.transport.pause_reading()
        (interview,) = serving.server.hub.live
        many = tuple(Indicator("x" * 1_000, 0.0, "ratio", 0.0, 1.0) for _ in range(100))
        async with asyncio.timeout(10):
            while serving.server.hub.live:
                interview._indicators(many)
                await asyncio.sleep(0.001)
    assert await still_serves(serving)


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda b: b.decode("latin-1")))
def test_any_text_is_a_message_or_a_refusal(text: str) -> None:
    with contextlib.suppress(Refusal):
        decode(text)


@pytest.mark.parametrize("text", ["", "null", '{"type":', '{"type":"ping"}', '{"type":"pong"}'])
def test_what_is_no_message_is_refused_as_bad_message(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        decode(text)
    assert caught.value.id is ErrorId.BAD_MESSAGE
