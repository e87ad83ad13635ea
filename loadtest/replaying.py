"""People replay while interviews run: `python -m loadtest.replaying --viewers 20 --rounds 3`.

Starts a server of its own and records some interviews. Then interviews run in rounds, in turn
without and with people who replay those recordings as the page does: 20 s are loaded at once, then
as fast as it plays, some fragments in each request. Told is the live forward latency of both, and
their ratio: what else the machine does is in both. Exit codes: 0 the 99th percentile grew by at
most a tenth, 1 by more, or a run was not valid, 2 wrong use.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

import aiohttp

from loadtest.candidate import EXIT_USAGE, run
from loadtest.crashes import CampaignError, Server
from loadtest.histogram import Histogram
from loadtest.ours import ends_with_us
from loadtest.whip import REQUEST_TIMEOUT

EXIT_GREW = 1
#: PRODUCT: replay does not disturb what is live.
MAX_RATIO = 1.10
#: Of the page's player (`web_client/assets/replay.js`).
AHEAD_S = 20.0
AT_ONCE = 6
#: Players come one after the other: nobody tells twenty people to press at the same instant.
BETWEEN_S = 0.2
RETRY_S = 2.0
TOO_MANY = 429


@dataclass(slots=True)
class Result:
    """What was measured in each round."""

    p99_alone_ms: list[float] = field(default_factory=list)
    p99_replaying_ms: list[float] = field(default_factory=list)
    p50_alone_ms: list[float] = field(default_factory=list)
    p50_replaying_ms: list[float] = field(default_factory=list)
    reads: Histogram = field(default_factory=Histogram)  #: seconds that a request took
    fragments: int = 0
    stalls: int = 0  #: requests whose fragments came after they were due
    refused: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Of the medians of the 99th percentiles."""
        return statistics.median(self.p99_replaying_ms) / statistics.median(self.p99_alone_ms)

    def as_json(self) -> str:
        return json.dumps(
            {
                "p99_ms": {"alone": self.p99_alone_ms, "replaying": self.p99_replaying_ms},
                "p50_ms": {"alone": self.p50_alone_ms, "replaying": self.p50_replaying_ms},
                "p99_ratio": round(self.ratio, 3),
                "fragments": self.fragments,
                "request_ms": {
                    "p50": _ms(self.reads.percentile(50)),
                    "p99": _ms(self.reads.percentile(99)),
                },
                "stalls": self.stalls,
                "refused": self.refused,
                "faults": self.faults,
            },
            indent=2,
        )


class Viewer:
    """One person with the page open, who plays from somewhere and begins again at the end."""

    def __init__(
        self, http: aiohttp.ClientSession, base: str, token: str, number: int, result: Result
    ) -> None:
        self._http, self._base, self._number, self._result = http, base, number, result
        self._headers = {"Authorization": f"Bearer {token}"}

    async def play(self) -> None:
        """Until cancelled."""
        await asyncio.sleep(self._number * BETWEEN_S)
        index = json.loads(await self._get(""))
        await self._get("/init/0")
        fragments = index["fragments"]
        first = self._number * 7 % len(fragments)
        began_s, played_s = time.monotonic(), 0.0
        while True:
            for place in (*range(first, len(fragments), AT_ONCE), *range(0, first, AT_ONCE)):
                some = fragments[place : place + AT_ONCE]
                due_s = began_s + played_s
                played_s += sum(fragment["duration_s"] for fragment in some)
                await self._load(some, due_s, began_s + played_s)

    async def _load(self, some: list[dict[str, Any]], due_s: float, until_s: float) -> None:
        await asyncio.sleep(until_s - AHEAD_S - time.monotonic())
        asked_s = time.monotonic()
        await self._get(f"/fragment/{some[0]['seq']}?last={some[-1]['seq']}")
        now_s = time.monotonic()
        self._result.reads.add(now_s - asked_s)
        self._result.fragments += len(some)
        # The first ones are due at once, and never there.
        self._result.stalls += now_s > due_s + 1.0

    async def _get(self, path: str) -> bytes:
        while True:
            async with self._http.get(
                self._base + path, headers=self._headers, timeout=REQUEST_TIMEOUT
            ) as answer:
                if answer.status == 200:
                    return await answer.read()
                if answer.status != TOO_MANY:
                    raise CampaignError(f"{path} answers {answer.status}")
            self._result.refused += 1
            await asyncio.sleep(RETRY_S)


