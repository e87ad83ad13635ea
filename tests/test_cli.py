"""The command's table."""

import subprocess
import sys

import pytest

from tests.commands.conftest import run

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
