import asyncio
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from server.recorder.evidence.tlog import open_log
from server.recorder.keys.key_ring import open_keys
from server.recorder.recorder import Recorder
from server.recorder.writing.witness import Witness
from server.signaling.admission import Admission, Load
from server.signaling.load import PROBE_S, RECENT, WINDOW, LoadMeter, LoopLag
from server.signaling.storage import Storage


def test_quantiles_are_of_the_last_minute() -> None:
    lag = LoopLag()
    assert lag.quantile(1) == 0
    for sample in (0.9, *(n / 10_000 for n in range(WINDOW))):
        lag.add(sample)
    assert lag.quantile(1) == (WINDOW - 1) / 10_000  # the 0.9 is more than a minute old
    assert lag.quantile(0.5) == WINDOW / 20_000
    lag.add(-1)
    assert lag.quantile(0) == 0


def test_quantiles_of_the_newest_forget_sooner() -> None:
    lag = LoopLag()
    for sample in (0.9, *[0.1] * RECENT):
        lag.add(sample)
    assert (lag.quantile(1), lag.quantile(1, RECENT)) == (0.9, 0.1)


def test_each_tick_is_measured_once() -> None:
    """By uvloop, whose timers end early."""
    lag = Counting()

    async def measure() -> float:
        began_s = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await lag.measure()
        return time.monotonic() - began_s

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        lasted_s = runner.run(measure())
    assert 0 < lag.samples <= lasted_s / PROBE_S + 1


class Counting(LoopLag):
    samples = 0

    def add(self, lag_s: float) -> None:
        self.samples += 1


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    keys = open_keys(tmp_path / "keys")
    log = open_log(tmp_path / "log", keys.signer)
    return Recorder(tmp_path, keys, Witness(log, keys.public_key, lambda _: False))


@pytest.fixture
def meter(recorder: Recorder) -> LoadMeter:
    return LoadMeter(Admission(), Storage(), LoopLag(), recorder, time.monotonic)


def elsewhere(meter: LoadMeter, late_s: float = 0.0) -> Load:
    """As the server does: in another thread than the one that is measured."""
    found: list[Load] = []
    thread = threading.Thread(target=lambda: found.append(meter.measure(late_s)))
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_that_works_is_busy_and_one_that_waits_is_not(recorder: Recorder) -> None:
    made: list[LoadMeter] = []
    made.append(LoadMeter(Admission(), Storage(), LoopLag(), recorder, time.monotonic))
    ready, over = threading.Event(), threading.Event()

    def wait() -> None:
        made.append(LoadMeter(Admission(), Storage(), LoopLag(), recorder, time.monotonic))
        ready.set()
        over.wait()

    waiting = threading.Thread(target=wait)
    waiting.start()
    ready.wait()
    for meter in made:
        elsewhere(meter)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    busy, idle = [elsewhere(meter).busy for meter in made]
    over.set()
    waiting.join()
    assert busy > 0.7
    assert idle < 0.1


def test_what_is_left_of_the_machine_is_told(
    meter: LoadMeter, recorder: Recorder, tmp_path: Path
) -> None:
    before = elsewhere(meter, late_s=0.25)
    assert before.late_s == 0.25
    stat = os.statvfs(tmp_path)
    assert before.disk_bytes == pytest.approx(stat.f_bavail * stat.f_frsize, rel=0.01)
    assert 1e6 < before.memory_bytes < 1e13
    recorder.metrics.bytes_written += 1_000_000
    opened = [os.open(tmp_path, os.O_RDONLY) for _ in range(10)]
    now = elsewhere(meter)
    for each in opened:
        os.close(each)
    assert before.files - now.files == 10
    assert now.recorded_bytes_per_s > 100_000


def test_a_disk_that_hangs_shows_while_it_does(meter: LoadMeter, recorder: Recorder) -> None:
    recorder.metrics.write_lag_s = 0.1
    assert elsewhere(meter).write_lag_s == 0.1
    recorder._round_began_s = time.monotonic() - 5.0
    assert elsewhere(meter).write_lag_s > 4.9
