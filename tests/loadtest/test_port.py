"""The socket and the emulated network before it, by virtual time where time matters."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from loadtest.inbox import Address, Inbox
from loadtest.network import Impairments, Link, Network
from loadtest.pacer import Pacer
from loadtest.port import Emulation, Port


class Echo(asyncio.DatagramProtocol):
    """A server that answers every datagram, and writes down where it came from."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Address]] = []
        self.news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Address) -> None:
        self.heard.append((data, address))
        self.news.set()
        self.transport.sendto(data, address)  # type: ignore[attr-defined]


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, Address]]:
    echo, loop = Echo(), asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: echo, ("127.0.0.1", 0))
    yield echo, transport.get_extra_info("sockname")
    transport.close()


class Peer:
    """A port with its callbacks written down."""

    def __init__(self, network: Network | None = None) -> None:
        self.pacer, self.heard = Pacer(), list[bytes]()
        self.news, self.moved, self.unreachable = asyncio.Event(), asyncio.Event(), asyncio.Event()
        emulation = None if network is None else Emulation(network, self.pacer)
        self.port = Port(self.hear, self.unreachable.set, self.moved.set, emulation)

    def hear(self, data: bytes, address: Address, arrived_s: float) -> None:
        self.heard.append(data)
        self.arrived_s = arrived_s
        self.news.set()

    async def next_due(self) -> float:
        """When the pacer is next to act, as soon as it has something to do."""
        added = asyncio.Event()
        self.pacer.on_earlier = added.set
        due = self.pacer.run_due(0)
        if due is None:
            await self.wait(added)
            due = self.pacer.run_due(0)
        assert due is not None
        return due

    async def wait(self, event: asyncio.Event) -> None:
        async with asyncio.timeout(5):
            await event.wait()
        event.clear()


async def test_without_a_network_datagrams_pass_at_once(echo: tuple[Echo, Address]) -> None:
    peer = Peer()
    await peer.port.open()
    peer.port.send(b"to", echo[1])
    await peer.wait(peer.news)
    peer.port.connect(echo[1])
    peer.port.send(b"connected")
    await peer.wait(peer.news)
    assert peer.heard == [b"to", b"connected"]
    peer.port.close()
    peer.port.close()  # idempotent
    peer.port.send(b"late")
    assert peer.port.refused == 0


async def test_both_directions_are_delayed(echo: tuple[Echo, Address]) -> None:
    peer = Peer(Network(Impairments(delay_s=0.5), "seed"))
    await peer.port.open()
    began = asyncio.get_running_loop().time()
    peer.port.send(b"hello", echo[1])
    assert peer.pacer.run_due(began + 0.499) == pytest.approx(began + 0.5, abs=0.1)
    assert echo[0].heard == []
    peer.pacer.run_due(began + 0.6)
    await peer.wait(echo[0].news)
    due = await peer.next_due()
    assert due == pytest.approx(asyncio.get_running_loop().time() + 0.5, abs=0.1)
    assert peer.heard == []
    peer.pacer.run_due(due + 0.25)
    assert peer.heard == [b"hello"]
    # When the pacer came to it does not matter.
    assert time.time() + 0.4 < peer.arrived_s < time.time() + 0.51
    peer.port.close()


async def test_the_datagrams_that_the_network_loses_are_those_of_its_seed(
    echo: tuple[Echo, Address],
) -> None:
    network = Impairments(loss=0.3)
    peer, twin = Peer(Network(network, "seed")), Link(network, "seed up")
    await peer.port.open()
    for number in range(200):
        peer.port.send(b"%d" % number, echo[1])
    kept = [b"%d" % number for number in range(200) if twin.arrival(1, 0) is not None]
    async with asyncio.timeout(5):
        while len(echo[0].heard) < len(kept):
            await peer.wait(echo[0].news)
    assert [data for data, _ in echo[0].heard] == kept
    peer.port.close()


async def test_a_move_is_a_new_address_and_what_is_sent_goes_on_from_it(
    echo: tuple[Echo, Address],
) -> None:
    peer = Peer(Network(Impairments(move_s=0.05), "seed"))
    await peer.port.open()
    peer.port.connect(echo[1])
    peer.port.send(b"before")
    await peer.wait(peer.news)
    await peer.wait(peer.moved)
    peer.port.send(b"after")
    await peer.wait(peer.news)
    peer.port.close()
    (_, before), (_, after) = echo[0].heard
    assert before != after
    assert peer.heard == [b"before", b"after"]


async def test_once_read_with_the_others_nothing_is_heard_before_the_inbox_is_drained(
    echo: tuple[Echo, Address],
) -> None:
    peer, inbox = Peer(Network(Impairments(move_s=0.05), "seed")), Inbox()
    await peer.port.open()
    peer.port.connect(echo[1])
    peer.port.read_by(inbox)
    for _ in range(2):  # before and after a move
        before = time.time()
        peer.port.send(b"hello")
        await peer.wait(echo[0].news)
        await asyncio.sleep(0)
        assert peer.heard == []
        inbox.drain()
        assert peer.heard.pop() == b"hello"
        assert before < peer.arrived_s < time.time()
        await peer.wait(peer.moved)
    peer.port.close()
    assert not inbox
    inbox.close()


async def test_what_is_still_on_its_way_at_the_end_is_lost(echo: tuple[Echo, Address]) -> None:
    peer = Peer(Network(Impairments(delay_s=0.5), "seed"))
    await peer.port.open()
    peer.port.send(b"hello", echo[1])
    peer.port.close()
    peer.pacer.run_due(asyncio.get_running_loop().time() + 1)
    assert echo[0].heard == []
    assert peer.port.refused == 0


async def test_a_closed_port_at_the_other_end_is_told(unused_udp_port: int) -> None:
    peer = Peer()
    await peer.port.open()
    peer.port.connect(("127.0.0.1", unused_udp_port))
    async with asyncio.timeout(5):
        while not peer.unreachable.is_set():
            peer.port.send(b"anyone?")
            await asyncio.sleep(0.01)
    peer.port.close()
