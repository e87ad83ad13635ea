import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from server.media import udp as udp_module
from server.media.ice import Address
from server.media.router import Router
from server.media.udp import MAX_READ, UdpSocket
from tests.media.test_ice import check
from tests.media.test_router import RTP, Session


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


class Far:
    """A socket of somebody else's that writes to ours."""

    def __init__(self, to: socket.socket) -> None:
        self.socket = bound()
        self.socket.connect(to.getsockname())
        self.address: Address = self.socket.getsockname()

    async def heard(self) -> bytes:
        async with asyncio.timeout(5):
            return await asyncio.get_running_loop().sock_recv(self.socket, 2048)


class Near:
    """Ours, with its router."""

    def __init__(self) -> None:
        self.router, self.socket = Router(), bound()
        self.udp = UdpSocket(self.router, self.socket)

    async def has_read(self, datagrams: int) -> None:
        async with asyncio.timeout(5):
            while self.router.datagrams_in < datagrams:  # noqa: ASYNC110 (a plain counter)
                await asyncio.sleep(0.001)


@pytest.fixture
async def near() -> AsyncIterator[Near]:
    near = Near()
    near.udp.open()
    yield near
    near.udp.close()
    near.udp.close()  # idempotent


@pytest.fixture
async def far(near: Near) -> AsyncIterator[Far]:
    far = Far(near.socket)
    yield far
    far.socket.close()


async def test_address_is_one_path_from_its_first_valid_check_on(near: Near, far: Far) -> None:
    session, stranger = Session(), Far(near.socket)
    near.router.add(session)
    for _ in range(2):
        far.socket.send(bytes(check(session.ice)))
        far.socket.send(RTP)
        stranger.socket.send(RTP)
    await near.has_read(6)
    assert (len(session.rtp), near.router.refused) == (2, 2)
    assert list(near.udp.paths) == [far.address]
    near.router.remove(session)
    assert near.udp.paths == {}
    stranger.socket.close()


async def test_addresses_without_a_session_leave_nothing_behind(near: Near) -> None:
    session = Session()
    near.router.add(session)
    for _ in range(20):
        stranger = Far(near.socket)
        stranger.socket.send(RTP)
        stranger.socket.send(bytes(check(session.ice, key="guess")))
        stranger.socket.close()
    await near.has_read(40)
    assert (near.udp.paths, near.router.refused) == ({}, 40)


async def test_path_sends_to_its_address(near: Near, far: Far) -> None:
    session = Session()
    near.router.add(session)
    far.socket.send(bytes(check(session.ice)))
    await near.has_read(1)
    assert near.udp.paths[far.address].send(b"back")
    assert await far.heard() == b"back"
    assert (near.udp.datagrams_out, near.udp.dropped_out) == (1, 0)


async def test_a_flood_is_read_in_turns(near: Near, far: Far) -> None:
    for _ in range(MAX_READ + 10):
        far.socket.send(b"x")
    near.udp._readable()
    assert near.router.datagrams_in == MAX_READ
    await near.has_read(MAX_READ + 10)


class Full:
    """A socket that takes nothing while `full`; a real one is hard to fill over loopback."""

    def __init__(self, real: socket.socket) -> None:
        self.real, self.full = real, True

    def sendto(self, data: bytes, address: Address) -> int:
        if self.full:
            raise BlockingIOError
        return self.real.sendto(data, address)

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


async def test_what_the_socket_does_not_take_waits_in_order_up_to_a_bound(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp_module, "MAX_SEND_BUFFER", 8)
    full = Full(bound())
    udp = UdpSocket(Router(), full)  # type: ignore[arg-type]
    far.socket.close()  # it hears `near` only
    far.socket = bound()
    send = udp.sender(far.socket.getsockname())
    assert send(b"one")
    assert send(b"two")
    assert not send(b"three"), "more than 8 bytes would wait"
    full.full = False
    assert send(b"4"), "never before those that wait"
    assert [await far.heard() for _ in range(3)] == [b"one", b"two", b"4"]
    assert send(b"5")
    assert await far.heard() == b"5"
    assert (udp.datagrams_out, udp.dropped_out) == (4, 1)
    udp.close()


async def test_what_cannot_be_sent_is_counted(near: Near, far: Far) -> None:
    send = near.udp.sender(("240.0.0.1", 9))  # no route
    assert not send(b"lost")
    send = near.udp.sender(far.address)
    near.udp.close()
    assert not send(b"late")
    assert near.udp.dropped_out == 2


async def test_a_closed_port_at_the_far_end_harms_nobody(near: Near, far: Far) -> None:
    send = near.udp.sender(far.address)
    far.socket.close()
    other = Far(near.socket)
    assert send(b"anyone?")
    other.socket.send(b"x")
    await near.has_read(1)
    assert near.udp.sender(other.address)(b"more")
    assert await other.heard() == b"more"
    other.socket.close()
