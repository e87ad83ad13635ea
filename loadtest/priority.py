"""The generator goes before whatever else wants its core, as if it were a machine of its own.

On a machine that the server shares it would be late when the server is busy, and the run would
tell nothing about the server. What it takes is still measured, and bounded (`report.py`).
"""

import os
from contextlib import suppress
from pathlib import Path

#: Of priorities: so much less than the server and the live interviews.
LEAST = 19


def go_first() -> None:
    """Real-time, the lowest of these priorities (sched(7)); without the permission, as before."""
    with suppress(PermissionError):
        # What it starts is no generator: that begins without.
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def go_like_others() -> None:
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def give_way() -> None:
    """To all else. Niceness is the session's where there is autogroup (sched(7))."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    os.nice(LEAST)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(LEAST))
