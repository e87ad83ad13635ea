"""Shuts a process in that decodes what strangers sent: who takes it over finds no way on.

By Landlock (Linux 5.13; the kernel's Documentation/userspace-api/landlock.rst): from then on the
process and its threads open no file but the code of Python's libraries and what they are given to
read, run no program, and, as far as the kernel knows how, connect to nobody and signal nobody
outside. What is open already stays so, and threads that run already are not shut in:
`environment` keeps numpy from making any.
"""

import ctypes
import os
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Collection

from server.memory import keep_private

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_PATH_BENEATH, _READ = 1, 0xC  # of files and folders
#: What is loaded when it is first used.
_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
_ASK_VERSION = 1
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # prctl(2)
#: Rights over files by version: execute to make_sym, refer, truncate, ioctl_dev.
_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
_TCP, _SCOPES = (4, 0x3), (6, 0x3)  # bind, connect; abstract sockets, signals


def confine(most_memory: int, readable: Collection[str] = ()) -> bool:
    """Of the calling thread and all that it starts; ``most_memory``: bytes of address space;
    ``readable``: folders.

    False where the kernel has no Landlock: then memory and core dumps alone are bounded.
    """
    keep_private()
    resource.setrlimit(resource.RLIMIT_AS, (most_memory, most_memory))
    kernel = ctypes.CDLL(None)
    version = kernel.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)
    if version < 1:
        return False
    rights = _rights(version)
    ruleset = kernel.syscall(_CREATE_RULESET, rights, len(rights), 0)
    if ruleset < 0:
        return False
    for folder in {*map(sysconfig.get_path, _LIBRARIES), *readable}:
        _let_read(kernel, ruleset, folder)
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    shut: int = kernel.syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return shut == 0


def _let_read(kernel: ctypes.CDLL, ruleset: int, folder: str) -> None:
    """`struct landlock_path_beneath_attr`."""
    try:
        beneath = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # nor will it be read
    kernel.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", _READ, beneath), 0)
    os.close(beneath)


def _rights(version: int) -> bytes:
    """`struct landlock_ruleset_attr` with all that this version can forbid."""
    files = max(rights for since, rights in _FILES.items() if since <= version)
    others = [rights for since, rights in (_TCP, _SCOPES) if since <= version]
    return struct.pack(f"={1 + len(others)}Q", files, *others)


def end_with(parent: int) -> None:
    """Who is killed can't end its processes, nor wake them where they were stopped."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before that
        sys.exit(1)
