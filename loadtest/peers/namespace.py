"""A network of this process's own, in which every server meets the load on the same terms.

Janus refuses interfaces flagged as loopback, so one end of a veth pair holds the address; what
is sent to it still never leaves the kernel. The namespace ends, and its interfaces with it,
when the last process in it has ended, however that came.
"""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

LOOPBACK = "127.0.0.1"
#: RFC 2544 C.2.2: for benchmarks.
ADDRESS = "198.18.0.1"
_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_COMMANDS = (
    "ip link set lo up",
    "ip link add bench0 type veth peer name bench1",
    f"ip address add {ADDRESS}/24 dev bench0",
    "ip link set bench0 up",
    "ip link set bench1 up",
)


class NoNamespace(Exception):
    """This process may not have one; the text says why."""


def enter() -> None:
    """Moves this thread, and what it starts later, into a new network. Raises NoNamespace.

    Call it first of all: sockets stay where they were made.
    """
    if os.geteuid() != 0:
        raise NoNamespace("a network namespace takes root")
    if shutil.which("ip") is None:
        raise NoNamespace("a network namespace takes the command ip (Debian: iproute2)")
    # os.unshare is there from Python 3.12 on.
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        raise NoNamespace(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    try:
        Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
        for command in _COMMANDS:
            subprocess.run(command.split(), check=True, capture_output=True, text=True)
    except OSError as error:
        raise NoNamespace(f"no network namespace: {error}") from error
    except subprocess.CalledProcessError as error:
        raise NoNamespace(f"{error.cmd}: {error.stderr.strip()}") from error
