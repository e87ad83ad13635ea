"""The load test proper against a server that is not ours: `--target whip`."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import aiohttp
import pytest

from loadtest.peers.servers import _is_healthy, _ready, started
from server.media.server import Source
from tests.loadtest.conftest import write_tone
from tests.loadtest.mini_server import MiniServer


async def load(folder: Path, *flags: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest", "--codec", "vp8", "--json", "--target", "whip"),
        *("--cache", str(folder), "--audio", str(write_tone(folder, 0.5)), *flags),
        stdout=PIPE,
        stderr=PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode(), errors.decode()


@pytest.mark.may_block("writes and reads small files")
async def test_a_stock_aiortc_is_loaded_without_observers(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    url, log = f"http://127.0.0.1:{unused_tcp_port}", tmp_path / "log"
    command = [sys.executable, "-m", "loadtest.peers.answerer", "--port", str(unused_tcp_port)]
    async with started(command, log) as process, aiohttp.ClientSession() as http:
        await _ready(process, log, lambda: _is_healthy(http, url))
        _, output, errors = await load(tmp_path, "--duration", "2", "--whip-url", f"{url}/whip")
    report = json.loads(output)
    assert errors == ""
    assert (report["joined"], report["errors"], report["connections_lost"]) == (1, [], 0)
    assert report["packets_sent"] > 200
    assert report["frame_completeness"] is None
    assert report["forward_latency_ms"]["p50"] is None
    assert report["indicator_latency_ms"]["p50"] is None
    assert report["server_cpu_ms_per_interview_second"] is None
    assert not [why for why in report["invalid_because"] if "frame" in why]


@pytest.mark.may_block("writes small files")
async def test_whip_and_whep_addresses_are_all_it_takes(tmp_path: Path, mini: MiniServer) -> None:
    for number in ("1", "2"):
        mini.sources[number] = Source(number)
    urls = ("--whip-url", f"{mini.url}/whip/{{n}}", "--whep-url", f"{mini.url}/whep/{{n}}")
    _, output, _ = await load(tmp_path, "--interviews", "2", "--duration", "2", *urls)
    report = json.loads(output)
    assert (report["joined"], report["frame_completeness"]) == (2, 1.0)
    assert report["frames_misrouted"] == 0
    assert report["forward_latency_ms"]["p99"] > 0
    assert report["indicator_latency_ms"]["p50"] is None


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ((), "needs --whip-url"),
        (("--whip-url", "nowhere"), "not an http"),
        (("--whip-url", "http://x/", "--browser"), "needs our own pages"),
        (("--target", "vivavoce", "--whip-url", "http://x/"), "go with --target whip"),
    ],
)
@pytest.mark.may_block("writes small files")
async def test_what_cannot_be_done_is_said(
    tmp_path: Path, flags: tuple[str, ...], why: str
) -> None:
    status, output, errors = await load(tmp_path, *flags)
    assert (status, output) == (2, "")
    assert why in errors
