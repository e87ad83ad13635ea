"""What strangers send to the port that is no HTTP, or only half of it."""

import asyncio
import logging
import re
import socket
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from server.core.interviews import Role
from server.signaling import body, http_connection
from server.signaling.http_connection import HttpConnection
from tests.signaling.serving import Serving, receive

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


async def _ends(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


async def test_the_oldest_idle_connection_makes_room_for_the_newest(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "MAX_IDLE", 3)
    others = [await connect(serving)]
    others[0][1].write(b"GET /")  # half a request is none
    async with serving.socket(serving.token(Role.CANDIDATE)) as candidate:  # no idle one
        for _ in range(6):
            others.append(await connect(serving))
            others[-1][1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(10):
                assert b"200" in await others[-1][0].readline()
        async with asyncio.timeout(10):
            assert await _ends(others[0][0])
        await candidate.send_json({"type": "ping", "id": 1})
        assert await receive(candidate, "pong")
    others[-1][1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        assert b"HTTP/1.1 200" in await others[-1][0].read()
    for _, writer in others:
        writer.close()


async def test_who_takes_an_answer_slowly_makes_no_room(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = asyncio.Event()
    pause_writing = HttpConnection.pause_writing

    def pause(connection: HttpConnection) -> None:
        pause_writing(connection)
        paused.set()

    monkeypatch.setattr(HttpConnection, "pause_writing", pause)
    monkeypatch.setattr(http_connection, "MAX_IDLE", 3)
    address = urlsplit(serving.server.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 12)
    page = await (await serving.http.get(f"{serving.server.base_url}/recordings")).text()
    (script,) = re.findall(r"/assets/\w+/recordings\.js", page)
    # More answers than all buffers between us have room for.
    writer.write(f"GET {script} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 200)
    async with asyncio.timeout(30):
        await paused.wait()
        others = [await connect(serving) for _ in range(5)]
        for _, each in others:
            each.write(b"GET /")
        assert await _ends(others[0][0])
        for _ in range(200):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            (length,) = re.findall(rb"Content-Length: (\d+)", head)
            await reader.readexactly(int(length))
    for _, each in (*others, (reader, writer)):
        each.close()


async def _refused(connection: socket.socket, sent: bytes) -> bool:
    try:
        while True:
            await asyncio.get_running_loop().sock_sendall(connection, sent)
    except ConnectionError:
        return True


async def test_who_takes_nothing_of_an_answer_is_not_waited_for(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "STALLED_S", 0.05)
    address = urlsplit(serving.server.base_url)
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address.hostname, address.port))
        # More answers than all buffers between us have room for.
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 500
        async with asyncio.timeout(30):
            assert await _refused(connection, asked)
