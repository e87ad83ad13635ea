import select
import socket
import time
from contextlib import closing, suppress

from loadtest.inbox import MAX_ROUNDS, SO_TIMESTAMPNS, Inbox, read_datagram, stamp_arrivals


def listening() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    stamp_arrivals(sock)
    sock.bind(("127.0.0.1", 0))
    return sock


def sending_to(other: socket.socket) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(other.getsockname())
    return sock


def test_a_datagram_has_arrived_when_the_kernel_took_it_however_late_it_is_read() -> None:
    with closing(listening()) as sock, closing(sending_to(sock)) as far:
        begun = time.time()
        while True:
            before = time.time()
            far.send(b"hello")
            select.select([sock], [], [], 5)  # the kernel may take it later than it is sent
            after = time.time()
            while time.time() < after + 0.01:
                pass
            data, address, arrived_s, dropped = read_datagram(sock)
            assert (data, address, dropped) == (b"hello", far.getsockname(), 0)
            assert before <= arrived_s
            if arrived_s <= after:
                break
            # It begins to stamp what comes a moment after it was asked to.
            assert time.time() < begun + 5


def test_what_the_kernel_had_no_room_for_is_counted() -> None:
    with closing(listening()) as sock, closing(sending_to(sock)) as far:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(50):
            far.send(bytes(500))
        read = 0
        with suppress(BlockingIOError):
            while True:
                read_datagram(sock)
                read += 1
        far.send(b"one more")  # only with what follows is it told
        assert read_datagram(sock).dropped == 50 - read > 0


def test_all_sockets_are_drained_in_turn() -> None:
    heard = []
    with closing(Inbox()) as inbox, closing(listening()) as one, closing(listening()) as two:
        inbox.add(one, lambda: heard.append(("one", read_datagram(one)[0])))
        inbox.add(two, lambda: heard.append(("two", read_datagram(two)[0])))
        for sock in (one, two):
            with closing(sending_to(sock)) as far:
                far.send(b"1")
                far.send(b"2")
        inbox.drain()
    assert sorted(heard[:2]) == [("one", b"1"), ("two", b"1")]
    assert sorted(heard[2:]) == [("one", b"2"), ("two", b"2")]


def test_a_socket_that_another_one_removes_is_not_read() -> None:
    with closing(Inbox()) as inbox, closing(listening()) as one, closing(listening()) as two:
        heard = []

        def read(sock: socket.socket, other: socket.socket) -> None:
            heard.append(read_datagram(sock)[0])
            inbox.remove(other)
            inbox.remove(other)  # idempotent

        inbox.add(one, lambda: read(one, two))
        inbox.add(two, lambda: read(two, one))
        for sock in (one, two):
            with closing(sending_to(sock)) as far:
                far.send(b"x")
        inbox.drain()
        assert heard == [b"x"]
        assert inbox
        inbox.remove(one)
        inbox.remove(two)
        assert not inbox


def test_what_never_ends_is_left_for_the_next_time() -> None:
    with closing(Inbox()) as inbox, closing(listening()) as sock, closing(sending_to(sock)) as far:
        heard = []

        def read() -> None:
            heard.append(read_datagram(sock)[0])
            far.send(b"more")

        inbox.add(sock, read)
        far.send(b"first")
        inbox.drain()
        assert len(heard) == MAX_ROUNDS
        inbox.drain()
        assert len(heard) == 2 * MAX_ROUNDS


def test_a_datagram_without_a_time_has_arrived_now() -> None:
    with closing(listening()) as sock, closing(sending_to(sock)) as far:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 0)
        far.send(b"hello")
        before = time.time()
        assert before <= read_datagram(sock).arrived_s <= time.time()
