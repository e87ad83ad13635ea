import logging

import pytest
from aioice import stun
from hypothesis import given, settings
from hypothesis import strategies as st

from server.media.ice import Address, IceLite
from server.media.udp import MAX_ADDRESSES, MAX_SEND_BUFFER, UdpPort
from tests.media.test_ice import REMOTE, check

HERE, THERE = ("192.0.2.7", 1000), ("198.51.100.9", 2000)
RTP, DTLS = b"\x80" + bytes(20), b"\x16" + bytes(20)


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


class Session:
    def __init__(self) -> None:
        self.ice = IceLite(REMOTE)
        self.ufrag = self.ice.ufrag
        self.dtls: list[bytes] = []
        self.rtp: list[bytes] = []
        self.is_silent = False

    def check_received(self, request: stun.Message, address: Address) -> bool:
        return self.ice.answer(request, address) is not None

    def dtls_received(self, data: bytes) -> None:
        self.dtls.append(data)

    def rtp_received(self, data: bytes) -> None:
        self.rtp.append(data)


@pytest.fixture
def port() -> UdpPort:
    port = UdpPort()
    port.connection_made(Wire())
    return port


def test_nothing_is_let_in_from_an_address_that_has_not_checked(port: UdpPort) -> None:
    session = Session()
    port.add(session)
    port.datagram_received(RTP, HERE)
    port.datagram_received(DTLS, HERE)
    assert (session.rtp, session.dtls, port.refused) == ([], [], 2)


def test_check_opens_its_own_address_and_no_other(port: UdpPort) -> None:
    session = Session()
    port.add(session)
    port.datagram_received(bytes(check(session.ice)), HERE)
    for address in (HERE, THERE):
        port.datagram_received(RTP, address)
        port.datagram_received(DTLS, address)
    assert (session.rtp, session.dtls, port.refused) == ([RTP], [DTLS], 2)


def test_sessions_on_one_port_are_kept_apart(port: UdpPort) -> None:
    sessions = {HERE: Session(), THERE: Session()}
    for address, session in sessions.items():
        port.add(session)
        port.datagram_received(bytes(check(session.ice)), address)
    port.datagram_received(RTP, THERE)
    assert [len(each.rtp) for each in sessions.values()] == [0, 1]


def test_address_of_a_live_peer_cannot_be_taken_by_another(port: UdpPort) -> None:
    victim, thief = Session(), Session()
    for each in (victim, thief):
        port.add(each)
    port.datagram_received(bytes(check(victim.ice)), HERE)
    port.datagram_received(bytes(check(thief.ice)), HERE)
    port.datagram_received(bytes(check(victim.ice)), HERE)
    port.datagram_received(RTP, HERE)
    assert (victim.rtp, thief.rtp, port.refused) == ([RTP], [], 1)
    victim.is_silent = True
    port.datagram_received(bytes(check(thief.ice)), HERE)
    port.datagram_received(RTP, HERE)
    assert (victim.rtp, thief.rtp, port.refused) == ([RTP], [RTP], 1)


def test_forged_or_unknown_check_opens_nothing(port: UdpPort) -> None:
    session, stranger = Session(), IceLite(REMOTE)
    port.add(session)
    port.datagram_received(bytes(check(session.ice, key="guess")), HERE)
    port.datagram_received(bytes(check(stranger)), HERE)
    port.datagram_received(RTP, HERE)
    assert (session.rtp, port.refused) == ([], 3)


def test_removed_session_is_routed_to_no_more(port: UdpPort) -> None:
    session = Session()
    port.add(session)
    port.datagram_received(bytes(check(session.ice)), HERE)
    port.remove(session)
    port.remove(session)
    port.datagram_received(RTP, HERE)
    port.datagram_received(bytes(check(session.ice)), HERE)
    assert (session.rtp, port.refused) == ([], 2)
    assert (port._by_address, port._by_ufrag, port._addresses) == ({}, {}, {})


def test_addresses_of_a_session_are_bounded_and_the_least_used_goes(port: UdpPort) -> None:
    session = Session()
    port.add(session)
    for number in range(10 * MAX_ADDRESSES):
        port.datagram_received(bytes(check(session.ice)), ("192.0.2.7", 3000 + number))
        port.datagram_received(bytes(check(session.ice)), HERE)  # the pair in use
    assert len(port._by_address) == len(port._addresses[session.ufrag]) == MAX_ADDRESSES
    port.datagram_received(RTP, HERE)
    assert session.rtp == [RTP]


def test_address_that_moved_to_another_session_stays_with_it(port: UdpPort) -> None:
    older, newer = Session(), Session()
    for session in (older, newer):
        port.add(session)
        port.datagram_received(bytes(check(session.ice)), HERE)
        session.is_silent = True
    port.remove(older)
    port.datagram_received(RTP, HERE)
    assert (older.rtp, newer.rtp) == ([], [RTP])


def test_first_bytes_that_are_no_protocol_of_ours_are_refused(port: UdpPort) -> None:
    session = Session()
    port.add(session)
    port.datagram_received(bytes(check(session.ice)), HERE)
    foreign = [*range(4, 20), *range(64, 128), *range(192, 256)]  # RFC 7983 7
    for first in foreign:
        port.datagram_received(bytes([first]) + bytes(20), HERE)
    assert (port.refused, session.rtp, session.dtls) == (len(foreign), [], [])


def test_datagram_too_short_for_a_header_is_refused(port: UdpPort) -> None:
    session = Session()
    port.add(session)
    port.datagram_received(bytes(check(session.ice)), HERE)
    for data in (b"", b"\x80", RTP[:11], DTLS[:11]):
        port.datagram_received(data, HERE)
    assert (port.refused, session.rtp, session.dtls) == (4, [], [])


def test_send_drops_where_the_socket_cannot_keep_up_and_counts_it() -> None:
    port, wire = UdpPort(), Wire()
    assert not port.send(b"early", HERE), "before the socket is open"
    port.connection_made(wire)
    assert port.send(b"one", HERE)
    wire.waiting = MAX_SEND_BUFFER + 1
    assert not port.send(b"two", HERE)
    port.close()
    port.close()
    assert not port.send(b"late", HERE)
    assert (wire.sent, wire.closed) == ([(b"one", HERE)], True)
    assert (port.datagrams_out, port.dropped_out) == (1, 3)


def test_session_that_fails_does_not_end_the_port(
    port: UdpPort, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Session):
        def rtp_received(self, data: bytes) -> None:
            raise RuntimeError("a bug")

    session = Failing()
    port.add(session)
    port.datagram_received(bytes(check(session.ice)), HERE)
    with caplog.at_level(logging.ERROR):
        port.datagram_received(RTP, HERE)
    assert "could not be handled" in caplog.text
    port.datagram_received(DTLS, HERE)
    assert session.dtls == [DTLS]


def test_socket_errors_are_the_peers_silence(port: UdpPort) -> None:
    port.error_received(ConnectionRefusedError())
    assert port.send(b"more", HERE)


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=60), st.sampled_from([HERE, THERE])), max_size=20))
def test_random_datagrams_are_refused_or_handed_on_and_never_answered(
    datagrams: list[tuple[bytes, Address]],
) -> None:
    port, wire, session = UdpPort(), Wire(), Session()
    port.connection_made(wire)
    port.add(session)
    port.datagram_received(bytes(check(session.ice)), HERE)
    for data, address in datagrams:
        port.datagram_received(data, address)
    assert port.refused + len(session.rtp) + len(session.dtls) == len(datagrams)
    assert wire.sent == []
    assert list(port._by_address) == [HERE]
