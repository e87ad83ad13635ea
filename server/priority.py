"""Who goes first on a core that several want, as Linux lets a program say it of itself."""

import ctypes
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_RESET_ON_FORK = 1
#: `struct sched_attr` (sched_setattr(2)): size, policy, flags, nice, priority, runtime, deadline,
#: period.
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")

#: Whoever may not administer the machine can change one group on all of it in so long
#: (`proc_sched_autogroup_set_nice`), while several processes may begin at once.
GROUP_SPACING_S, GROUP_TRIES = 0.1, 30

#: What works at rests does so for so long in seconds, and up to two switches more, then rests for
#: so long in microseconds, and a little more: half a millisecond, and a tenth. Half as long at a
#: stretch costs a third more CPU.
WORK_S, REST_US = 0.000_3, 50
_SWITCH_S = 0.000_1


def be_prompt(slice_us: int) -> bool:
    """Of the calling thread: awake, it takes the core at once from those with longer slices.

    It may be put off in its turn once it has run for so long without a pause, until the other's
    slice is over; what it starts is as others are. False where the kernel may not be asked for
    that; one before 6.12 takes no notice.
    """
    call = _SCHED_SETATTR.get(os.uname().machine)
    if call is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    named = _ATTRIBUTES.size, os.SCHED_OTHER, _RESET_ON_FORK, nice, 0
    attributes = _ATTRIBUTES.pack(*named, slice_us * 1000, 0, 0)
    done: int = ctypes.CDLL(None).syscall(call, 0, attributes, 0)
    return done == 0


def leave_terminal() -> None:
    """A Ctrl-C there is for the server, which ends its processes.

    The calling process stays in the server's session: where the kernel puts each session into a
    group of its own (sched(7), autogroup), one in another group holds up the server's thread,
    which in its own goes before it.
    """
    os.setpgid(0, 0)


def take_no_core() -> None:
    """The calling thread, awake, takes no core from anybody, but waits until there is one.

    Where that may not be said (a service's filter of system calls), it stays as others are.
    """
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def give_way(niceness: int) -> None:
    """Of the calling process, to all that is less nice; and it takes no core when it wakes.

    Where the kernel puts each session into a group of its own (sched(7), autogroup), niceness
    counts only within it: then the group, of a process that began one, must be nice as well.
    """
    os.nice(niceness)
    take_no_core()
    if os.getsid(0) != os.getpid():
        return
    for _ in range(GROUP_TRIES):
        try:
            Path("/proc/self/autogroup").write_text(str(niceness))
        except BlockingIOError:
            time.sleep(GROUP_SPACING_S)
        except OSError:  # a kernel without, or it may not
            return
        else:
            return


class Rests:
    """All threads of this process leave their cores for a moment again and again while they work.

    However nice they are, who waits for a core that one of them has may wait for the end of a tick
    (4 ms), even while another core has nothing to do (EEVDF, Linux 6.6 on). Only the interpreter's
    lock stops all threads that run Python: a thread of its own keeps it while it sleeps.
    """

    def __init__(self) -> None:
        sys.setswitchinterval(_SWITCH_S)
        self._lock = threading.Lock()
        self._working = 0
        self._works = threading.Event()
        threading.Thread(target=self._rest, name="rests", daemon=True).start()

    @contextmanager
    def working(self) -> Iterator[None]:
        """In any thread; outside there is no rest, and nothing that it costs."""
        with self._lock:
            self._working += 1
            self._works.set()
        try:
            yield
        finally:
            with self._lock:
                self._working -= 1
                if not self._working:
                    self._works.clear()

    def _rest(self) -> None:
        sleep = ctypes.PyDLL(None).usleep  # of a PyDLL: it keeps the lock
        while self._works.wait():
            time.sleep(WORK_S)
            sleep(REST_US)
