import os
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from loadtest.svtav1 import encode, open_like_others


@pytest.fixture
def encoder() -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libsvtav1", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 64, 64, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.bit_rate = 100_000
    encoder.options = {"preset": "10", "svtav1-params": "rc=2:pred-struct=1:rtc=1:lp=1"}
    return encoder


def threads() -> set[int]:
    return {int(thread.name) for thread in Path("/proc/self/task").iterdir()}


def test_no_thread_of_an_encoder_of_av1_is_real_time(encoder: av.VideoCodecContext) -> None:
    before = threads()
    open_like_others(encoder)
    assert threads() - before, "it has threads of its own"
    assert {os.sched_getscheduler(thread) for thread in threads()} == {os.SCHED_OTHER}


@pytest.fixture
def on_one_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.usefixtures("on_one_core")
def test_an_encoder_of_av1_has_nothing_left_to_do_when_a_picture_is_encoded(
    encoder: av.VideoCodecContext,
) -> None:
    """Given the next one earlier it may wait for itself for ever."""
    before = threads()
    open_like_others(encoder)
    own = threads() - before - {threading.get_native_id()}
    for thread in own:  # this one goes before them as soon as it has the picture
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    for index in range(10):
        frame = av.VideoFrame(64, 64, "yuv420p")
        frame.pts = index
        assert len(encode(encoder, frame)) == 1
        status = [Path(f"/proc/self/task/{thread}/status").read_text() for thread in own]
        assert all("State:\tS" in each for each in status)
    encode(encoder, None)
