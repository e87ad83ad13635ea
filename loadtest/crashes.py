"""Crashes in mid-interview: `python -m loadtest.crashes --times 200`, or with `--power-cut`.

Starts a server of its own with several interviews, kills it with SIGKILL at random moments and
starts it again; the candidates come back each time. With `--power-cut` (takes root) its data lie
on a disk whose power fails at the same moment, so that what was not synced is gone, too.
Meanwhile one recording after the other is verified, at the end all of them. Then they are read as
a recruiter reads them: the times in their frames tell what each crash has cost of each track.
Exit codes: 0 at most a second of a track each time, 1 more or a fault, 2 wrong use.
"""

import argparse
import asyncio
import json
import random
import re
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from loadtest import sdp, whip
from loadtest.candidate import EXIT_USAGE, run
from loadtest.histogram import Histogram
from loadtest.interview import DRAIN_S
from loadtest.invites import Invite, InviteError, many_by_owner
from loadtest.media import MediaError, default_cache, load_clip
from loadtest.ours import ends_with_us
from loadtest.packets import PacketisedClip, packetise
from loadtest.peer import Candidate, Crowd, open_crowd
from loadtest.power_cut import Disk, DiskError, open_disk
from loadtest.recording import Sent, SentTrack, check_recording
from loadtest.results import RecordingResult
from loadtest.transport import ConnectError
from loadtest.whip import REQUEST_TIMEOUT

EXIT_LOST = 1
ADDRESS = "127.0.0.1"
#: What a crash may cost of each track (PRODUCT, R1).
MAX_LOST_S = 1.0
#: What was sent so shortly before may not have reached the server.
ON_ITS_WAY_S = 0.02
#: From joining to the crash: so that it finds every part of a fragment's and a segment's way.
UP_S = (1.5, 4.0)
#: Every so many crashes a long life: more than one segment of ten seconds.
LONG_EVERY, LONG_S = 20, (11.0, 16.0)
READY_TIMEOUT_S = 60.0
JOIN_TIMEOUT_S, RETRY_S = 30.0, 1.0
BUSY = 503
POLL_S = 0.05
JOIN_ERRORS = (aiohttp.ClientError, TimeoutError, ConnectError, sdp.AnswerError, whip.Refused)


class CampaignError(Exception):
    """The campaign cannot go on; the text says why."""


@dataclass(slots=True)
class Result:
    """What the crashes have cost."""

    crashes: int = 0
    lost_s: Histogram = field(default_factory=Histogram)  #: by crash and track
    start_s: Histogram = field(default_factory=Histogram)  #: until ready, repair included
    frames_sent: int = 0
    frames_missing: int = 0
    faults: list[str] = field(default_factory=list)

    def as_json(self) -> str:
        lost, start = self.lost_s, self.start_s
        return json.dumps(
            {
                "crashes": self.crashes,
                "seconds_lost": {
                    "p50": lost.percentile(50),
                    "p95": lost.percentile(95),
                    "max": lost.max,
                    "samples": lost.count,
                },
                "seconds_to_start": {"p50": start.percentile(50), "max": start.max},
                "frames_sent": self.frames_sent,
                "frames_missing": self.frames_missing,
                "faults": self.faults,
            },
            indent=2,
        )


