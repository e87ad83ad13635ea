"""The process that compresses one recording for the server, and ends.

Started as ``python -m server.recorder.compress_worker DATA_DIR ROOT_KEY INTERVIEW POLICY``; it
tells what it does by lines of JSON (`Told`). What runs live goes first, always: it runs only when
nobody else wants the core, the disk likewise, and it ends with the server, also when stopped.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

import av.logging
import msgspec

from server.recorder.compress_job import compress
from server.recorder.compression import NotCompressed
from server.recorder.compressor import Told
from server.recorder.derived import lock_making
from server.recorder.keys import open_keys
from server.recorder.root_key import KeyProblem
from server.recorder.root_keys import open_root_key
from server.recorder.sealing import SegmentError

NICENESS = 19
_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    parent, data_dir, root_key, interview_id, policy = sys.argv[1:]
    _end_with(int(parent))
    _give_way()
    av.logging.set_level(None)  # candidates' bytes must not write to the server's log
    folder = Path(data_dir)
    try:
        with lock_making(folder):
            keys = open_keys(folder / "keys", open_root_key(root_key, folder / "keys", os.environ))
            keep = policy == "keep-source"
            compress(folder, interview_id, keys, _progress, time.time, keep_source=keep)
    except NotCompressed as error:
        _say(Told(1.0, left=str(error)))
    except (KeyError, KeyProblem, SegmentError, RuntimeError, OSError) as error:
        _say(Told(1.0, failed=str(error)))


def _progress(done: float) -> None:
    _say(Told(done))


def _say(told: Told) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


def _give_way() -> None:
    """To everything else, for cores and, as the kernel derives it from these, for the disk."""
    os.nice(NICENESS)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with(parent: int) -> None:
    """A server that is killed can't end us, nor wake us where it has stopped us."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before that
        sys.exit(1)


if __name__ == "__main__":
    main()
