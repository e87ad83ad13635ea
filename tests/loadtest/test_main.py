"""`python -m loadtest` as a process: what it prints and how it exits."""

import asyncio
import json
import os
import pty
import resource
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from loadtest import invites
from loadtest.__main__ import EXIT_INVALID, EXIT_NO_SERVER, main
from loadtest.candidate import EXIT_REFUSED, EXIT_USAGE
from tests.loadtest.conftest import write_tone
from tests.loadtest.mini_server import OWNER_TOKEN, MiniServer


async def start(folder: Path, *flags: str, stderr: int = PIPE) -> Process:
    command = flags[:1] if flags[0] == "capacity" else ()
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest", *command, "--codec", "vp8"),
        *("--data-dir", str(folder), "--cache", str(folder)),
        *("--audio", str(write_tone(folder, 0.5)), *flags[len(command) :]),
        stdout=PIPE,
        stderr=stderr,
    )


async def finish(process: Process) -> tuple[int | None, str, str]:
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode(), (errors or b"").decode()


def parsed(output: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(output)
    return report


async def test_a_run_prints_one_json_object(tmp_path: Path, mini: MiniServer) -> None:
    flags = ("--interviews", "1", "--duration", "1", "--json", "--url", mini.url)
    page = tmp_path / "report.html"
    process = await start(tmp_path, *flags, "--owner-token", OWNER_TOKEN, "--html", str(page))
    status, output, errors = await finish(process)
    assert output, errors
    report = parsed(output)
    assert (report["joined"], report["frame_completeness"], errors) == (1, 1.0, "")
    assert status == (0 if report["valid"] else EXIT_INVALID)
    assert f"<td>frames_sent</td><td>{report['frames_sent']}</td>" in page.read_text()


async def test_two_runs_are_compared(tmp_path: Path) -> None:
    status, _, errors = await finish(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtest", "compare", "/nonexistent/a", "/nonexistent/b"),
            stdout=PIPE,
            stderr=PIPE,
        )
    )
    assert (status, errors) == (
        EXIT_USAGE,
        "loadtest compare: cannot read /nonexistent/a: No such file or directory\n",
    )


async def test_ctrl_c_prints_what_was_measured(tmp_path: Path, mini: MiniServer) -> None:
    flags = ("--duration", "3600", "--json", "--url", mini.url, "--owner-token", OWNER_TOKEN)
    process = await start(tmp_path, *flags)
    await asyncio.wait_for(mini.watched.wait(), 60)
    process.send_signal(signal.SIGINT)
    _, output, errors = await finish(process)
    assert parsed(output)["interrupted"] is True
    assert errors == ""


async def test_ctrl_c_while_all_join_ends_it_with_a_report(
    tmp_path: Path, mini: MiniServer
) -> None:
    mini.let_in.clear()
    flags = ("--interviews", "3", "--json", "--url", mini.url, "--owner-token", OWNER_TOKEN)
    process = await start(tmp_path, *flags)
    await asyncio.wait_for(mini.at_the_door.wait(), 60)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        status, output, errors = await finish(process)
    report = parsed(output)
    assert (report["interrupted"], report["joined"], errors) == (True, 0, "")
    assert report["errors"] == ["interrupted before it began"]
    assert status == EXIT_INVALID


async def test_ctrl_c_while_recordings_are_checked_leaves_what_was_measured(
    tmp_path: Path, mini: MiniServer
) -> None:
    mini.records = True
    flags = ("--duration", "1", "--json", "--url", mini.url, "--owner-token", OWNER_TOKEN)
    process = await start(tmp_path, *flags)
    await asyncio.wait_for(mini.recording.wait(), 60)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        _, output, errors = await finish(process)
    report = parsed(output)
    assert (report["interrupted"], report["joined"], errors) == (True, 1, "")
    assert report["frames_received"] > 20
    assert report["recordings_checked"] == 0


