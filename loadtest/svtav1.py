"""SVT-AV1 kept from taking the machine, and from waiting for itself.

Run by root, `svt_av1_enc_init` gives the calling thread, and with it all threads it starts,
SCHED_FIFO with the highest priority, and never takes that back. Whatever such a process does
afterwards goes before everything else on its cores.

Among others its threads trip over each other (as of 4.1). The one of `pic_manager_process.c` hands
a picture on and only then reads in it which references it releases. Put off there until the picture
is out, and its memory is the next one's, it releases none: with low delay the next one waits for
them for ever.
"""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

_THREADS = Path("/proc/self/task")
_PAUSE_S = 0.0005


def open_like_others(encoder: VideoCodecContext) -> None:
    """Opens an encoder of any name; its threads and this one are scheduled as others are."""
    os.environ.setdefault("SVT_LOG", "1")  # errors alone; else it tells its life on stderr
    encoder.open()
    for thread in _THREADS.iterdir():
        number = int(thread.name)
        with suppress(ProcessLookupError):  # it has ended meanwhile
            if os.sched_getscheduler(number) == os.SCHED_FIFO:
                os.sched_setscheduler(number, os.SCHED_OTHER, os.sched_param(0))


def encode(encoder: VideoCodecContext, frame: VideoFrame | None) -> list[Any]:
    """With an encoder of any name; of SVT-AV1 no thread has anything left to do with the frame."""
    packets = encoder.encode(frame)
    while encoder.name == "libsvtav1" and _is_any_busy():
        time.sleep(_PAUSE_S)
    return packets


def _is_any_busy() -> bool:
    """Of the threads that are not Python's."""
    ours = {str(thread.native_id) for thread in threading.enumerate()}
    return any(_is_busy(thread) for thread in _THREADS.iterdir() if thread.name not in ours)


def _is_busy(thread: Path) -> bool:
    try:
        stat = (thread / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return False
    return not stat.rpartition(") ")[2].startswith("S")
