"""The process that compresses one recording for the server, and ends.

Started as
``python -m server.recorder.compression.worker DATA_DIR ROOT_KEY INTERVIEW POLICY STORE``; it tells
what it does by lines of JSON (`Told`). Who decodes is yet another process, which inherits its
priority. What runs live goes first, always: they run only when nobody else wants the core, the disk
likewise, and they end with the server, also when stopped.
"""

import os
import sys
import time
from pathlib import Path

import msgspec

from server.confine import end_with
from server.memory import keep_private
from server.priority import give_way
from server.recorder.catalog.derived import lock_making
from server.recorder.compression.compression import NotCompressed
from server.recorder.compression.job import Told, compress
from server.recorder.format.sealing import SegmentError
from server.recorder.keys.key_ring import open_keys
from server.recorder.keys.root_key import KeyProblem
from server.recorder.keys.root_keys import open_root_key
from server.recorder.stores.store import open_store

NICENESS = 19


def main() -> None:
    parent, data_dir, root_key, interview_id, policy, where = sys.argv[1:]
    end_with(int(parent))
    _give_way()
    folder = Path(data_dir)
    try:
        with lock_making(folder):
            keys = open_keys(folder / "keys", open_root_key(root_key, folder / "keys", os.environ))
            keep = policy == "keep-source"
            store = open_store(where) if where else None
            made = compress(
                folder, interview_id, keys, _progress, time.time, keep_source=keep, store=store
            )
            _say(Told(1.0, made.source_bytes, made.bytes))
    except NotCompressed as error:
        _say(Told(1.0, left=error.why, reason=str(error)))
    except (KeyError, KeyProblem, SegmentError, RuntimeError, OSError) as error:
        _say(Told(1.0, failed=True, reason=str(error)))


def _progress(done: float) -> None:
    _say(Told(done))


def _say(told: Told) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


def _give_way() -> None:
    """To everything else, for cores and, as the kernel derives it from these, for the disk."""
    give_way(NICENESS)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    keep_private()


if __name__ == "__main__":
    main()