async def test_a_folder_that_no_server_uses_is_named(tmp_path: Path, mini: MiniServer) -> None:
    status, _, errors = await finish(await start(tmp_path, "--url", mini.url))
    assert status == EXIT_REFUSED
    assert errors.startswith(f"loadtest: no server keeps its data in {tmp_path}")
    assert not (tmp_path / "keys").exists()


async def test_a_search_prints_the_capacity_that_it_was_allowed(
    tmp_path: Path, mini: MiniServer
) -> None:
    flags = ("--start", "1", "--limit", "2", "--duration", "1", "--json", "--url", mini.url)
    process = await start(tmp_path, "capacity", *flags, "--owner-token", OWNER_TOKEN)
    _, output, errors = await finish(process)
    found = parsed(output)
    assert found["trials"][0]["interviews"] == 1
    assert found["stopped_because"]
    assert errors == ""


async def test_no_server_has_an_exit_code_of_its_own(tmp_path: Path, unused_tcp_port: int) -> None:
    process = await start(tmp_path, "--url", f"http://127.0.0.1:{unused_tcp_port}")
    status, output, errors = await finish(process)
    assert (status, output) == (EXIT_NO_SERVER, "")
    assert errors.startswith("loadtest: no server answers at")


async def test_a_server_that_lets_nobody_in_has_the_exit_code_of_a_refusal(
    tmp_path: Path, mini: MiniServer
) -> None:
    mini.refuse_after = 0
    flags = ("--duration", "3600", "--url", mini.url, "--owner-token", OWNER_TOKEN)
    status, output, errors = await finish(await start(tmp_path, *flags))
    assert (status, errors) == (EXIT_REFUSED, "")
    assert "HTTP 503: full" in output


@dataclass
class _Terminal:
    """What a process wrote to it, line ends as they are sent to a screen."""

    written: int  #: the process's end
    shown: Callable[[], Coroutine[None, None, str]]  #: once nobody has the other end


@pytest.fixture
def terminal() -> Iterator[_Terminal]:
    screen, written = pty.openpty()

    def read_all() -> str:
        text = b""
        with suppress(OSError):  # EIO: the last writer is gone
            while data := os.read(screen, 4096):
                text += data
        return text.decode()

    async def shown() -> str:
        os.close(written)
        return await asyncio.to_thread(read_all)

    yield _Terminal(written, shown)
    os.close(screen)


async def test_a_terminal_shows_what_is_going_on(
    tmp_path: Path, mini: MiniServer, terminal: _Terminal
) -> None:
    mini.records = True
    flags = ("--duration", "1", "--json", "--url", mini.url, "--owner-token", OWNER_TOKEN)
    process = await start(tmp_path, *flags, stderr=terminal.written)
    shown = asyncio.create_task(terminal.shown())
    await asyncio.wait_for(mini.recording.wait(), 60)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        await finish(process)
    *lines, last = (await shown).split("\r\033[K")
    wanted = ("making 1 invitations", "joining", "1 interviews   ", "checking recordings 1 of 1")
    assert [line.startswith(text) for text, line in zip(wanted, lines[1:], strict=True)] == [
        True
    ] * len(wanted)
    assert last == "", "the line is cleared at the end"


async def test_a_terminal_keeps_each_trial_of_a_search(
    tmp_path: Path, mini: MiniServer, terminal: _Terminal
) -> None:
    flags = ("--start", "1", "--limit", "1", "--duration", "1", "--url", mini.url)
    process = await start(
        tmp_path, "capacity", *flags, "--owner-token", OWNER_TOKEN, stderr=terminal.written
    )
    shown = asyncio.create_task(terminal.shown())
    _, output, _ = await finish(process)
    tried = [line for line in output.splitlines() if "tried 1  " in line]
    kept = [line for line in (await shown).split("\r\033[K") if line.endswith("\r\n")]
    assert kept == [f"tried 1: {line.split('tried 1  ')[1]}\r\n" for line in tried]
    assert tried


