"""The command's table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.commands import verify
from tests.commands.conftest import record, run

STARTING = ("serve", "demo")
LOOKING = ("recordings", "viewings", "inspect", "verify", "log")
COMMANDS = (*STARTING, *LOOKING, "invite", "revoke", "export", "keys")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for name in COMMANDS:
        assert name in out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_tells_its_flags(capsys: pytest.CaptureFixture[str], name: str) -> None:
    status, out, _ = run(capsys, name, "--help")
    assert status == 0
    assert f"vivavoce {name} " in out
    assert "--data-dir" in out or name == "keys"


@pytest.mark.parametrize(
    "name", ["invite", "recordings", "inspect", "verify", "log", "export", "keys"]
)
def test_a_command_that_needs_no_server_loads_none(name: str) -> None:
    """So that it begins at once."""
    program = (
        "import sys, server.cli as cli\ntry: cli.main(sys.argv[1:])\nfinally: print(*sys.modules)"
    )
    told = subprocess.run(
        (sys.executable, "-c", program, name, "--help"), capture_output=True, text=True, check=True
    )
    loaded = set(told.stdout.splitlines()[-1].split())
    assert f"server.commands.{'links' if name == 'invite' else name}" in loaded
    assert loaded.isdisjoint({"server.app", "aiohttp", "aiortc", "av"})


def test_an_error_of_the_program_is_no_finding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python itself would exit with 1: to a script, the recording was altered."""

    def fail(_: object) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(verify, "_told", fail)
    evidence = tmp_path / "export.mp4"
    evidence.write_bytes(b"")
    monkeypatch.setattr(verify, "_verify_export", lambda *_: ())
    status, out, err = run(capsys, "verify", str(evidence))
    assert (status, out, err.count("\n")) == (70, "", 1)
    assert "KeyError in tests/test_cli.py, line " in err
    assert "secret" not in err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_program_that_reads_no_further_is_no_finding(tmp_path: Path, unbuffered: str) -> None:
    path = record(tmp_path, "one")
    reading, writing = os.pipe()
    os.close(reading)
    command = (sys.executable, "-m", "server.cli", "verify", str(path))
    environ = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    told = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environ, check=False
    )
    os.close(writing)
    assert (told.returncode, told.stderr) == (141, "")


def test_help_tells_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--help")
    for line in ("exit status, of every command:", "  1   something", "  2   it", "  70  an error"):
        assert line in out
