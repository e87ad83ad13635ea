"""When to send: one clock for all candidates of a process.

`Pacer` is pure: it holds what is due when, and calls it from `run_due(now)`. `drive` is its
shell, one task that sleeps until the next event, and also reads what has come in meanwhile.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from functools import partial
from math import ceil, floor

from loadtest.histogram import Histogram
from loadtest.inbox import Inbox

#: An action is called with the time it was due at and the time it is now.
Action = Callable[[float, float], None]

#: The grid on which the process wakes: what many candidates have to send within it goes out
#: together, as waking costs more than sending (docs/decisions/loadtest-pacing.md).
TICK_S = 0.004
_IDLE_S = 3600.0


class Pacer:
    """Actions by due time (seconds of any steady clock), and how late they were run.

    `on_earlier` is called when an action becomes the next one due.
    """

    def __init__(self) -> None:
        self.on_earlier: Callable[[], None] = lambda: None
        self.lateness_s = Histogram()
        self._due: list[tuple[float, int, Action]] = []
        self._order = itertools.count()  # equal times: first come, first run

    def at(self, due: float, action: Action) -> None:
        entry = (due, next(self._order), action)
        heapq.heappush(self._due, entry)
        if self._due[0] is entry:
            self.on_earlier()

    def run_due(self, now: float) -> float | None:
        """Runs what is due at `now`; returns when the next action is due."""
        while self._due and self._due[0][0] <= now:
            due, _, action = heapq.heappop(self._due)
            self.lateness_s.add(now - due)
            action(due, now)
        return self._due[0][0] if self._due else None


async def drive(pacer: Pacer, inbox: Inbox) -> None:
    """Runs the pacer by the event loop's clock until cancelled; drains the inbox at each tick."""
    loop = asyncio.get_running_loop()
    tick = 0.0
    while True:
        inbox.drain()
        # uvloop rounds to milliseconds: what woke too early would spin until its tick came.
        now = max(loop.time(), tick)
        due = pacer.run_due(now)
        if inbox:
            due = now if due is None else min(due, now)
        at = now + _IDLE_S if due is None else _tick_after(due, now)
        wake = loop.create_future()
        timer = loop.call_at(at, _finish, wake, at)
        pacer.on_earlier = inbox.on_added = partial(_finish, wake, 0.0)
        try:
            tick = await wake
        finally:
            timer.cancel()


def _tick_after(due: float, now: float) -> float:
    """The first tick of the grid at which what is due then can be done."""
    return max(ceil(due / TICK_S), floor(now / TICK_S) + 1) * TICK_S


def _finish(wake: "asyncio.Future[float]", tick: float) -> None:
    if not wake.done():
        wake.set_result(tick)
