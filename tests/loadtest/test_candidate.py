"""The command of one simulated candidate, as a process."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loadtest.candidate import EXIT_REFUSED, EXIT_USAGE
from loadtest.peer import Crowd
from tests.loadtest.conftest import new_interview, write_tone
from tests.loadtest.mini_server import MiniServer


@asynccontextmanager
async def candidate(folder: Path, url: str, *flags: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.candidate", "--whip-url", url, "--codec", "vp8"),
        *("--cache", str(folder), "--audio", str(write_tone(folder, 0.5)), *flags),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def connected(process: Process, url: str) -> None:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    assert line.decode() == f"candidate connected to {url}\n"


@pytest.fixture
async def url(crowd: Crowd, mini: MiniServer) -> str:
    return f"{mini.url}/whip/{await new_interview(crowd, mini)}"


async def test_it_publishes_until_its_input_ends(
    tmp_path: Path, mini: MiniServer, url: str
) -> None:
    async with candidate(tmp_path, url, "--until-stdin-closes") as process:
        await connected(process, url)
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert mini.peers == {}, "it has ended its session"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("flags", [(), ("--until-stdin-closes",)])
async def test_it_leaves_when_told_to(
    tmp_path: Path, mini: MiniServer, url: str, number: signal.Signals, flags: tuple[str, ...]
) -> None:
    """Also while it waits for the end of an input that stays open."""
    async with candidate(tmp_path, url, *flags) as process:
        await connected(process, url)
        process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""
    assert mini.peers == {}


async def test_it_joins_again_by_itself_when_the_connection_ends(
    tmp_path: Path, mini: MiniServer, url: str
) -> None:
    async with candidate(tmp_path, url) as process:
        await connected(process, url)
        await mini.close_media()
        await connected(process, url)


async def test_a_refused_link_is_said_in_one_line(tmp_path: Path, mini: MiniServer) -> None:
    async with candidate(tmp_path, f"{mini.url}/no/such/route/here") as process:
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == EXIT_REFUSED
    assert errors.decode().startswith("candidate: the server refused")
    assert errors.decode().count("\n") == 1


async def test_a_film_that_is_none_is_said_in_one_line(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"no film")
    async with candidate(tmp_path, "http://127.0.0.1:1/", "--video", str(film)) as process:
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == EXIT_USAGE
    assert errors.decode().startswith(f"candidate: cannot use {film}")
    assert errors.decode().count("\n") == 1
