import json

import pytest
from aiohttp import web

from server.media.errors import MediaBusy, NoCommonCodec, SdpError
from server.signaling.errors import (
    STATUS,
    Refusal,
    error_message,
    error_response,
    refusing_offers,
)
from server.signaling.protocol import Connection, ErrorId
from tests.signaling.serving import Serving


def test_every_error_id_has_a_status() -> None:
    assert set(STATUS) == set(ErrorId)
    assert all(400 <= status < 600 for status in STATUS.values())


@pytest.mark.parametrize("id", ErrorId)
def test_an_error_is_json_that_no_cache_keeps(id: ErrorId) -> None:
    answer = error_response(Refusal(id, "why"))
    assert answer.status == STATUS[id]
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {"error": {"id": id, "message": "why"}}
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) == (answer.status == 401)
    assert ("Retry-After" in answer.headers) == (answer.status == 503)


@pytest.mark.parametrize(
    ("error", "id"),
    [
        (SdpError("line 3"), ErrorId.BAD_SDP),
        (NoCommonCodec("none"), ErrorId.NO_COMMON_CODEC),
        (MediaBusy("wait"), ErrorId.SERVER_BUSY),
    ],
)
def test_complaints_about_an_offer_are_refusals(error: Exception, id: ErrorId) -> None:
    with pytest.raises(Refusal) as caught, refusing_offers():
        raise error
    assert (caught.value.id, caught.value.message) == (id, str(error))
    assert caught.value.retry_after_s == (2 if id is ErrorId.SERVER_BUSY else None)


def test_a_refusal_that_says_when_says_it_in_both_ways() -> None:
    refusal = Refusal(ErrorId.SERVER_BUSY, "why", 3)
    assert error_response(refusal).headers["Retry-After"] == "3"
    assert error_message(refusal, connection=Connection.DOWN).retry_after_s == 3


async def test_unknown_paths_and_methods_are_refused_in_json(serving: Serving) -> None:
    status, body = await serving.call("GET", "/nothing")
    assert (status, body["error"]["id"]) == (404, "not-found")
    async with serving.http.put("/api/me") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET"
        assert (await answer.json())["error"]["id"] == "method-not-allowed"


async def test_what_broke_inside_is_not_told(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> web.Response:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("server.signaling.access.Access.admit", broken)
    status, body = await serving.call("GET", "/api/me", serving.owner)
    assert (status, body["error"]["id"]) == (500, "internal")
    assert "secret detail" not in json.dumps(body)
    assert "secret detail" in caplog.text
