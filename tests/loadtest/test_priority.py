import os
import subprocess

import pytest

from loadtest.priority import go_first, go_like_others


def test_only_the_generator_goes_first_and_only_for_a_while() -> None:
    go_first()
    try:
        first = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
        child = subprocess.run(["cat", "/proc/self/stat"], capture_output=True, check=True)
    finally:
        go_like_others()
    if first != os.SCHED_RR:
        pytest.skip("needs the permission (CAP_SYS_NICE)")
    # proc(5): field 41 is the policy.
    assert int(child.stdout.rpartition(b") ")[2].split()[38]) == os.SCHED_OTHER
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