async def measure(
    interviews: int, viewers: int, rounds: int, seconds: float, folder: Path
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
        await _interviews(server, owner, interviews, 2 * AHEAD_S + seconds)
        seats = await _seats(http, server.url, owner, viewers)
        for _ in range(rounds):
            alone = await _interviews(server, owner, interviews, seconds)
            async with _replaying(http, seats, result):
                beside = await _interviews(server, owner, interviews, seconds)
            _note(result, alone, beside)
    return result


def _note(result: Result, alone: dict[str, Any], beside: dict[str, Any]) -> None:
    for report, p50s, p99s in (
        (alone, result.p50_alone_ms, result.p99_alone_ms),
        (beside, result.p50_replaying_ms, result.p99_replaying_ms),
    ):
        if not report["valid"]:
            result.faults.append(f"a run was not valid: {report.get('invalid_because')}")
        p50s.append(round(report["forward_latency_ms"]["p50"], 3))
        p99s.append(round(report["forward_latency_ms"]["p99"], 3))


async def _interviews(
    server: Server, owner: str, interviews: int, seconds: float
) -> dict[str, Any]:
    """The report of a load test of that server. Raises CampaignError."""
    process = await asyncio.create_subprocess_exec(
        *ends_with_us(
            *(sys.executable, "-m", "loadtest", "--json", "--no-recording-check"),
            *("--url", server.url, "--data-dir", str(server.data_dir), "--owner-token", owner),
            *("--interviews", str(interviews), "--duration", f"{seconds:g}s"),
        ),
        stdout=PIPE,
        stderr=PIPE,
    )
    output, errors = await process.communicate()
    try:
        report: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise CampaignError(f"no report: {errors.decode(errors='replace')}") from error
    return report


async def _seats(
    http: aiohttp.ClientSession, url: str, owner: str, count: int
) -> list[tuple[str, str]]:
    """For each viewer a recording's address and a link of their own to it."""
    headers = {"Authorization": f"Bearer {owner}"}
    async with http.get(f"{url}/api/recordings", headers=headers) as answer:
        ids = [each["interview_id"] for each in await answer.json()]
    seats = []
    for number in range(count):
        interview_id = ids[number % len(ids)]
        links = f"{url}/api/interviews/{interview_id}/links"
        async with http.post(links, json={"role": "recruiter"}, headers=headers) as answer:
            token = urldefrag((await answer.json())["url"]).fragment
        seats.append((f"{url}/api/recordings/{interview_id}", token))
    return seats


@asynccontextmanager
async def _replaying(
    http: aiohttp.ClientSession, seats: list[tuple[str, str]], result: Result
) -> AsyncIterator[None]:
    viewers = [
        Viewer(http, base, token, number, result) for number, (base, token) in enumerate(seats)
    ]
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
    except CampaignError as error:
        print(f"replaying: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(result[0].as_json())
    return EXIT_GREW if result[0].faults or result[0].ratio > MAX_RATIO else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.replaying",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--interviews", type=int, default=5, metavar="N")
    parser.add_argument("--viewers", type=int, default=20, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of both kinds")
    parser.add_argument("--seconds", type=float, default=15.0, metavar="S", help="of each run")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace, result: list[Result]) -> None:
    with tempfile.TemporaryDirectory(prefix="vivavoce-replaying-") as folder:
        result.append(
            await measure(
                arguments.interviews,
                arguments.viewers,
                arguments.rounds,
                arguments.seconds,
                Path(folder),
            )
        )


if __name__ == "__main__":
    sys.exit(main())
