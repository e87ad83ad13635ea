"""The shell scripts behind `make` and CI, run for real with stand-ins for what they call."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.project import ROOT

CI = ROOT / ".ci"
#: What every Debian has.
_TOOLS = ("bash", "dirname", "env", "grep", "mktemp", "rm", "sed", "tail", "tee", "timeout")


class Machine:
    """A PATH that holds only what the test puts there, and a copy of the scripts."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        shutil.copytree(CI, folder / ".ci")
        self.folder = folder
        for name in _TOOLS:
            self.has(name, f'exec {shutil.which(name)} "$@"')

    def has(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / ".ci" / script, *arguments],
            env={"PATH": str(self.bin), "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_every_script_is_executable() -> None:
    scripts = [path for path in CI.iterdir() if path.is_file() and not path.suffix]
    assert scripts
    assert all(os.access(path, os.X_OK) for path in scripts)


@pytest.mark.parametrize(
    ("pytest_line", "status", "closing"),
    [
        ("== 12 passed in 3.21s ==", 0, "12 passed in 3.21s"),
        ("== 1 failed, 11 passed, 2 skipped in 3.21s ==", 2, "1 failed, 11 passed, 2 skipped"),
        ("== 3 errors in 0.50s ==", 2, "3 errors in 0.50s"),
        ("= 12 passed in 75.00s (0:01:15) =", 2, "12 passed in 75.00s (0:01:15)"),
        ("nothing", 2, "no tests ran"),
    ],
)
def test_ci_closes_with_the_summary_of_pytest_and_the_status_of_make(
    machine: Machine, pytest_line: str, status: int, closing: str
) -> None:
    machine.has("make", f'echo "$@"\necho "{pytest_line}"\necho later\nexit {status}')
    done = machine.run("run")
    lines = done.stdout.splitlines()
    assert done.returncode == status
    assert lines[0] == "test"
    assert lines[-1].startswith(closing)


def test_a_missing_command_is_installed_by_its_package_as_root(machine: Machine) -> None:
    machine.has("id", "echo 0")
    machine.has("apt-get", 'echo "$@" >> "$HOME/apt"')
    assert machine.run("need", "bash=bash", "frobnicate=frob-tools").returncode == 0
    assert (machine.folder / "apt").read_text().split()[-1] == "frob-tools"


def test_package_lists_are_fetched_when_a_package_is_not_in_them(machine: Machine) -> None:
    machine.has("id", "echo 0")
    machine.has(
        "apt-get",
        'echo "$1" >> "$HOME/apt"; [ "$1" = update ] || grep --quiet update "$HOME/apt"',
    )
    assert machine.run("apt-install", "frob-tools").returncode == 0
    assert (machine.folder / "apt").read_text().split() == ["install", "update", "install"]


def test_without_root_or_sudo_it_says_what_to_type(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    machine.has("apt-get", "exit 100")
    done = machine.run("need", "frobnicate=frob-tools")
    assert done.returncode == 1
    assert "sudo apt-get install frob-tools" in done.stderr


def test_sudo_that_asks_for_no_password_is_used(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    machine.has("sudo", '[ "$1" = -n ] && shift && : > "$HOME/sudo" && exec "$@"')
    machine.has("true", "exit 0")
    machine.has("apt-get", "exit 0")
    assert machine.run("need", "frobnicate=frob-tools").returncode == 0
    assert (machine.folder / "sudo").exists()


def test_nothing_is_installed_when_nothing_is_missing(machine: Machine) -> None:
    assert machine.run("need", "bash=bash").returncode == 0


_OLD = 'case "$2" in *version_info*) exit 1;; esac'


def test_an_old_python_is_passed_over_for_a_newer_one(machine: Machine) -> None:
    machine.has("python3", _OLD)
    machine.has("python3.12", 'echo "$@" >> "$HOME/calls"')
    assert machine.run("make-venv").returncode == 0
    assert (machine.folder / "calls").read_text().splitlines()[-1] == "-m venv .venv"


def test_with_only_an_old_python_it_says_what_to_type(machine: Machine) -> None:
    machine.has("python3", _OLD)
    done = machine.run("make-venv")
    assert done.returncode == 1
    assert "apt-get install python3 python3-venv" in done.stderr


def test_the_venv_module_that_debian_leaves_out_is_installed(machine: Machine) -> None:
    machine.has(
        "python3",
        'case "$2" in *ensurepip*) exit 1;; *print*) echo 3.11;; esac; echo "$@" >> "$HOME/calls"',
    )
    machine.has("id", "echo 0")
    machine.has("apt-get", 'echo "$@" >> "$HOME/apt"')
    assert machine.run("make-venv").returncode == 0
    assert (machine.folder / "apt").read_text().split()[-1] == "python3.11-venv"
    assert (machine.folder / "calls").read_text().splitlines()[-1] == "-m venv .venv"
