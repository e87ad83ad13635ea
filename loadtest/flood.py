"""A flood of datagrams that belong to nobody: `python -m loadtest.flood` against a running server.

Random bytes, checks for unknown and (forged) for live sessions, DTLS and RTP from unbound
addresses, in turn. Prints what the server answered, which must be nothing, how many datagrams it
took and refused (the kernel drops the rest), and its CPU before and meanwhile.
Run `python -m loadtest` beside it to see whether interviews suffer.
Exit codes: 0 not a byte was answered, 1 some were, 2 wrong use, 3 no server, 4 refused by it.
"""

import argparse
import asyncio
import re
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import aiohttp
import uvloop
from aioice import stun

from loadtest import server_cost, whip
from loadtest.candidate import EXIT_REFUSED
from loadtest.duration import parse_duration
from loadtest.invites import ByCommand, InviteError
from loadtest.peer import Crowd, negotiate, open_crowd
from loadtest.sdp import AnswerError, LocalSide, write_offer
from loadtest.transport import ClientTransport, ConnectError

EXIT_ANSWERED, EXIT_NO_SERVER = 1, 3
#: Source addresses; many more packets than addresses come, as in a flood from few machines.
SOCKETS = 64
#: Different packets of each kind, made beforehand.
VARIANTS = 50
TICK_S = 0.005
#: How long the server's CPU is measured before the flood begins.
QUIET_S = 3.0

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Flooded:
    sent: int
    seconds: float
    answers: int


def kinds(username: str) -> dict[str, list[bytes]]:
    """Packets by kind; `username` is of a live session, whose password they don't know."""
    return {
        "random bytes": [secrets.token_bytes(secrets.randbelow(1200)) for _ in range(VARIANTS)],
        "check, unknown user": [_check(secrets.token_hex(8) + ":abcd") for _ in range(VARIANTS)],
        "check, forged": [_check(username) for _ in range(VARIANTS)],
        "DTLS": [b"\x16\xfe\xff" + secrets.token_bytes(180) for _ in range(VARIANTS)],
        "RTP": [b"\x80\x60" + secrets.token_bytes(1100) for _ in range(VARIANTS)],
    }


def _check(username: str) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = username
    message.attributes["PRIORITY"] = 1_845_501_695
    message.attributes["ICE-CONTROLLING"] = secrets.randbits(64)
    message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(secrets.token_bytes(32))
    return bytes(message)


async def flood(
    address: Address, packets: Sequence[bytes], rate: int, duration_s: float
) -> Flooded:
    """Sends `rate` packets a second to `address`, in turn, from `SOCKETS` addresses.

    Raises OSError when nobody has the port any more.
    """
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        sockets = [stack.enter_context(_connected(address)) for _ in range(SOCKETS)]
        turn = zip(cycle(sockets), cycle(packets), strict=False)
        sent, begun, elapsed_s = 0, loop.time(), 0.0
        while elapsed_s < duration_s:
            due = int(elapsed_s * rate) - sent
            for each, packet in islice(turn, due):
                each.send(packet)
            sent += due
            await asyncio.sleep(TICK_S)
            elapsed_s = loop.time() - begun
        return Flooded(sent, elapsed_s, sum(map(_answers, sockets)))


def _connected(address: Address) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect(address)
    return made


def _answers(sender: socket.socket) -> int:
    sender.setblocking(False)
    answers = 0
    while True:
        try:
            sender.recv(2048)
        except BlockingIOError:
            return answers
        answers += 1


# ---- the command ------------------------------------------------------------------------


def main() -> int:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(_arguments()))
    except (whip.Refused, InviteError, AnswerError, ConnectError) as error:
        print(f"flood: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except (aiohttp.ClientError, OSError) as error:
        print(f"flood: {error}", file=sys.stderr)
        return EXIT_NO_SERVER


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.flood",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR")
    parser.add_argument("--rate", type=int, default=20_000, metavar="N", help="packets a second")
    parser.add_argument("--duration", type=parse_duration, default=20.0, metavar="D")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> int:
    url = arguments.url.rstrip("/")
    async with open_crowd() as crowd, _joined(crowd, url, arguments.data_dir) as (name, address):
        packets = [each for several in zip(*kinds(name).values(), strict=True) for each in several]
        headers = await asyncio.to_thread(server_cost.metrics_headers, arguments.data_dir)
        refused_before = await _refused(crowd, url, headers)
        quiet = await _cpu_share(arguments.data_dir, asyncio.sleep(QUIET_S))
        work = asyncio.create_task(
            flood(address, packets, arguments.rate, arguments.duration), name="flood"
        )
        flooded_share = await _cpu_share(arguments.data_dir, work)
        done = work.result()
        refused = await _refused(crowd, url, headers) - refused_before
    print(
        f"{done.sent} packets in {done.seconds:.1f} s: "
        f"{refused} taken and refused, {done.answers} answered"
    )
    print(f"server CPU: {quiet:.1%} of a core before, {flooded_share:.1%} meanwhile")
    return EXIT_ANSWERED if done.answers else 0


@asynccontextmanager
async def _joined(crowd: Crowd, url: str, data_dir: Path) -> AsyncIterator[tuple[str, Address]]:
    """A session of our own, silent but alive: its user name, and where the server is."""
    invite = await ByCommand(url, data_dir).invite("Flood")
    transport = ClientTransport(
        crowd.certificate, _ignore, _ignore, lambda: None, None, crowd.inbox
    )

    def offer(fingerprint: str) -> str:
        local = LocalSide(transport.ufrag, transport.password, fingerprint, 1, 2)
        return write_offer(local, ["vp8"], "sendonly")

    signalling = whip.Whip(crowd.http, f"{url}/whip/{invite.candidate}")
    try:
        remote = await negotiate(transport, crowd, signalling, offer)
        yield f"{remote.ufrag}:{transport.ufrag}", remote.addresses[0]
    finally:
        await transport.close()
        await signalling.end()


def _ignore(packet: bytes, arrived_s: float) -> None:
    """Nothing is expected: the session exists only to be named."""


async def _refused(crowd: Crowd, url: str, headers: dict[str, str]) -> int:
    url = f"{url}/metrics"
    async with crowd.http.get(url, headers=headers, timeout=whip.REQUEST_TIMEOUT) as response:
        found = re.search(r"^vivavoce_datagrams_refused_total (\S+)$", await response.text(), re.M)
    return int(float(found[1])) if found else 0


async def _cpu_share(data_dir: Path, work: Awaitable[object]) -> float:
    """CPU seconds per second of the server's own process while `work` goes on."""
    pid = server_cost.find_server_pid(data_dir)
    if pid is None:
        raise InviteError(f"no running server has {data_dir} as its data directory")
    before, begun = server_cost.process_times(pid), time.monotonic()
    await work
    spent = server_cost.cpu_by_name(before, server_cost.process_times(pid))
    return spent.get("media", 0.0) / (time.monotonic() - begun)


if __name__ == "__main__":
    sys.exit(main())
