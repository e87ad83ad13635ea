"""The servers that are compared: how each is started, and its seats for peers."""

import asyncio
import re
import shutil
import socket
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import aiohttp
import msgspec

from loadtest import invites
from loadtest.ours import ends_with_us
from loadtest.peer import Signalling
from loadtest.peers import janus, mjr
from loadtest.peers.namespace import LOOPBACK
from loadtest.peers.table import Job
from loadtest.recording import RecordingError, Sent, check_recording
from loadtest.watch import Watcher
from loadtest.watching import decodable
from loadtest.whip import Whip

START_TIMEOUT_S, STOP_TIMEOUT_S = 30.0, 15.0
POLL_INTERVAL_S = 0.1


class StartError(Exception):
    """The server did not come up; the text holds its last words."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server runs in one trial."""

    http: aiohttp.ClientSession
    address: str
    folder: Path  #: its own, removed afterwards


class Kept(msgspec.Struct, frozen=True):
    """What a server has, afterwards, of what a candidate sent: whole frames."""

    pictures: int  #: that can be decoded
    sounds: int


@dataclass(frozen=True, slots=True)
class Seat:
    """The ways in of one interview."""

    publish: Signalling
    observe: Signalling | None = None
    indicators: Watcher | None = None
    #: To be asked when the candidate has left. Raises RecordingError, OSError or ValueError.
    kept: Callable[[Sent], Awaitable[Kept]] | None = None


@dataclass(frozen=True, slots=True)
class Running:
    pid: int
    seats: Callable[[int], Awaitable[list[Seat]]]


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    jobs: tuple[Job, ...]
    start: Callable[[Job, Place], AbstractAsyncContextManager[Running]]
    #: Why this server cannot run at this address, if it cannot.
    absent: Callable[[str], str | None] = lambda address: None
    max_publishers: int | None = None  #: more than it can do on a core
    note: str | None = None


# ---- processes ----------------------------------------------------------------------------


