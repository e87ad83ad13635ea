"""People replay while interviews run: `python -m loadtest.replaying --viewers 20 --rounds 3`.

Starts a server of its own and records some interviews. Then others run, and meanwhile, in turn
nobody, people who replay those recordings as the page does (10 s are loaded at once, then half as
fast again as it plays until it is 20 s ahead, some fragments in each request, few in the first
ones), and the same people loading the same bytes from a process that has them ready. In the last
case they disturb the machine, which they share with the server here, and the server not at all.
Told is the live forward latency of each, and the ratios: of replaying to nobody, which has the
viewers' own load in it, and of replaying to the same elsewhere, which comes nearer to the server's
part. What else the machine does is in all of them.
With `--viewers 0` it shows how far the ratios are from 1 by chance. Exit codes: 0 beside those who
replay the 99th percentile is at most a tenth above that without anybody, 1 more, or an interview
failed, 2 wrong use.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

import aiohttp

from loadtest.candidate import EXIT_USAGE, run
from loadtest.crashes import CampaignError, Server
from loadtest.elsewhere import open_elsewhere
from loadtest.histogram import Histogram, merged
from loadtest.invites import InviteError, many_by_owner
from loadtest.media import MediaError, default_cache, load_clip
from loadtest.ours import ends_with_us
from loadtest.packets import PacketisedClip, packetise
from loadtest.plan import Plan
from loadtest.priority import give_way
from loadtest.series import Totals
from loadtest.server_cost import cpu_by_name, find_server_pid, process_times
from loadtest.whip import REQUEST_TIMEOUT, Refused
from loadtest.worker import RemotePart, WorkerError, open_remote

EXIT_GREW = 1
#: PRODUCT: replay does not disturb what is live.
MAX_RATIO = 1.10
#: Of the page's player (`web_client/assets/replay.js`).
AHEAD_S = 20.0
AHEAD_AT_FIRST_S, GAIN = 10.0, 0.5
FIRST_AT_ONCE, AT_ONCE = (2, 5, 7), 8
#: Players come one after the other: nobody tells twenty people to press at the same instant.
BETWEEN_S = 0.2
RETRY_S = 2.0
POLL_S = 0.01
#: A server that has just started may be too late with all for interviews: it looks back 10 s.
TRIES, SETTLED_S = 4, 10.0
#: Of rounds, to tell how sure the ratio is.
DRAWINGS = 400
TOO_MANY = 429


@dataclass(slots=True)
class Round:
    """What was measured of one half of a round."""

    latency_s: Histogram
    server_cpu_s: dict[str, float]  #: by the kind of process
    lasted_s: float


@dataclass(slots=True)
class Loads:
    """What people loaded."""

    rounds: list[Round] = field(default_factory=list)
    reads: Histogram = field(default_factory=Histogram)  #: seconds that a request took
    fragments: int = 0
    stalls: int = 0  #: requests whose fragments came after they were due
    refused: int = 0

    def described(self) -> dict[str, Any]:
        return _described(self.rounds) | {
            "fragments": self.fragments,
            "request_ms": {
                "p50": _ms(self.reads.percentile(50)),
                "p99": _ms(self.reads.percentile(99)),
            },
            "stalls": self.stalls,
            "refused": self.refused,
        }


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of 99th percentiles, the median of the rounds': what disturbs one of them from outside
    counts for little. ``least`` and ``most``: in nine of ten drawings of as many (bootstrap).
    """

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, rounds: list[Round], to: list[Round]) -> "Ratio":
        ratios = [_p99(one) / _p99(other) for one, other in zip(rounds, to, strict=True)]
        draw = random.Random(1)
        drawings = [draw.choices(ratios, k=len(ratios)) for _ in range(DRAWINGS)]
        medians = sorted(map(statistics.median, drawings))
        least, most = medians[DRAWINGS // 20], medians[-DRAWINGS // 20]
        return cls(statistics.median(ratios), least, most)

    def described(self) -> list[float]:
        return [round(each, 3) for each in (self.median, self.least, self.most)]


def _p99(round: Round) -> float:
    return round.latency_s.percentile(99) or inf


@dataclass(slots=True)
class Result:
    """What was measured in each round."""

    alone: list[Round] = field(default_factory=list)
    replaying: Loads = field(default_factory=Loads)
    elsewhere: Loads = field(default_factory=Loads)
    faults: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> Ratio:
        """Of the latency beside those who replay to that without anybody."""
        return Ratio.of(self.replaying.rounds, self.alone)

    def as_json(self) -> str:
        return json.dumps(
            {
                "alone": _described(self.alone),
                "replaying": self.replaying.described(),
                "elsewhere": self.elsewhere.described(),
                "p99_ratio_with_bounds": {
                    "replaying to alone": self.ratio.described(),
                    "replaying to elsewhere": Ratio.of(
                        self.replaying.rounds, self.elsewhere.rounds
                    ).described(),
                    "elsewhere to alone": Ratio.of(self.elsewhere.rounds, self.alone).described(),
                },
                "faults": self.faults,
            },
            indent=2,
        )


def _described(rounds: list[Round]) -> dict[str, Any]:
    latency_s = merged(each.latency_s for each in rounds)
    lasted_s = sum(each.lasted_s for each in rounds)
    kinds = dict.fromkeys(kind for each in rounds for kind in each.server_cpu_s)
    return {
        "latency_ms": {
            f"p{percent:g}": _ms(latency_s.percentile(percent)) for percent in (50, 95, 99, 99.9)
        },
        "packets": latency_s.count,
        "p99_ms_of_each": [_ms(each.latency_s.percentile(99)) for each in rounds],
        "server_cpu_percent": {
            kind: round(sum(each.server_cpu_s.get(kind, 0) for each in rounds) * 100 / lasted_s, 2)
            for kind in kinds
        },
    }


@dataclass(frozen=True, slots=True)
class Seat:
    """A recording, by its path, and a link of one's own to it."""

    path: str
    token: str


class Viewer:
    """One person with the page open, who plays from somewhere and begins again at the end."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, seat: Seat, number: int, loads: Loads
    ) -> None:
        self._http, self._url, self._seat, self._number = http, url, seat, number
        self._loads = loads
        self._headers = {"Authorization": f"Bearer {seat.token}"}

    async def play(self) -> None:
        """Until cancelled."""
        await asyncio.sleep(self._number * BETWEEN_S)
        turns = self._turns(await self._get(self._index))
        await self._get(self._init)
        began_s, played_s = time.monotonic(), 0.0
        for some in itertools.cycle(turns):
            last_s = played_s + sum(fragment["duration_s"] for fragment in some[:-1])
            ahead_s = max(last_s - AHEAD_S, (last_s - AHEAD_AT_FIRST_S) / (1 + GAIN))
            await self._load(some, began_s + played_s, began_s + ahead_s)
            played_s = last_s + some[-1]["duration_s"]

    async def answers(self) -> dict[str, bytes]:
        """All that `play` asks for, with what the server answers."""
        index = await self._get(self._index)
        paths = [self._init, *map(self._media, self._turns(index))]
        return {self._index: index} | {path: await self._get(path) for path in paths}

    @property
    def _index(self) -> str:
        return self._seat.path

    @property
    def _init(self) -> str:
        return f"{self._seat.path}/init/0"

    def _media(self, some: list[dict[str, Any]]) -> str:
        return f"{self._seat.path}/fragment/{some[0]['seq']}?last={some[-1]['seq']}"

    def _turns(self, index: bytes) -> list[list[dict[str, Any]]]:
        """The fragments of each request, in order."""
        fragments = json.loads(index)["fragments"]
        first = self._number * 7 % len(fragments)
        onward, turns = fragments[first:], []
        for count in FIRST_AT_ONCE:
            turns.append(onward[:count])
            onward = onward[count:]
        return [
            *(some for some in turns if some),
            *(onward[place : place + AT_ONCE] for place in range(0, len(onward), AT_ONCE)),
            *(fragments[place : place + AT_ONCE] for place in range(0, first, AT_ONCE)),
        ]

    async def _load(self, some: list[dict[str, Any]], due_s: float, ask_s: float) -> None:
        await asyncio.sleep(ask_s - time.monotonic())
        asked_s = time.monotonic()
        await self._get(self._media(some))
        now_s = time.monotonic()
        self._loads.reads.add(now_s - asked_s)
        self._loads.fragments += len(some)
        # The first ones are due at once, and never there.
        self._loads.stalls += now_s > due_s + 1.0

    async def _get(self, path: str) -> bytes:
        while True:
            async with self._http.get(
                self._url + path, headers=self._headers, timeout=REQUEST_TIMEOUT
            ) as answer:
                if answer.status == 200:
                    return await answer.read()
                if answer.status != TOO_MANY:
                    raise CampaignError(f"{path} answers {answer.status}")
            self._loads.refused += 1
            await asyncio.sleep(RETRY_S)


async def measure(
    clip: PacketisedClip, interviews: int, viewers: int, rounds: int, seconds: float, folder: Path
) -> Result:
    """Raises CampaignError."""
    result = Result()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        server = Server(http, folder / "data", folder / "serve.log")
        stack.push_async_callback(server.ended)
        stack.callback(server.kill)
        await server.start()
        owner = await server.owner_token()
        await _record(server, owner, interviews, 1.5 * AHEAD_S)
        seats = await _seats(http, server.url, owner, viewers)
        answers = await _answers(http, server.url, seats)
        elsewhere = await stack.enter_async_context(open_elsewhere(answers))
        live = await stack.enter_async_context(_live(http, server, owner, clip, interviews))
        give_way()
        cases = [(server.url, result.replaying), (elsewhere, result.elsewhere)]
        for number in range(rounds):
            result.alone.append(await live.watch(seconds))
            # In turn the first: what the one leaves behind is not always the other's.
            for url, loads in reversed(cases) if number % 2 else cases:
                async with _watching(http, url, seats, loads):
                    loads.rounds.append(await live.watch(seconds))
        result.faults += await live.faults()
    return result


class Live:
    """Interviews that run, and what is measured of them."""

    def __init__(self, part: RemotePart, server_pid: int) -> None:
        self._part = part
        self._server_pid = server_pid

    async def watch(self, seconds: float) -> Round:
        """For as long, from the next time that the interviews tell of themselves."""
        before, began_s = await self._told(), time.monotonic()
        spent = process_times(self._server_pid)
        await asyncio.sleep(seconds)
        after, lasted_s = await self._told(), time.monotonic() - began_s
        cpu_s = cpu_by_name(spent, process_times(self._server_pid))
        cpu_s["replay"] = cpu_s.pop("analysis", 0.0)  # of analysis there is none here
        return Round(after.forward_latency_s.since(before.forward_latency_s), cpu_s, lasted_s)

    async def faults(self) -> list[str]:
        result = await self._part.end()
        failed = (each.error or each.connection_lost for each in result.interviews.values())
        return [f"an interview failed: {fault}" for fault in failed if fault is not None]

    async def _told(self) -> Totals:
        known = told = self._part.totals()
        while told is known:
            await asyncio.sleep(POLL_S)
            told = self._part.totals()
        return told


@asynccontextmanager
async def _live(
    http: aiohttp.ClientSession, server: Server, owner: str, clip: PacketisedClip, interviews: int
) -> AsyncIterator[Live]:
    titles = [f"Live {number + 1}" for number in range(interviews)]
    invites = await many_by_owner(http, server.url, owner, titles)
    plan = Plan(server.url, (clip,), interviews, inf, server.data_dir, owner)
    async with open_remote(plan, dict(enumerate(invites))) as part:
        await part.open()
        part.begin()
        pid = find_server_pid(server.data_dir)
        assert pid is not None
        yield Live(part, pid)


async def _record(server: Server, owner: str, interviews: int, seconds: float) -> None:
    """Raises CampaignError."""
    command = ends_with_us(
        *(sys.executable, "-m", "loadtest", "--json", "--no-recording-check"),
        *("--url", server.url, "--data-dir", str(server.data_dir), "--owner-token", owner),
        *("--interviews", str(interviews), "--duration", f"{seconds:g}s"),
    )
    for _ in range(TRIES):
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        report, errors = await process.communicate()
        if process.returncode == 0:
            return
        await asyncio.sleep(SETTLED_S)
    told = errors or report  # the report tells why a run is not valid
    raise CampaignError(f"nothing was recorded: {told.decode(errors='replace')[:1000]}")


async def _seats(http: aiohttp.ClientSession, url: str, owner: str, count: int) -> list[Seat]:
    headers = {"Authorization": f"Bearer {owner}"}
    async with http.get(f"{url}/api/recordings", headers=headers) as answer:
        ids = [each["interview_id"] for each in await answer.json()]
    seats = []
    for number in range(count):
        interview_id = ids[number % len(ids)]
        links = f"{url}/api/interviews/{interview_id}/links"
        async with http.post(links, json={"role": "recruiter"}, headers=headers) as answer:
            token = urldefrag((await answer.json())["url"]).fragment
        seats.append(Seat(f"/api/recordings/{interview_id}", token))
    return seats


async def _answers(http: aiohttp.ClientSession, url: str, seats: list[Seat]) -> dict[str, bytes]:
    """All that those people ask for."""
    answers: dict[str, bytes] = {}
    for number, seat in enumerate(seats):
        answers |= await Viewer(http, url, seat, number, Loads()).answers()
    return answers


@asynccontextmanager
async def _watching(
    http: aiohttp.ClientSession, url: str, seats: list[Seat], loads: Loads
) -> AsyncIterator[None]:
    viewers = [Viewer(http, url, seat, number, loads) for number, seat in enumerate(seats)]
    async with asyncio.TaskGroup() as tasks:
        playing = [tasks.create_task(each.play(), name="viewer") for each in viewers]
        try:
            yield
        finally:
            for each in playing:
                each.cancel()


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)


# ---- the command ------------------------------------------------------------------------


def main() -> int:
    arguments = _arguments()
    result: list[Result] = []
    try:
        run(_run(arguments, result))
    except (CampaignError, MediaError, InviteError, Refused, WorkerError) as error:
        print(f"replaying: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(result[0].as_json())
    return EXIT_GREW if result[0].faults or result[0].ratio.median > MAX_RATIO else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.replaying",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--interviews", type=int, default=5, metavar="N")
    parser.add_argument("--viewers", type=int, default=20, metavar="N")
    parser.add_argument("--rounds", type=int, default=12, metavar="N", help="of each kind")
    parser.add_argument("--seconds", type=float, default=6.0, metavar="S", help="of each turn")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace, result: list[Result]) -> None:
    clip = packetise(load_clip("h264", default_cache()))
    with tempfile.TemporaryDirectory(prefix="vivavoce-replaying-") as folder:
        result.append(
            await measure(
                clip,
                arguments.interviews,
                arguments.viewers,
                arguments.rounds,
                arguments.seconds,
                Path(folder),
            )
        )


if __name__ == "__main__":
    sys.exit(main())
