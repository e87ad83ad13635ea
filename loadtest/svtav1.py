"""SVT-AV1 kept from taking the machine: run by root, it makes its caller's thread real-time.

`svt_av1_enc_init` gives the calling thread, and with it all threads it starts, SCHED_FIFO with
the highest priority, and never takes that back. Whatever such a process does afterwards goes
before everything else on its cores.
"""

import os
from pathlib import Path

from av.video.codeccontext import VideoCodecContext

_THREADS = Path("/proc/self/task")


def open_like_others(encoder: VideoCodecContext) -> None:
    """Opens an encoder of any name; its threads and this one are scheduled as others are."""
    os.environ.setdefault("SVT_LOG", "1")  # errors alone; else it tells its life on stderr
    encoder.open()
    for thread in _THREADS.iterdir():
        number = int(thread.name)
        if os.sched_getscheduler(number) == os.SCHED_FIFO:
            os.sched_setscheduler(number, os.SCHED_OTHER, os.sched_param(0))
