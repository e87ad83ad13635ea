"""What strangers send to the port that is no HTTP, or only half of it."""

import asyncio
import logging
from urllib.parse import urlsplit

import pytest

from server.signaling import body, http_connection
from tests.signaling.serving import Serving

TOKEN = b"v1.c2VjcmV0.c2VjcmV0"


async def connect(serving: Serving) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(serving.server.base_url)
    return await asyncio.open_connection(address.hostname, address.port)


async def exchange(serving: Serving, sent: bytes) -> bytes:
    """All that the server answers until it closes."""
    reader, writer = await connect(serving)
    try:
        writer.write(sent)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization %b\r\n\r\n" % TOKEN,
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \x00%b\r\n\r\n" % TOKEN,
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\n\r\n" % (TOKEN * 500),
        b"GET /whip/%b HTTP/1.1\r\nHost: x\r\n\r\n" % (TOKEN * 500),
        b"POST /whip/%b HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n" % TOKEN,
        b"%b\r\n\r\n" % TOKEN,
    ],
)
async def test_what_is_no_http_is_neither_repeated_nor_logged(
    serving: Serving, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    answer = await exchange(serving, sent)
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b'"id":"bad-message"' in answer
    assert b"X-Content-Type-Options: nosniff" in answer
    assert b"aiohttp" not in answer
    assert TOKEN not in answer
    assert caplog.records == []


@pytest.mark.parametrize("sent", [b"OPTIONS * HTTP/1.1", b"CONNECT a:1 HTTP/1.1"])
async def test_a_request_without_a_path_is_answered_as_any_other(
    serving: Serving, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await exchange(serving, sent + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert caplog.records == []


async def test_a_connection_that_brings_no_whole_request_is_closed(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "IDLE_S", 0.05)
    assert await exchange(serving, b"GET / HTTP/1.1\r\nHost: x\r\nX-") == b""
    answer = await exchange(serving, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")  # it was kept open for another one, and closed


async def test_a_body_that_does_not_come_is_not_waited_for(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "BODY_TIMEOUT_S", 0.05)
    head = f"POST /api/interviews HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {serving.owner}\r\n"
    reader, writer = await connect(serving)
    writer.write(head.encode() + b"Content-Length: 100\r\n\r\n{")
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        head_and_body = await reader.readuntil(b"}}")
    writer.close()
    assert b'"id":"too-slow"' in head_and_body
