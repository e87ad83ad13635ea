"""A server of fixed answers: the same people load the same bytes, of another process.

What they disturb then is the machine that they share with the server that is measured, which in
the field they do not: it is the control of `loadtest.replaying`. Answers by path come pickled on
the input; the first line of the output is the port. It gives way to all, and ends with its input.
"""

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from loadtest.ours import ends_with_us
from loadtest.priority import give_way

ADDRESS = "127.0.0.1"
_END_OF_HEAD = b"\r\n\r\n"


@asynccontextmanager
async def open_elsewhere(answers: Mapping[str, bytes]) -> AsyncIterator[str]:
    """The address of a process that has those answers, by what follows its address."""
    process = await asyncio.create_subprocess_exec(
        *ends_with_us(sys.executable, "-m", "loadtest.elsewhere"),
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        data = pickle.dumps(answers)
        process.stdin.write(len(data).to_bytes(8, "big") + data)
        yield f"http://{ADDRESS}:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await process.wait()


class _Connection(asyncio.Protocol):
    """Just enough HTTP for GET without a body."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self._answers = answers
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while _END_OF_HEAD in self._unread:
            head, _, self._unread = self._unread.partition(_END_OF_HEAD)
            body = self._answers[head.split(b" ", 2)[1].decode()]
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            self._transport.write(body)


async def _serve() -> None:
    size = int.from_bytes(sys.stdin.buffer.read(8), "big")
    answers: dict[str, bytes] = pickle.loads(sys.stdin.buffer.read(size))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(answers), ADDRESS, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    os._exit(0)  # whatever it still sends


if __name__ == "__main__":
    give_way()
    asyncio.run(_serve())
