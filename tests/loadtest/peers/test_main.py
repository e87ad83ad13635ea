"""`python -m loadtest.peers` as a process."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("flags", [("--publishers", "0"), ("--seconds", "nan"), ("--rounds", "x")])
def test_what_cannot_be_done_is_said(flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "loadtest.peers", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "above zero" in done.stderr or "invalid int" in done.stderr