@asynccontextmanager
async def started(command: list[str], log: Path) -> AsyncIterator[Process]:
    """The process, with its output in `log`; ended with the block, or with us."""
    with log.open("wb") as output:
        # A session of its own: a Ctrl-C at the terminal is for us, who then stop it.
        process = await asyncio.create_subprocess_exec(
            *ends_with_us(*command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _ready(process: Process, log: Path, probe: Callable[[], Awaitable[bool]]) -> None:
    """Raises StartError when the probe does not succeed in time."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.returncode is None:
        with suppress(aiohttp.ClientError, OSError, ValueError):
            if await probe():
                return
        await asyncio.sleep(POLL_INTERVAL_S)
    raise StartError(f"it did not start: {_read(log)[-500:].strip()}")


def _read(log: Path) -> str:
    return log.read_text(errors="replace")


async def _is_healthy(http: aiohttp.ClientSession, url: str) -> bool:
    async with http.get(f"{url}/healthz") as response:
        return response.status == 200


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


# ---- Vivavoce -----------------------------------------------------------------------------


@asynccontextmanager
async def _vivavoce(workers: int, job: Job, place: Place) -> AsyncIterator[Running]:
    log, data_dir = place.folder / "log", place.folder / "data"
    port = _free_port(place.address)
    command = [sys.executable, "-m", "server.cli", "serve", "--data-dir", str(data_dir)]
    command += ["--host", place.address, "--advertise", place.address, "--port", str(port)]
    url = f"http://{place.address}:{port}"
    async with started([*command, "--workers", str(workers)], log) as process:
        await _ready(process, log, partial(_is_announced, place.http, url, log))
        owner = _owner_token(_read(log))
        yield Running(process.pid, partial(_vivavoce_seats, place.http, url, owner, workers > 0))


async def _is_announced(http: aiohttp.ClientSession, url: str, log: Path) -> bool:
    return await _is_healthy(http, url) and _owner_token(_read(log)) != ""


def _owner_token(output: str) -> str:
    """From the owner's link, which the server prints; empty before it has."""
    found = re.search(r"Owner .*#(\S+)\n", output)
    return found[1] if found else ""


async def _vivavoce_seats(
    http: aiohttp.ClientSession, url: str, owner: str, analysed: bool, count: int
) -> list[Seat]:
    seats = []
    for number in range(count):
        made = await invites.by_owner(http, url, owner, f"Benchmark {number + 1}")
        publish = Whip(http, f"{url}/whip/{made.candidate}")
        observe = Whip(http, f"{url}/whep/{made.observer}")
        watcher = Watcher(http, url, made.observer) if analysed else None
        seats.append(Seat(publish, observe, watcher, partial(_recorded, http, url, made)))
    return seats


async def _recorded(
    http: aiohttp.ClientSession, url: str, made: invites.Invite, sent: Sent
) -> Kept:
    assert made.interview_id is not None
    assert made.recruiter is not None
    found = await check_recording(http, url, made.interview_id, made.recruiter, sent)
    if found.error is not None:
        raise RecordingError(found.error)
    pictures, sounds = (
        sum(each.frames for each in sent.values() if each.name == name)
        for name in ("camera", "microphone")
    )
    sounds_missing = found.frames_missing - found.video_missing
    return Kept(pictures - found.video_missing, sounds - sounds_missing)


# ---- aiortc -------------------------------------------------------------------------------


@asynccontextmanager
async def _aiortc(job: Job, place: Place, watched: bool = False) -> AsyncIterator[Running]:
    log, port = place.folder / "log", _free_port(place.address)
    command = [sys.executable, "-m", "loadtest.peers.answerer"]
    command += ["--address", place.address, "--port", str(port)]
    if job is Job.RECORD:
        command += ["--record", str(place.folder)]
    if watched:
        command += ["--watch", str(place.folder)]
    url = f"http://{place.address}:{port}"

    async def seats(count: int) -> list[Seat]:
        return [_aiortc_seat(place, url, str(number), watched) for number in range(1, count + 1)]

    async with started(command, log) as process:
        await _ready(process, log, partial(_is_healthy, place.http, url))
        yield Running(process.pid, seats)


def _aiortc_seat(place: Place, url: str, room: str, watched: bool) -> Seat:
    publish = Whip(place.http, f"{url}/whip?room={room}")
    if not watched:
        return Seat(publish)
    observe = Whip(place.http, f"{url}/whep?room={room}")
    return Seat(publish, observe, kept=partial(_watched, place.folder, publish))


async def _watched(folder: Path, way: Whip, sent: Sent) -> Kept:
    """What the answerer has written down of this session when it ended."""
    path = folder / f"{way.location.rpartition('/')[2]}.json"
    return msgspec.json.decode(await asyncio.to_thread(path.read_bytes), type=Kept)


# ---- Janus --------------------------------------------------------------------------------


def janus_configuration(address: str, port: int) -> dict[str, str]:
    """The files of a folder for `janus --configs-folder`: videoroom over WebSockets, only."""
    return {
        "janus.jcfg": f"""
            general: {{ debug_level = 2 }}
            media: {{ ipv6 = false }}
            nat: {{ ice_enforce_list = "{address}", ignore_mdns = true }}
            plugins: {{ disable = "{_but("plugin", "videoroom")}" }}
            transports: {{ disable = "{_but("transport", "websockets")}" }}
        """,
        "janus.transport.websockets.jcfg": f"""
            general: {{ ws = true, ws_port = {port}, ws_ip = "{address}" }}
        """,
        "janus.plugin.videoroom.jcfg": "general: { }",
    }


_PARTS = {
    "plugin": "audiobridge duktape echotest lua nosip recordplay sip streaming textroom "
    "videocall videoroom voicemail",
    "transport": "http mqtt nanomsg pfunix rabbitmq websockets",
}


def _but(kind: str, wanted: str) -> str:
    return ",".join(f"libjanus_{name}.so" for name in _PARTS[kind].split() if name != wanted)


def _janus_absent(address: str) -> str | None:
    if shutil.which("janus") is None:
        return "not installed (Debian: janus)"
    if address == LOOPBACK:
        return "it refuses loopback interfaces, and there is no network namespace"
    return None


@asynccontextmanager
async def _janus(job: Job, place: Place) -> AsyncIterator[Running]:
    log, port = place.folder / "log", _free_port(place.address)
    for name, text in janus_configuration(place.address, port).items():
        (place.folder / name).write_text(text)
    url = f"ws://{place.address}:{port}"
    rec_dir = None if job is Job.RECEIVE else place.folder

    async def seats(count: int) -> list[Seat]:
        rooms = range(1, count + 1)
        for room in rooms:
            await janus.make_room(place.http, url, room, rec_dir)
        return [
            Seat(
                janus.JanusPublisher(place.http, url, room),
                janus.JanusSubscriber(place.http, url, room),
                kept=partial(_written, place.folder, room),
            )
            for room in rooms
        ]

    async with started(["janus", "--configs-folder", str(place.folder)], log) as process:
        await _ready(process, log, partial(_takes_websockets, place.http, url))
        yield Running(process.pid, seats)


async def _written(folder: Path, room: int, sent: Sent) -> Kept:
    return await asyncio.to_thread(_whole_frames, folder, room)


def _whole_frames(folder: Path, room: int) -> Kept:
    """In the room's files, whose names begin with it and tell the kind of the track."""
    whole: dict[str, dict[int, bytes]] = {"vp8": {}, "opus": {}}
    for path in folder.glob(f"videoroom-{room}-*.mjr"):
        codec = "vp8" if "-video-" in path.name else "opus"
        whole[codec] |= mjr.whole_frames(codec, mjr.packets(path.read_bytes()))
    return Kept(decodable(whole["vp8"].items()), len(whole["opus"]))


async def _takes_websockets(http: aiohttp.ClientSession, url: str) -> bool:
    async with http.ws_connect(url, protocols=[janus.SUBPROTOCOL]):
        return True


# ---- the table's rows ---------------------------------------------------------------------

_ALL = tuple(Job)
CONTESTANTS = (
    Contestant("Janus", _ALL, _janus, _janus_absent),
    Contestant("aiortc MediaBlackhole", (Job.RECEIVE,), _aiortc),
    Contestant(
        "aiortc MediaRecorder",
        (Job.RECORD,),
        _aiortc,
        max_publishers=1,
        note="aiortc MediaRecorder: one publisher, as it fills a core with one.",
    ),
    Contestant(
        "Vivavoce --workers 0",
        _ALL[1:],
        partial(_vivavoce, 0),
        note="Vivavoce always records, and encrypts what it records; no other server here does.",
    ),
    Contestant(
        "Vivavoce with analysis",
        _ALL[1:],
        partial(_vivavoce, 1),
        note="With analysis, the observer also gets live indicators over a WebSocket.",
    ),
)
#: On bad networks, each with the best that it can be asked.
RECEIVERS = (
    *(each for each in CONTESTANTS if each.name in ("Vivavoce --workers 0", "Janus")),
    Contestant(
        "aiortc",
        (Job.RECEIVE,),
        partial(_aiortc, watched=True),
        max_publishers=2,
        note="aiortc: recorded is what its own receiver decodes; its MediaRelay gives that to the "
        "observer, encoded anew, so that nothing tells how late it is.",
    ),
)


def versions() -> dict[str, str]:
    """Of the programs that are there."""
    found = {"aiortc": metadata.version("aiortc")}
    if shutil.which("janus") is not None:
        done = subprocess.run(["janus", "--version"], capture_output=True, text=True, check=False)
        match = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        found["Janus"] = match[0] if match else "unknown"
    return found
