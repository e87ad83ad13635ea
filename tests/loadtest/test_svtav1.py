import os
from fractions import Fraction
from pathlib import Path

import av

from loadtest.svtav1 import open_like_others


def test_no_thread_of_an_encoder_of_av1_is_real_time() -> None:
    encoder = av.CodecContext.create("libsvtav1", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 64, 64, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    before = len(list(Path("/proc/self/task").iterdir()))
    open_like_others(encoder)
    threads = [int(thread.name) for thread in Path("/proc/self/task").iterdir()]
    assert len(threads) > before, "it has threads of its own"
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}
