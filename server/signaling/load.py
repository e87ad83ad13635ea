"""What this process measures of itself, once a second, for admission and metrics."""

import asyncio
import os
import resource
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from server.recorder.recorder import Recorder
from server.signaling.admission import Admission, Load
from server.signaling.storage import Storage

#: The loop's lag is how much later than asked a sleep of this length ends. A blocking call may
#: begin right after the sleep did, so that up to this much of it is not seen.
PROBE_S = 0.02
#: Samples of the last minute.
WINDOW = round(60 / PROBE_S)
#: How punctual the loop is now: so many samples, 10 s.
RECENT = round(10 / PROBE_S)
MEASURE_S = 1.0
#: Measurements that the mean is over: two spans.
KEPT = 3


class LoopLag:
    """How late the event loop is: one sample each PROBE_S, the last minute kept."""

    def __init__(self) -> None:
        self._samples_s: deque[float] = deque(maxlen=WINDOW)

    async def measure(self) -> None:
        """Runs until cancelled."""
        while True:
            before = time.monotonic()  # a loop's own clock stands still while it works
            # Together with the media's tick. Timers of uvloop may end a millisecond early: the
            # next tick is another one than that which is about to come.
            asked_s = 1.5 * PROBE_S - (before + PROBE_S / 2) % PROBE_S
            await asyncio.sleep(asked_s)
            self.add(time.monotonic() - before - asked_s)

    def add(self, lag_s: float) -> None:
        self._samples_s.append(max(0.0, lag_s))

    def quantile(self, q: float, samples: int = WINDOW) -> float:
        """The nearest-rank quantile of the newest; 1 is the maximum. 0 before the first."""
        ordered = sorted(islice(reversed(self._samples_s), samples))
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


class LoadMeter:
    """Made on the event loop whose thread it measures."""

    def __init__(
        self,
        admission: Admission,
        storage: Storage,
        lag: LoopLag,
        recorder: Recorder,
        clock: Callable[[], float],
    ) -> None:
        self._admission = admission
        self._storage = storage
        self._lag = lag
        self._recorder = recorder
        self._clock = clock
        self._thread = threading.current_thread()
        self._spans: deque[tuple[float, float, int]] = deque(maxlen=KEPT)

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            late_s = self._lag.quantile(0.99, RECENT)
            # /proc and the disk are asked in a thread: either may keep one waiting.
            load = await asyncio.to_thread(self.measure, late_s)
            now = self._clock()
            self._admission.measured(load, now)
            self._storage.measured(load, self._admission.running, now)
            await asyncio.sleep(MEASURE_S)

    def measure(self, late_s: float) -> Load:
        """The load since the last measurements; for any thread, but one at a time."""
        recorded = self._recorder.metrics.bytes_written
        self._spans.append((time.monotonic(), self._demand_s(), recorded))
        (began_s, demand_s, before), (now_s, until_s, _) = self._spans[0], self._spans[-1]
        span_s = max(now_s - began_s, 1e-3)
        return Load(
            (until_s - demand_s) / span_s,
            late_s,
            self._recorder.lag_s(),
            (recorded - before) / span_s,
            self._recorder.store_behind_s(),
            shutil.disk_usage(self._recorder.data_dir).free,
            _free_memory(),
            _free_files(),
        )

    def _demand_s(self) -> float:
        """For how long the thread has run, or waited for a core that others had."""
        clock = time.pthread_getcpuclockid(self._thread.ident or 0)
        waited_s = 0.0
        with suppress(OSError, ValueError, IndexError):  # a kernel without it, or not Linux
            stat = Path(f"/proc/self/task/{self._thread.native_id}/schedstat").read_text()
            waited_s = int(stat.split()[1]) / 1e9  # Documentation/scheduler/sched-stats.rst
        return time.clock_gettime(clock) + waited_s


def _free_memory() -> float:
    """Bytes that can be had without swapping; all there could be where nobody tells."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024.0
    return float("inf")


def _free_files() -> float:
    """Files and sockets that may still be opened."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError):
        return most - len(os.listdir("/proc/self/fd")) if most >= 0 else float("inf")
    return float("inf")
