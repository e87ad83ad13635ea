"""`vivavoce serve` and `vivavoce demo`: processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.commands.conftest import invited, run

TIMEOUT_S = 60


class Process:
    """A `vivavoce` process whose output is read line by line."""

    def __init__(self, log: Path, *argv: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "server.cli", *argv],
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def until(self, pattern: str) -> str:
        """Wait for a line; its first group."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            if found := re.search(pattern, self.said, re.MULTILINE):
                return found.group(1)
            assert self.process.poll() is None, self.said
            time.sleep(0.05)
        raise AssertionError(f"{pattern} never came in: {self.said}")

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)


@contextmanager
def process(log: Path, *argv: str) -> Iterator[Process]:
    started = Process(log, *argv)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_where_it_is_and_stops_cleanly(
    data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with process(tmp_path / "log", "serve", "--port", "0", "--workers", "0") as server:
        url = server.until(r"^Vivavoce is at (http://127\.0\.0\.1:\d+)$")
        assert server.until(r"Owner .*: (http://\S+)$").startswith(f"{url}/#v1.")
        server.until(r"(Stop with Ctrl-C)")
        with urlopen(f"{url}/readyz") as answer:
            assert answer.status == 200
        assert server.stop(number) == 0
        assert server.said.endswith("Stopped. All recordings are sealed.\n")
    assert not (data / "server.json").exists()


def test_what_lives_as_long_as_the_server_is_left_out_of_collections() -> None:
    script = "import gc; from server.commands import serve; serve._spare_the_loop(); "
    script += "print(gc.get_freeze_count() > 20_000, len(gc.get_objects()) < 1_000)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.stdout == "True True\n"


def test_a_second_server_says_what_to_do(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with process(tmp_path / "log", "serve", "--port", "0", "--workers", "0") as server:
        port = server.until(r"^Vivavoce is at http://127\.0\.0\.1:(\d+)$")
        status, _, err = run(capsys, "serve", "--port", port)
        assert (status, f"Port {port} is in use" in err) == (2, True)
        status, _, err = run(capsys, "serve", "--port", "0", "--workers", "0")
        assert (status, "Another server is using" in err) == (2, True)


def test_a_running_server_knows_new_links_at_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with process(tmp_path / "log", "serve", "--port", "0", "--workers", "0") as server:
        url = server.until(r"^Vivavoce is at (\S+)$")
        made = invited(capsys)
        assert made["observer_url"].startswith(url)
        command = [sys.executable, "-c", _ASK, url, made["observer_url"].rpartition("#")[2]]
        me = json.loads(subprocess.check_output(command, timeout=TIMEOUT_S))
        assert me["interview"]["id"] == made["interview_id"]


_ASK = """
import sys, urllib.request
request = urllib.request.Request(
    sys.argv[1] + "/api/me", headers={"Authorization": "Bearer " + sys.argv[2]}
)
print(urllib.request.urlopen(request).read().decode())
"""


def children(pid: int) -> dict[int, str]:
    """Pids and command lines of a process's children."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(each): Path(f"/proc/{each}/cmdline").read_text() for each in found}


def test_demo_puts_a_candidate_on_the_air_and_says_when_it_is_gone(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VIVAVOCE_PKCS11_PIN", "987654321")
    with process(tmp_path / "log", "demo", "--port", "0", "--workers", "0") as demo:
        url = demo.until(r"^Vivavoce is at (\S+)$")
        assert demo.until(r"Watch it live: +(\S+)$").startswith(f"{url}/observe#v1.")
        assert demo.until(r"Join one yourself: +(\S+)$").startswith(f"{url}/join#v1.")
        (candidate,) = [
            pid
            for pid, command in children(demo.process.pid).items()
            if "loadtest.candidate" in command
        ]
        limits = Path(f"/proc/{demo.process.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits), "it has keys in memory"
        # What decodes and connects knows nothing that could open a recording.
        with suppress(PermissionError):  # nobody but root looks into the server
            assert b"987654321" in Path(f"/proc/{demo.process.pid}/environ").read_bytes()
        assert b"987654321" not in Path(f"/proc/{candidate}/environ").read_bytes()
        os.kill(candidate, signal.SIGKILL)
        demo.until(r"(simulated candidate ended)")
        assert demo.stop(signal.SIGINT) == 0
        assert "v1." not in re.sub(r"http://\S+", "", demo.said)
    (line,) = json.loads(run(capsys, "recordings", "--json")[1])
    assert line["state"] == "finished"
    assert run(capsys, "verify", line["path"])[0] == 0


def test_demo_stops_its_candidate_too(data: Path, tmp_path: Path) -> None:
    with process(tmp_path / "log", "demo", "--port", "0", "--workers", "0") as demo:
        demo.until(r"(Watch it live)")
        started = children(demo.process.pid)
        assert demo.stop(signal.SIGTERM) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in started)
        assert "Traceback" not in demo.said
        assert "Fatal" not in demo.said
