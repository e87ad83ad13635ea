import asyncio
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.media.transport.framing import Deframer, frame
from server.media.transport.ice import Address
from server.media.transport.router import Router
from server.media.transport.sockets import bind
from server.media.transport.tcp import (
    FIRST_CHECK_S,
    LINGER_S,
    MAX_SEND_BUFFER,
    MAX_UNKNOWN,
    MAX_UNKNOWN_PER_ADDRESS,
    TcpPath,
    TcpPort,
)
from tests.media.test_ice import check
from tests.media.test_router import RTP, Session

HERE = ("192.0.2.7", 1000)


class Wire:
    """A stream transport in memory; the far end reads what is in `waiting` when it likes."""

    def __init__(self) -> None:
        self.written = b""
        self.waiting = 0
        self.state = "open"

    def write(self, data: bytes) -> None:
        assert self.state == "open"
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.state != "open"

    def close(self) -> None:
        self.state = "closing"

    def abort(self) -> None:
        self.state = "aborted"


class Room:
    """A port with a session, a clock that the test moves, and connections."""

    def __init__(self) -> None:
        self.now = 0.0
        self.router = Router()
        self.port = TcpPort(self.router, lambda: self.now)
        self.session = Session()
        self.router.add(self.session)

    def connect(self, address: Address = HERE) -> tuple[TcpPath, Wire]:
        path, wire = TcpPath(self.port, address), Wire()
        path.connection_made(wire)
        return path, wire

    def joined(self) -> tuple[TcpPath, Wire]:
        path, wire = self.connect()
        path.data_received(frame(bytes(check(self.session.ice))))
        assert path.session is self.session
        return path, wire

    def tick(self, elapsed_s: float) -> None:
        self.now += elapsed_s
        self.port.tick(self.now)


@pytest.fixture
def room() -> Room:
    return Room()


def test_check_makes_a_connection_a_path_in_both_directions(room: Room) -> None:
    path, wire = room.joined()
    path.data_received(frame(RTP) + frame(RTP)[:5])
    path.data_received(frame(RTP)[5:])
    assert room.session.rtp == [RTP, RTP]
    path.send(b"back")
    assert wire.written == frame(b"back")
    assert room.port.datagrams_out == 1


@pytest.mark.parametrize("first", [RTP, b"\x16" + bytes(20), b"\x00\x01" + bytes(18), b"\xff"])
def test_connection_that_begins_with_anything_else_is_closed_unanswered(
    room: Room, first: bytes
) -> None:
    path, wire = room.connect()
    path.data_received(frame(first) + frame(bytes(check(room.session.ice))))
    assert (wire.state, wire.written, path.session) == ("aborted", b"", None)
    assert room.port.refused == 1


def test_forged_check_closes_the_connection_unanswered(room: Room) -> None:
    path, wire = room.connect()
    path.data_received(frame(bytes(check(room.session.ice, key="guess"))))
    assert (wire.state, wire.written) == ("aborted", b"")


def test_too_long_a_frame_closes_the_connection(room: Room) -> None:
    for path, wire in (room.connect(), room.joined()):
        path.data_received(b"\xff\xff")
        assert wire.state == "aborted"


def test_refused_packet_of_a_known_peer_closes_nothing(room: Room) -> None:
    path, wire = room.joined()
    path.data_received(frame(b"\x50" + bytes(20)) + frame(RTP))
    assert (wire.state, room.session.rtp, room.router.refused) == ("open", [RTP], 1)


def test_first_check_has_a_deadline_and_later_silence_has_none(room: Room) -> None:
    _, known = room.joined()
    _, late = room.connect()
    room.tick(FIRST_CHECK_S - 0.1)
    assert late.state == "open"
    room.tick(0.2)
    assert (late.state, known.state) == ("aborted", "open")


