"""In processes of their own: what is said of one stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

READ = """
import ctypes, os
from server import priority

def slice_ns():
    found = ctypes.create_string_buffer(48)
    call = priority._SCHED_SETATTR[os.uname().machine] + 1  # sched_getattr(2)
    assert ctypes.CDLL(None).syscall(call, 0, found, 48, 0) == 0
    return priority._ATTRIBUTES.unpack(found)[5]
"""


def said(script: str) -> list[str]:
    process = subprocess.run(
        [sys.executable, "-c", READ + script],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    return process.stdout.split()


@pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="elsewhere it is not asked for"
)
def test_only_the_thread_itself_is_prompt() -> None:
    before, prompt, after, thread, child = said(
        """
from concurrent.futures import ThreadPoolExecutor
print(slice_ns(), priority.be_prompt(100), slice_ns())
print(ThreadPoolExecutor().submit(slice_ns).result(), flush=True)
if not os.fork():
    print(slice_ns())
"""
    )
    assert prompt == "True"
    if before == "0":
        pytest.skip("a kernel before 6.12 has no slices of one's own")
    assert (after, thread, child) == ("100000", before, before)


def test_who_is_nice_already_stays_so() -> None:
    assert said("os.nice(3); priority.be_prompt(100); print(os.nice(0))") == ["3"]


def test_who_gives_way_does_so_with_its_session() -> None:
    niceness, group = said(
        """
priority.give_way(7)
group = open("/proc/self/autogroup").read() if os.path.exists("/proc/self/autogroup") else "7"
print(os.nice(0), group.split()[-1])
"""
    )
    assert (niceness, group) == ("7", "7")


def test_who_gives_way_takes_no_core_from_others_when_it_wakes() -> None:
    policy, niceness = said(
        "priority.give_way(7); print(os.sched_getscheduler(0) == os.SCHED_BATCH, os.nice(0))"
    )
    assert (policy, niceness) == ("True", "7")


def test_who_may_not_say_so_works_on() -> None:
    """The kernel refuses a policy to no unprivileged thread; a filter of system calls does."""
    (niceness,) = said(
        """
def refused(*_):
    raise PermissionError(1, "Operation not permitted")
os.sched_setscheduler = refused
priority.give_way(7)
print(os.nice(0))
"""
    )
    assert niceness == "7"


def test_a_session_of_others_is_left_alone() -> None:
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("the kernel groups nothing by sessions")
    before, after = said(
        """
if not os.fork():
    before = open("/proc/self/autogroup").read()
    priority.give_way(7)
    print(before.split()[-1], open("/proc/self/autogroup").read().split()[-1])
"""
    )
    assert before == after


def test_several_who_give_way_at_once_all_do() -> None:
    """Whoever may not administer the machine changes one session in a tenth of a second."""
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("the kernel groups nothing by sessions")
    groups = said(
        """
if os.getuid() == 0:
    os.setresuid(65_534, 65_534, 65_534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc/self is one's own again
for _ in range(3):
    if not os.fork():
        os.setsid()
        priority.give_way(7)
        print(open("/proc/self/autogroup").read().split()[-1])
        break
else:
    for _ in range(3):
        os.wait()
"""
    )
    assert groups == ["7"] * 3


def test_who_leaves_the_terminal_stays_in_its_session() -> None:
    session, group = said(
        """
if not os.fork():
    priority.leave_terminal()
    print(os.getsid(0) == os.getsid(os.getppid()), os.getpgid(0) == os.getpid())
else:
    os.wait()
"""
    )
    assert (session, group) == ("True", "True")


def test_who_rests_leaves_its_core_now_and_then() -> None:
    """A thread that only computes takes all of one otherwise."""
    (share,) = said(
        """
from time import monotonic, process_time
rests = priority.Rests()
with rests.working():
    began, spent = monotonic(), process_time()
    while monotonic() < began + 0.5:
        pass
    print((process_time() - spent) / (monotonic() - began))
"""
    )
    assert float(share) < 0.95


def test_who_does_not_work_does_not_wake_to_rest() -> None:
    before, working, after = map(
        int,
        said(
            """
import re, threading, time
rests = priority.Rests()
(tid,) = [each.native_id for each in threading.enumerate() if each.name == "rests"]

def slept():
    with open(f"/proc/self/task/{tid}/status") as status:
        return int(re.search(r"\\nvoluntary_ctxt_switches:\\t(\\d+)", status.read())[1])

def wakes():
    before = slept()
    time.sleep(0.1)
    return slept() - before

print(wakes())
with rests.working():
    with rests.working():
        pass
    print(wakes())
time.sleep(0.01)
print(wakes())
"""
        ),
    )
    assert before <= 1
    assert working > 10
    assert after == 0