class Server:
    """`vivavoce serve` on one data directory, killed and started again on one port."""

    def __init__(self, http: aiohttp.ClientSession, data_dir: Path, log: Path) -> None:
        self.data_dir = data_dir
        self._http, self._log = http, log
        self._port = _free_port()
        self.url = f"http://{ADDRESS}:{self._port}"
        self._process: Process | None = None

    async def start(self) -> float:
        """Seconds until it is ready. Raises CampaignError."""
        began_s = time.monotonic()
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *ends_with_us(
                    *(sys.executable, "-m", "server.cli", "serve", "--workers", "0"),
                    *("--data-dir", str(self.data_dir), "--host", ADDRESS),
                    *("--port", str(self._port)),
                ),
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                start_new_session=True,  # a Ctrl-C is for us
            )
        while time.monotonic() - began_s < READY_TIMEOUT_S and self._process.returncode is None:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._http.get(f"{self.url}/readyz", timeout=REQUEST_TIMEOUT) as answer:
                    if answer.status == 200:
                        return time.monotonic() - began_s
            await asyncio.sleep(POLL_S)
        raise CampaignError(f"the server did not start:\n{self.said()[-2000:]}")

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL; `ended` waits for it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def ended(self) -> None:
        if self._process is not None:
            await self._process.wait()

    async def verify(self, interview_id: str) -> str | None:
        """What `vivavoce verify` says of a recording; None: it is intact."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server.cli", "verify"),
            str(self.data_dir / "recordings" / interview_id),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )
        output, _ = await process.communicate()
        return output.decode(errors="replace").strip() if process.returncode else None

    async def owner_token(self) -> str:
        """From the owner's link, which it prints soon after it is ready. Raises CampaignError."""
        for _ in range(100):
            if found := re.search(r"Owner .*#(\S+)\n", self.said()):
                return found[1]
            await asyncio.sleep(POLL_S)
        raise CampaignError("the server prints no owner's link")


@dataclass(slots=True)
class _Interview:
    invite: Invite
    clip: PacketisedClip
    candidate: Candidate | None = None
    sent: Sent = field(default_factory=dict)
    ended_s: dict[int, float] = field(default_factory=dict)  #: by SSRC: when the crash came

    async def join(self, crowd: Crowd, url: str) -> None:
        """As a page does that was opened again, patient with a busy server. CampaignError."""
        deadline_s = time.monotonic() + JOIN_TIMEOUT_S
        while True:
            self.candidate = Candidate(crowd, f"{url}/whip/{self.invite.candidate}", self.clip)
            try:
                await self.candidate.join()
                return
            except JOIN_ERRORS as error:
                busy = isinstance(error, whip.Refused) and error.status == BUSY
                if not busy or time.monotonic() > deadline_s:
                    raise CampaignError(f"a candidate could not join: {error}") from error
            await asyncio.sleep(RETRY_S)

    def note_sent(self, crashed_s: float | None) -> None:
        """What the recording should hold; `crashed_s`: Unix time of the crash that ended it."""
        if self.candidate is None:
            return
        for name, track in self.candidate.tracks().items():
            self.sent[track.ssrc] = SentTrack(name, track.frames)
            if crashed_s is not None:
                self.ended_s[track.ssrc] = crashed_s

    async def leave(self) -> None:
        candidate, self.candidate = self.candidate, None
        if candidate is not None:
            await candidate.leave()

    async def finish(self) -> None:
        """As a candidate does whose interview is over."""
        if self.candidate is not None:
            self.candidate.pause()
        self.note_sent(None)
        await asyncio.sleep(DRAIN_S)
        await self.leave()


