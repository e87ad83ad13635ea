import asyncio
import errno
import socket
from contextlib import ExitStack

import pytest

from server.media.transport.sockets import accept, bind, bind_both

KINDS = [socket.SOCK_DGRAM, socket.SOCK_STREAM]


def families(stack: ExitStack, host: str, kind: socket.SocketKind) -> set[socket.AddressFamily]:
    opened = [stack.enter_context(each) for each in bind(host, 0, kind)]
    assert len({each.getsockname()[1] for each in opened}) == 1, "one number for all"
    assert all(each.gettimeout() == 0 for each in opened)
    return {each.family for each in opened}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_every_address_means_those_of_both_families(host: str, kind: socket.SocketKind) -> None:
    with ExitStack() as stack:
        assert families(stack, host, kind) == {socket.AF_INET, socket.AF_INET6}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)]
)
def test_one_address_is_one_socket(
    host: str, family: socket.AddressFamily, kind: socket.SocketKind
) -> None:
    with ExitStack() as stack:
        assert families(stack, host, kind) == {family}


@pytest.mark.parametrize("kind", KINDS)
def test_port_in_use_by_one_family_is_an_error_for_both(kind: socket.SocketKind) -> None:
    with ExitStack() as stack:
        (taken,) = (stack.enter_context(each) for each in bind("::1", 0, kind))
        with pytest.raises(OSError, match="in use") as caught:
            bind("0.0.0.0", taken.getsockname()[1], kind)
        assert caught.value.errno == errno.EADDRINUSE


def test_any_number_is_one_that_is_free_for_both_protocols() -> None:
    with ExitStack() as stack:
        # A few of a hundred numbers are taken: some of the rounds meet one.
        for _ in range(600):
            stack.enter_context(bind("127.0.0.1", 0, socket.SOCK_STREAM)[0])
        for _ in range(300):
            udp, tcp = bind_both("127.0.0.1", 0, None)
            with udp[0], tcp[0]:
                assert udp[0].getsockname() == tcp[0].getsockname()


def test_number_that_was_asked_for_is_not_changed() -> None:
    with bind("127.0.0.1", 0, socket.SOCK_STREAM)[0] as taken:
        number = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            bind_both("127.0.0.1", number, None)
        udp, tcp = bind_both("127.0.0.1", number, number)
        with udp[0]:
            assert (udp[0].getsockname()[1], tcp) == (number, [])


async def test_connections_are_handed_on_as_they_come() -> None:
    (listener,) = bind("127.0.0.1", 0, socket.SOCK_STREAM)
    came: asyncio.Queue[socket.socket] = asyncio.Queue()
    task = asyncio.create_task(accept(listener, came.put_nowait), name="accept")
    with listener:
        for _ in range(2):
            with socket.create_connection(listener.getsockname()) as client:
                async with asyncio.timeout(5):
                    connection = await came.get()
                with connection:
                    assert connection.getpeername() == client.getsockname()
                    assert connection.gettimeout() == 0
        task.cancel()
        await asyncio.wait([task])