class _Hangs(BaseHTTPRequestHandler):
    """Healthy, and deaf to everything else."""

    over = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        self.over.wait()

    def log_message(self, format: str, *values: object) -> None:
        pass


@pytest.fixture
def hanging_url() -> Iterator[str]:
    _Hangs.over.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hangs) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        _Hangs.over.set()
        server.shutdown()
        thread.join()


def test_a_server_that_hangs_has_the_exit_code_of_none(
    tmp_path: Path,
    hanging_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(invites, "REQUEST_TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    media = ("--cache", str(tmp_path), "--audio", str(write_tone(tmp_path, 0.5)))
    flags = ("--codec", "vp8", "--url", hanging_url, "--owner-token", OWNER_TOKEN)
    monkeypatch.setattr(sys, "argv", ["loadtest", *media, *flags])
    assert main() == EXIT_NO_SERVER
    assert capsys.readouterr() == ("", "loadtest: the server did not answer in time\n")


async def test_a_wrong_token_has_an_exit_code_of_its_own(tmp_path: Path, mini: MiniServer) -> None:
    status, _, errors = await finish(
        await start(tmp_path, "--url", mini.url, "--owner-token", "guess")
    )
    assert (status, errors) == (EXIT_REFUSED, "loadtest: HTTP 401: wrong token\n")


@pytest.mark.parametrize(
    ("flags", "texts"),
    [
        ((), ("loadtest capacity", "loadtest compare", "Exit codes: 0")),
        (("capacity",), ("exit codes: 0", "forward latency p99        at most 50 ms")),
    ],
)
def test_help_says_what_there_is(
    flags: tuple[str, ...],
    texts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["loadtest", *flags, "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    output = capsys.readouterr().out
    assert [text for text in texts if text not in output] == []
    assert "Pure" not in output


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--interviews", "0"), "above zero"),
        (("--cache", "/dev/null/x"), "cannot write the cache /dev/null/x: Not a directory"),
        (("--url", "http://"), "must be http://HOST:PORT"),
        (("--url", "http://127.0.0.1:99999"), "must be http://HOST:PORT"),
        (("--url", "http://[::1"), "must be http://HOST:PORT"),
        (("--server-pid", "0"), "no process has the id 0"),
        (("--server-pid", "99999999"), "no process has the id 99999999"),
        (("--duration", "-1"), "written 90, 90s, 30m or 2h, not '-1'"),
        (("--duration", "nan"), "not 'nan'"),
        (("--duration", "0"), "above zero"),
        (("--url", "ftp://127.0.0.1"), "must be http://HOST:PORT"),
        (("--audio", "/nonexistent.wav"), "cannot read"),
        (("--interviews", "999999999"), "open files"),
        (("--html", "/nonexistent/report.html"), "cannot write /nonexistent/report.html"),
        (("--interviews", "some"), "invalid int"),
        (("--processes", "0"), "--processes must be above zero"),
        (("--scenario", "rush"), "--scenario: no scenario is called 'rush'"),
        (("--scenario", "ramp:99"), "not be above the duration"),
        (("--network", "lte"), "--network: no network is called 'lte'"),
        (("--observer-network", "loss=5"), "--observer-network: loss must be"),
        (("capacity", "--start", "0"), "--start must be above zero"),
        (("capacity", "--start", "9", "--limit", "8"), "not above --limit"),
        (("capacity", "--limit", "999999999"), "--limit 999999999 is too much"),
        (("capacity", "--target", "whip", "--whip-url", "http://x/{n}"), "needs --whep-url"),
        (("--target", "whip", "--whip-url", "http://[bad/{n}"), "not an http or https address"),
    ],
)
async def test_what_cannot_be_done_is_said(
    tmp_path: Path, flags: tuple[str, ...], why: str
) -> None:
    if "999999999" in flags and resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 0:
        pytest.skip("this system has no limit of open files")
    status, output, errors = await finish(await start(tmp_path, *flags))
    assert (status, output) == (EXIT_USAGE, "")
    assert why in errors
    assert errors.count("\n") == 1
