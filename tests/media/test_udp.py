import asyncio
import socket
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.media.transport import udp as udp_module
from server.media.transport.ice import Address
from server.media.transport.router import Router
from server.media.transport.udp import MAX_READ, MAX_ROW, UdpPath, UdpSocket, rows
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

    async def heard(self, size: int = 2048) -> bytes:
        async with asyncio.timeout(5):
            return await asyncio.get_running_loop().sock_recv(self.socket, size)


class Near:
    """Ours, with its router."""

    def __init__(self) -> None:
        self.router, self.socket = Router(), bound()
        self.udp = UdpSocket(self.router, self.socket, time.monotonic)

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
    near.udp.paths[far.address].send(b"back")
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

    def sendmsg(self, *arguments: Any) -> int:
        raise BlockingIOError

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


async def test_what_the_socket_does_not_take_waits_in_order_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(udp_module, "MAX_SEND_BUFFER", 8)
    sock, listener = bound(), bound()
    full = Full(sock)
    udp = UdpSocket(Router(), full, time.monotonic)  # type: ignore[arg-type]
    path = UdpPath(udp, listener.getsockname())
    for data in (b"one", b"two", b"three"):
        path.send(data)
    udp._flush()
    assert udp.dropped_out == 1, "more than 8 bytes would wait"
    full.full = False
    path.send(b"4")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        heard = [await loop.sock_recv(listener, 99) for _ in range(3)]
        assert heard == [b"one", b"two", b"4"], "none before those that wait"
        path.send(b"5")
        assert await loop.sock_recv(listener, 99) == b"5"
    assert (udp.datagrams_out, udp.dropped_out) == (4, 1)
    udp.close()
    listener.close()


async def test_rows_of_one_size_arrive_as_the_datagrams_that_they_are(near: Near, far: Far) -> None:
    path = UdpPath(near.udp, far.address)
    sizes = [1100, 1100, 1100, 700, 1100, 40, 41, 41, 7, 1200]
    packets = [bytes([index]) * size for index, size in enumerate(sizes)]
    for data in packets:
        path.send(data)
    assert [await far.heard() for _ in packets] == packets
    assert near.udp.datagrams_out == len(packets)


@pytest.mark.parametrize("trouble", ["no kernel support", "a small MTU"])
async def test_where_the_kernel_cuts_nothing_packets_leave_one_by_one(
    near: Near, far: Far, trouble: str
) -> None:
    size = 1100
    if trouble == "a small MTU":
        size = 70_000 // 2  # beyond what one message may hold
    near.udp._segments = trouble != "no kernel support"
    path = UdpPath(near.udp, far.address)
    packets = [bytes([index]) * size for index in range(2)]
    for data in packets:
        path.send(data)
    assert [await far.heard(size) for _ in packets] == packets


@given(st.lists(st.integers(1, 4), min_size=1, max_size=100))
def test_any_packets_make_rows_that_the_kernel_can_cut(sizes: list[int]) -> None:
    packets = [bytes(size) for size in sizes]
    made = [list(row) for row in rows(packets)]
    assert [packet for row in made for packet in row] == packets
    for row in made:
        assert len(row) <= MAX_ROW
        assert {len(packet) for packet in row[:-1]} <= {len(row[0])}
        assert len(row[-1]) <= len(row[0])
    # Two rows are one where that can be cut.
    for one, other in pairwise(made):
        assert len(one) == MAX_ROW or len(one[-1]) < len(one[0]) or len(other[0]) > len(one[0])


async def test_what_cannot_be_sent_is_counted(near: Near, far: Far) -> None:
    UdpPath(near.udp, ("240.0.0.1", 9)).send(b"lost")  # no route
    near.udp._flush()
    assert near.udp.dropped_out == 1
    near.udp.close()
    UdpPath(near.udp, far.address).send(b"late")
    near.udp._flush()
    assert near.udp.dropped_out == 2


async def test_a_closed_port_at_the_far_end_harms_nobody(near: Near, far: Far) -> None:
    path = UdpPath(near.udp, far.address)
    far.socket.close()
    other = Far(near.socket)
    path.send(b"anyone?")
    other.socket.send(b"x")
    await near.has_read(1)
    UdpPath(near.udp, other.address).send(b"more")
    assert await other.heard() == b"more"
    other.socket.close()
