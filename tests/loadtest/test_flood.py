import asyncio
import socket

import pytest

from loadtest.flood import VARIANTS, flood, kinds
from server.media.server import Source
from server.media.transport.ice import parse_check
from tests.loadtest.mini_server import mini_server
from tests.media.offers import CHROMIUM

USERNAME = "0123456789abcdef:abcd"


def test_every_kind_is_what_it_says() -> None:
    made = kinds(USERNAME)
    assert {len(packets) for packets in made.values()} == {VARIANTS}
    checks = [parse_check(packet) for packet in made["check, forged"]]
    assert {check and check.username for check in checks} == {USERNAME.encode()}
    unknown = [parse_check(packet) for packet in made["check, unknown user"]]
    assert len({check and check.ufrag for check in unknown}) == VARIANTS
    assert {packet[0] for packet in made["DTLS"]} == {0x16}
    assert {packet[0] >> 6 for packet in made["RTP"]} == {2}


async def test_a_flood_is_refused_to_the_last_packet_and_never_answered() -> None:
    async with mini_server() as server:
        peer, _ = await server.media.publish(Source("one"), CHROMIUM, lambda _: None)
        packets = [each for several in kinds(f"{peer.ufrag}:F7gI").values() for each in several]
        candidate = server.media.candidates[0]
        done = await flood((candidate.host, candidate.port), packets, 4_000, 0.3)
        assert done.sent > 500
        async with asyncio.timeout(5):
            while server.media.stats().datagrams_in < done.sent:  # noqa: ASYNC110 (a counter)
                await asyncio.sleep(0.01)
        assert server.media.stats().datagrams_refused == done.sent
        assert (done.answers, server.media.stats().datagrams_out) == (0, 0)


async def test_answers_are_counted() -> None:
    loop = asyncio.get_running_loop()

    class Echo(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            transport.sendto(data, addr)

    transport, _ = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    address = transport.get_extra_info("sockname")
    done = await flood(address, [b"one", b"two"], 1_000, 0.2)
    transport.close()
    assert 0 < done.answers <= done.sent


async def test_a_server_that_is_gone_is_an_error() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = nobody.getsockname()
    with pytest.raises(ConnectionRefusedError):
        await flood(address, [b"x"], 10_000, 5)
