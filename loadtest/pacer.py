"""When to send: one clock for all candidates of a process.

`Pacer` is pure: it holds what is due when, and calls it from `run_due(now)`. `drive` is its
shell, one task that sleeps until the next event.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable

from loadtest.histogram import Histogram

#: An action is called with the time it was due at and the time it is now.
Action = Callable[[float, float], None]

#: A sleep that nobody interrupts is no longer than this, so that new, earlier events are seen.
MAX_SLEEP_S = 0.005


class Pacer:
    """Actions by due time (seconds of any steady clock), and how late they were run."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Action]] = []
        self._order = itertools.count()  # equal times: first come, first run
        self.lateness_s = Histogram()

    def at(self, due: float, action: Action) -> None:
        heapq.heappush(self._due, (due, next(self._order), action))

    def run_due(self, now: float) -> float:
        """Runs what is due at `now`; returns when the next action is due (inf: none)."""
        while self._due and self._due[0][0] <= now:
            due, _, action = heapq.heappop(self._due)
            self.lateness_s.add(now - due)
            action(due, now)
        return self._due[0][0] if self._due else float("inf")


async def drive(pacer: Pacer) -> None:
    """Runs the pacer by the event loop's clock until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        now = loop.time()
        wait = pacer.run_due(now) - now
        await asyncio.sleep(min(max(wait, 0), MAX_SLEEP_S))
