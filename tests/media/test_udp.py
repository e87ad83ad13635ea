import pytest

from server.media.ice import Address
from server.media.router import Router
from server.media.udp import MAX_SEND_BUFFER, UdpSocket
from tests.media.test_ice import check
from tests.media.test_router import RTP, Session

HERE, THERE = ("192.0.2.7", 1000), ("198.51.100.9", 2000)


class Wire:
    """A datagram transport in memory."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Address]] = []
        self.waiting = 0
        self.closed = False

    def sendto(self, data: bytes, addr: Address) -> None:
        self.sent.append((data, addr))

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def router() -> Router:
    return Router()


@pytest.fixture
def udp(router: Router) -> UdpSocket:
    udp = UdpSocket(router)
    udp.connection_made(Wire())
    return udp


def test_address_is_one_path_from_its_first_valid_check_on(router: Router, udp: UdpSocket) -> None:
    session = Session()
    router.add(session)
    for _ in range(2):
        udp.datagram_received(bytes(check(session.ice)), HERE)
        udp.datagram_received(RTP, HERE)
        udp.datagram_received(RTP, THERE)
    assert (len(session.rtp), router.refused) == (2, 2)
    assert list(udp.paths) == [HERE]
    router.remove(session)
    assert udp.paths == {}


def test_addresses_without_a_session_leave_nothing_behind(router: Router, udp: UdpSocket) -> None:
    session = Session()
    router.add(session)
    for number in range(100):
        udp.datagram_received(RTP, ("192.0.2.7", number))
        udp.datagram_received(bytes(check(session.ice, key="guess")), ("192.0.2.7", number))
    assert (udp.paths, router.refused) == ({}, 200)


def test_path_sends_to_its_address() -> None:
    router, wire = Router(), Wire()
    udp, session = UdpSocket(router), Session()
    udp.connection_made(wire)
    router.add(session)
    for address in (HERE, THERE):
        udp.datagram_received(bytes(check(session.ice)), address)
        udp.paths[address].send(b"back")
    assert wire.sent == [(b"back", HERE), (b"back", THERE)]


def test_send_drops_where_the_socket_cannot_keep_up_and_counts_it(router: Router) -> None:
    udp, wire = UdpSocket(router), Wire()
    send = udp.sender(HERE)
    assert not send(b"early"), "before the socket is open"
    udp.connection_made(wire)
    assert send(b"one")
    wire.waiting = MAX_SEND_BUFFER + 1
    assert not send(b"two")
    udp.close()
    udp.close()
    assert not send(b"late")
    assert (wire.sent, wire.closed) == ([(b"one", HERE)], True)
    assert (udp.datagrams_out, udp.dropped_out) == (1, 3)


def test_socket_errors_are_the_peers_silence(udp: UdpSocket) -> None:
    udp.error_received(ConnectionRefusedError())
    assert udp.sender(HERE)(b"more")