async def campaign(
    clips: Sequence[PacketisedClip],
    interviews: int,
    times: int,
    folder: Path,
    chance: random.Random,
    power_cut: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Result:
    """Raises CampaignError, or DiskError where no disk for power cuts can be made."""
    result = Result()
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(open_disk(folder)) if power_cut else None
        crowd = await stack.enter_async_context(open_crowd())
        data_dir = (disk.path if disk is not None else folder) / "data"
        server = Server(crowd.http, data_dir, folder / "serve.log")
        stack.push_async_callback(server.ended)
        stack.callback(server.kill)
        result.start_s.add(await server.start())
        course = await _invite(crowd, server, clips, interviews)
        for number in range(times):
            await _join(crowd, server, course)
            await asyncio.sleep(chance.uniform(*(UP_S if (number + 1) % LONG_EVERY else LONG_S)))
            await _crash(server, course, disk)
            result.crashes += 1
            result.start_s.add(await server.start())
            await _verify(server, course[number % len(course)], result)
            say(f"crash {number + 1} of {times}, {len(result.faults)} faults")
        await _join(crowd, server, course)
        await asyncio.sleep(UP_S[0])
        await asyncio.gather(*(each.finish() for each in course))
        for each in course:
            await _read(crowd, server, each, result)
            await _verify(server, each, result)
    return result


async def _invite(
    crowd: Crowd, server: Server, clips: Sequence[PacketisedClip], interviews: int
) -> list[_Interview]:
    owner = await server.owner_token()
    titles = [f"Crash test {number + 1}" for number in range(interviews)]
    try:
        made = await many_by_owner(crowd.http, server.url, owner, titles)
    except (whip.Refused, InviteError, aiohttp.ClientError) as error:
        raise CampaignError(f"no invitation: {error}") from error
    return [_Interview(invite, clips[number % len(clips)]) for number, invite in enumerate(made)]


async def _join(crowd: Crowd, server: Server, course: Sequence[_Interview]) -> None:
    await asyncio.gather(*(each.join(crowd, server.url) for each in course))


async def _crash(server: Server, course: Sequence[_Interview], disk: Disk | None) -> None:
    if disk is not None:
        disk.cut()
    server.kill()
    crashed_s = time.time()
    for each in course:
        each.note_sent(crashed_s)
    await server.ended()
    await asyncio.gather(*(each.leave() for each in course))
    if disk is not None:
        await asyncio.to_thread(disk.restore)


async def _verify(server: Server, interview: _Interview, result: Result) -> None:
    fault = await server.verify(str(interview.invite.interview_id))
    if fault is not None:
        result.faults.append(f"after crash {result.crashes}: {fault}")


async def _read(crowd: Crowd, server: Server, interview: _Interview, result: Result) -> None:
    invite = interview.invite
    found = await check_recording(
        crowd.http, server.url, str(invite.interview_id), str(invite.recruiter), interview.sent
    )
    add(result, str(invite.interview_id), found, interview.sent, interview.ended_s)


def add(
    result: Result,
    interview_id: str,
    found: RecordingResult,
    sent: Sent,
    ended_s: Mapping[int, float],
) -> None:
    """What the crashes at `ended_s` (Unix seconds, by SSRC) have cost this recording."""
    if found.error is not None:
        result.faults.append(f"recording {interview_id}: {found.error}")
        return
    result.frames_sent += found.frames_sent
    result.frames_missing += found.frames_missing
    if found.frames_undeclared:
        result.faults.append(
            f"recording {interview_id}: {found.frames_undeclared} frames are missing, "
            "and no gap tells of them"
        )
    for ssrc, crashed_s in ended_s.items():
        if ssrc not in found.newest_s:
            result.faults.append(f"a crash cost all of {sent[ssrc].name}")
            continue
        lost_s = max(0.0, crashed_s - found.newest_s[ssrc])
        result.lost_s.add(lost_s)
        if lost_s > MAX_LOST_S + ON_ITS_WAY_S:
            result.faults.append(f"a crash cost {lost_s:.2f} s of {sent[ssrc].name}")


# ---- the command ------------------------------------------------------------------------


def main() -> int:
    arguments = _arguments()
    result: list[Result] = []
    try:
        run(_run(arguments, result))
    except (CampaignError, DiskError, MediaError) as error:
        print(f"crashes: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(result[0].as_json())
    return EXIT_LOST if result[0].faults else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.crashes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--times", type=int, default=200, metavar="N")
    parser.add_argument("--interviews", type=int, default=4, metavar="N")
    parser.add_argument("--power-cut", action="store_true", help="lose what was not synced, too")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the random moments")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace, result: list[Result]) -> None:
    clips = [packetise(load_clip(codec, default_cache())) for codec in ("h264", "vp8")]
    with tempfile.TemporaryDirectory(prefix="vivavoce-crashes-") as folder:
        result.append(
            await campaign(
                clips,
                arguments.interviews,
                arguments.times,
                Path(folder),
                random.Random(arguments.seed),
                arguments.power_cut,
                lambda text: print(text, file=sys.stderr),
            )
        )


def _free_port() -> int:
    """Free for TCP and UDP alike: the server takes the same number for both."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((ADDRESS, 0))
            port: int = tcp.getsockname()[1]
            with suppress(OSError):
                udp.bind((ADDRESS, port))
                return port


if __name__ == "__main__":
    sys.exit(main())
