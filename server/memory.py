"""What a process has in memory, keys and media in the clear, is nobody else's."""

import ctypes
import resource

_PR_SET_DUMPABLE = 4  # prctl(2)


def keep_private() -> None:
    """Of the calling process: it leaves no core dump, and no other program of its user reads it.

    The limit alone does not hold where the kernel hands dumps to a program (core(5)); programs
    that this one runs inherit that alone, so each says it for itself. What belongs to the process
    in `/proc` is then root's: change it before.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
