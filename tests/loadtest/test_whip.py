from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.whip import Refused, Session, Whip, end, post_offer

SDP = "application/sdp"


class Endpoint:
    """Says what it is told to, and keeps what it got."""

    def __init__(self) -> None:
        self.status = 201
        self.got: list[tuple[str, str, str]] = []
        self.tokens: list[str | None] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.got.append((request.method, request.path, await request.text()))
        self.tokens.append(request.headers.get("Authorization"))
        headers = {"Location": "/whip/token/session-1"}
        return web.Response(
            status=self.status, text="the answer", content_type=SDP, headers=headers
        )


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
async def url(endpoint: Endpoint) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", endpoint.answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/whip/token"))


async def test_the_answer_and_the_sessions_address_are_returned(
    endpoint: Endpoint, url: str
) -> None:
    async with aiohttp.ClientSession() as http:
        session = await post_offer(http, url, "the offer")
    assert session == Session("the answer", url + "/session-1")
    assert endpoint.got == [("POST", "/whip/token", "the offer")]


@pytest.mark.parametrize("status", [200, 401, 429, 503])
async def test_any_other_status_is_a_refusal(endpoint: Endpoint, url: str, status: int) -> None:
    endpoint.status = status
    async with aiohttp.ClientSession() as http:
        with pytest.raises(Refused, match="the answer") as refused:
            await post_offer(http, url, "the offer")
    assert refused.value.status == status


@pytest.mark.parametrize("status", [200, 204, 404])
async def test_a_session_is_ended_once_it_is_gone(
    endpoint: Endpoint, url: str, status: int
) -> None:
    endpoint.status = status
    async with aiohttp.ClientSession() as http:
        await end(http, Session("", url + "/session-1"))
    assert endpoint.got == [("DELETE", "/whip/token/session-1", "")]


async def test_a_server_that_will_not_end_a_session_is_heard(endpoint: Endpoint, url: str) -> None:
    endpoint.status = 500
    async with aiohttp.ClientSession() as http:
        with pytest.raises(Refused):
            await end(http, Session("", url))


async def test_a_server_that_is_gone_has_nothing_to_end(unused_tcp_port: int) -> None:
    async with aiohttp.ClientSession() as http:
        await end(http, Session("", f"http://127.0.0.1:{unused_tcp_port}/"))


async def test_a_token_goes_along_with_every_request(endpoint: Endpoint, url: str) -> None:
    async with aiohttp.ClientSession() as http:
        peer = Whip(http, url, bearer="secret")
        assert await peer.exchange("the offer") == "the answer"
        endpoint.status = 200
        await peer.end()
        await peer.end()  # idempotent
    assert [method for method, _, _ in endpoint.got] == ["POST", "DELETE"]
    assert endpoint.tokens == ["Bearer secret", "Bearer secret"]
