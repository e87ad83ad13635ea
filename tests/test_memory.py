"""In processes of their own: what is said of one stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_CRASH = """
import ctypes, os, resource
from server.memory import keep_private

def crashed(before):
    child = os.fork()
    if not child:
        before()
        os.abort()
    return os.WCOREDUMP(os.waitpid(child, 0)[1])

_, most = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
print(crashed(lambda: None), crashed(keep_private))
keep_private()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_who_crashes_leaves_nothing_of_its_memory(tmp_path: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", _CRASH]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environ
    )
    other, private, dumpable, *limits = done.stdout.split()
    assert (private, dumpable, limits) == ("False", "0", ["0", "0"])
    if other == "False":
        pytest.skip("this machine dumps nobody's core")
