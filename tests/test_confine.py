"""Each process that decodes what strangers send is shut in: here it tries to get out."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from server.environment import environment

#: What it must not be able to do; what it could it says. It is shut in by then.
_TRIES = """
secret, port = sys.argv[-2:]
TRIES = {
    "reads": lambda: open(secret),
    "writes": lambda: open(secret, "w"),
    "lists": lambda: os.listdir("/"),
    "runs": lambda: os.execv("/bin/true", ["true"]),
    "connects": lambda: socket.create_connection(("127.0.0.1", int(port)), 1),
    "signals": lambda: os.kill(os.getppid(), 0),
    "takes memory": lambda: bytearray(9 << 30),
}
import numpy.ma  # what is first used now
for name, attempt in TRIES.items():
    try:
        attempt()
        print(name)
    except (OSError, MemoryError):
        pass
"""

#: How each gets there, as soon as there is nothing to decode; what confines it
#: says how many threads run already.
_WATCHED = """
import os, signal, socket, sys
from server import confine
shut_in = confine.confine
def watched(most_memory, *readable):
    threads = len(os.listdir("/proc/self/task"))
    if not shut_in(most_memory, *readable):
        sys.exit("no Landlock")
    if threads > 1:
        print(threads, "threads")
confine.confine = watched
"""
_ANALYSES = """
from server.live_analysis import wire, worker
ours, theirs = socket.socketpair()
ours.close()
desk = os.memfd_create("desk")
os.ftruncate(desk, wire.DESK_BYTES)
argv, sys.argv = sys.argv, ["worker", str(theirs.detach()), str(desk)]
worker.main()
sys.argv = argv
"""
_COMPRESSES = """
from server.recorder.compression import recode_worker
argv, sys.argv = sys.argv, ["recode_worker", str(os.getppid())]
recode_worker.main()
sys.argv = argv
"""

_EXPORTS = """
import io
from server.recorder.export import worker
folder = os.path.dirname(sys.argv[-2]) + "/recording"
job = worker.Job(folder, "", "00" * 32, ("00" * 32,), 0, 1, True, "00" * 32, 0)
argv, sys.argv = sys.argv, ["worker", str(os.memfd_create("export"))]
sys.stdin, stdout = io.TextIOWrapper(io.BytesIO(worker.msgspec.json.encode(job))), sys.stdout
sys.stdout = io.TextIOWrapper(io.BytesIO())
worker.main()
sys.stdout, sys.argv = stdout, argv
os.listdir(folder)
"""
_DECODERS = {"analyses": _ANALYSES, "compresses": _COMPRESSES, "exports": _EXPORTS}


@pytest.mark.parametrize("process", _DECODERS.values(), ids=_DECODERS.keys())
def test_who_decodes_reaches_nothing(tmp_path: Path, process: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "recording").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = (sys.executable, "-c", _WATCHED + process + _TRIES, str(secret), port)
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=environment() | {"PYTHONPATH": ":".join(sys.path)},
            timeout=60,
        )
    if "no Landlock" in done.stderr:
        pytest.skip("this kernel has no Landlock")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert secret.read_text() == "secret"