def test_unknown_connections_are_bounded_for_one_address_and_in_all(room: Room) -> None:
    mine = [room.connect()[1] for _ in range(MAX_UNKNOWN_PER_ADDRESS + 1)]
    assert [wire.state for wire in mine] == ["open"] * MAX_UNKNOWN_PER_ADDRESS + ["aborted"]
    others = [
        room.connect((f"192.0.{number >> 8}.{number & 255}", 1))[1]
        for number in range(MAX_UNKNOWN + 1)
    ]
    assert all(wire.state == "aborted" for wire in mine), "the oldest make room"
    assert [wire.state for wire in others] == ["aborted"] + ["open"] * MAX_UNKNOWN


def test_an_ipv6_network_counts_as_one_address(room: Room) -> None:
    wires = [
        room.connect((f"2001:db8::{number:x}", 1))[1]
        for number in range(MAX_UNKNOWN_PER_ADDRESS + 1)
    ]
    assert wires[-1].state == "aborted"
    assert room.connect(("2001:db8:0:1::1", 1))[1].state == "open"


def test_known_and_ended_connections_free_their_places(room: Room) -> None:
    for _ in range(2 * MAX_UNKNOWN_PER_ADDRESS):
        path, wire = room.joined()
        assert wire.state == "open"
        path.connection_lost(None)
        path, wire = room.connect()
        path.connection_lost(None)
    assert (room.port.connections, room.port.refused) == (0, 0)
    assert (room.port._unknown, room.port._unknown_from) == ({}, {})


def test_slow_reader_loses_whole_frames_which_are_counted(room: Room) -> None:
    path, wire = room.joined()
    wire.waiting = MAX_SEND_BUFFER + 1
    path.send(b"lost")
    wire.waiting = MAX_SEND_BUFFER
    path.send(b"kept")
    assert (wire.written, room.port.dropped_out) == (frame(b"kept"), 1)


async def test_real_reader_that_stops_gets_whole_frames_when_it_goes_on(room: Room) -> None:
    (listener,) = bind("127.0.0.1", 0, socket.SOCK_STREAM)
    with listener, socket.create_connection(listener.getsockname()) as client:
        loop = asyncio.get_running_loop()
        connection, _ = await loop.sock_accept(listener)
        await room.port.adopt(connection)
        client.setblocking(False)
        await loop.sock_sendall(client, frame(bytes(check(room.session.ice))))
        async with asyncio.timeout(5):
            while not room.router._paths[room.session.ufrag]:  # noqa: ASYNC110 (a plain list)
                await asyncio.sleep(0)
        (path,) = room.router._paths[room.session.ufrag]
        packet = bytes(1000)
        before = room.port.datagrams_out
        for _ in range(20_000):
            path.send(packet)
        assert room.port.dropped_out > 10_000, "20 MB are not kept"
        taken = room.port.datagrams_out - before
        assert taken + room.port.dropped_out == 20_000
        received, deframer = 0, Deframer()
        async with asyncio.timeout(10):
            while received < taken:
                packets = deframer.feed(await loop.sock_recv(client, 65536))
                assert set(packets) <= {packet}
                received += len(packets)
        room.port.close()


def test_connection_ends_with_its_session_and_may_first_send_what_waits(room: Room) -> None:
    path, wire = room.joined()
    room.router.remove(room.session)
    assert wire.state == "closing"
    path.send(b"late")
    assert room.port.dropped_out == 1
    room.tick(LINGER_S + 0.1)
    assert wire.state == "aborted"
    path.connection_lost(None)
    assert (room.port.connections, room.port._closing) == (0, {})


def test_lost_connection_is_no_path_any_more(room: Room) -> None:
    path, _ = room.joined()
    path.connection_lost(ConnectionResetError())
    assert path.session is None
    assert room.router._paths == {room.session.ufrag: []}
    path.send(b"late")
    assert room.port.dropped_out == 1


def test_closed_port_closes_all_connections(room: Room) -> None:
    wires = [room.joined()[1], room.connect()[1]]
    room.port.close()
    assert [wire.state for wire in wires] == ["aborted", "aborted"]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=10), st.booleans())
def test_random_bytes_are_never_answered(chunks: list[bytes], known: bool) -> None:
    room = Room()
    path, wire = room.joined() if known else room.connect()
    for chunk in chunks:
        if wire.state == "open":
            path.data_received(chunk)
    assert wire.written == b""
    assert (path.session is not None) == known
