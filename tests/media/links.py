"""A sender, a bottleneck and the way back, in steps of a clock that the test owns."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from loadtest.network import Link
from server.media.forwarding.estimate import Arrival, Estimate

STEP_S = 0.001
FEEDBACK_S = 0.1
#: Of media; on the wire all are so large.
PACKET_OCTETS = 1200


@dataclass
class Bottleneck:
    """A queue before a rate, which senders share; `rate_bps` of the time since the start."""

    rate_bps: Callable[[float], float]
    loss: float = 0.0
    queue_s: float = 0.3
    delay_s: float = 0.03
    random: Random = field(default_factory=lambda: Random(7))
    free_s: float = 0.0

    def arrival(self, octets: int, now: float) -> float | None:
        begun = max(now, self.free_s)
        if begun - now > self.queue_s:
            return None
        self.free_s = begun + 8 * octets / self.rate_bps(now)
        return None if self.random.random() < self.loss else self.free_s + self.delay_s

    def queue(self, now: float) -> float:
        return max(0.0, self.free_s - now)


@dataclass
class Rough:
    """The load tester's network: its jitter, its bursts of losses."""

    link: Link
    delay_s: float = 0.03

    def arrival(self, octets: int, now: float) -> float | None:
        return self.link.arrival(octets, now)

    def queue(self, now: float) -> float:
        return 0.0


class AnyLink(Protocol):
    delay_s: float  #: of the way back

    def arrival(self, octets: int, now: float) -> float | None: ...

    def queue(self, now: float) -> float: ...


@dataclass
class Flow:
    """Pictures at 30 a second of the rate that the estimate allows, up to `most_bps`."""

    link: AnyLink
    most_bps: float = 4_000_000
    least_bps: float = 30_000
    begin_s: float = 0.0
    estimate: Estimate = field(default_factory=lambda: Estimate(0.0))
    debt: float = 0.0
    on_the_way: list[tuple[float, float, float | None]] = field(default_factory=list)
    #: by time: the estimate, and the queue that each packet met
    estimates: list[tuple[float, float]] = field(default_factory=list)
    _picture_s: float = 0.0
    _feedback_s: float = 0.0

    def step(self, now: float) -> None:
        if now < self.begin_s:
            return
        if now >= self._picture_s:
            self._picture_s = now + 1 / 30
            wanted = min(self.most_bps, max(self.estimate.bitrate_bps, self.least_bps))
            self.debt += wanted / 30 / 8 / PACKET_OCTETS
            while self.debt >= 1:
                self.debt -= 1
                self.on_the_way.append((now, now, self.link.arrival(PACKET_OCTETS, now)))
        if now >= self._feedback_s:
            self._feedback_s = now + FEEDBACK_S
            self._feed(now)

    def _feed(self, now: float) -> None:
        back_s = self.link.delay_s
        # What left so long ago has come by now, or never will.
        newest = max(
            (at for _, at, due in self.on_the_way if due and due + back_s <= now), default=-math.inf
        )
        arrivals, lost, rest = [], 0, []
        for each in self.on_the_way:
            _, sent_s, due = each
            if due is not None and due + back_s <= now:
                arrivals.append(Arrival(sent_s, round(due / 250e-6) * 250e-6, PACKET_OCTETS))
            elif due is None and sent_s <= newest:
                lost += 1
            else:
                rest.append(each)
        self.on_the_way = rest
        if arrivals or lost:
            self.estimate.feedback(arrivals, lost, now, 2 * back_s)
        self.estimates.append((now, self.estimate.bitrate_bps))

    def mean_bps(self, begin_s: float, end_s: float) -> float:
        values = [bps for at, bps in self.estimates if begin_s <= at < end_s]
        return sum(values) / len(values)


def run(link: AnyLink, flows: list[Flow], seconds: float) -> list[tuple[float, float]]:
    """Lets time pass; the queue by time."""
    queue = []
    for index in range(round(seconds / STEP_S)):
        now = index * STEP_S
        for flow in flows:
            flow.step(now)
        if index % 20 == 0:
            queue.append((now, link.queue(now)))
    return queue
