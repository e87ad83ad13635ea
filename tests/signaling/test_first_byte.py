import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from server.signaling import first_byte
from server.signaling.first_byte import MAX_WAITING, FirstByte


class Port:
    """A `FirstByte`, and what it handed on."""

    def __init__(self) -> None:
        self.http: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.media: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.shared = FirstByte(self.http.put_nowait, self.media.put_nowait)

    def connect(self) -> socket.socket:
        client, ours = socket.socketpair()
        ours.setblocking(False)
        self.shared.accepted(ours)
        client.setblocking(False)
        return client


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    port = Port()
    yield port
    port.shared.close()


async def closed(client: socket.socket) -> bool:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(client, 1) == b""


@pytest.mark.parametrize("start", [b"\x00\x64\x00\x01", b"\x02\x24\x00\x01"])
async def test_a_framed_check_is_media(port: Port, start: bytes) -> None:
    with port.connect() as client:
        client.send(start)
        async with asyncio.timeout(5):
            ours = await port.media.get()
        with ours:
            assert ours.recv(10) == start, "not a byte is missing"
    assert port.http.empty()


@pytest.mark.parametrize(
    "start", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"PRI *", b"\r\n", b"\x03"]
)
async def test_everything_else_is_http(port: Port, start: bytes) -> None:
    with port.connect() as client:
        client.send(start)
        async with asyncio.timeout(5):
            ours = await port.http.get()
        with ours:
            assert ours.recv(100) == start
    assert port.media.empty()


async def test_connection_that_ends_or_brings_nothing_is_closed(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    port.connect().close()
    monkeypatch.setattr(first_byte, "FIRST_BYTE_S", 0.0)
    with port.connect() as client:
        assert await closed(client)
    assert port.shared._waiting == {}
    assert port.http.empty()


async def test_waiting_connections_are_bounded_and_the_oldest_makes_room(port: Port) -> None:
    clients = [port.connect() for _ in range(MAX_WAITING + 1)]
    assert await closed(clients[0])
    assert len(port.shared._waiting) == MAX_WAITING
    port.shared.close()
    for client in clients[1:]:
        assert await closed(client)
    for client in clients:
        client.close()
