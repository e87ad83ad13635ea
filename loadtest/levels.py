"""Service levels: what a server has to keep so that people notice nothing. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Demand:
    """One level: the measured value must be at least, or at most, `limit`."""

    name: str
    unit: str
    limit: float
    at_least: bool = False


class Level(msgspec.Struct, frozen=True):
    """How one demand was met."""

    name: str
    unit: str
    limit: float
    at_least: bool
    measured: float | None
    kept: bool | None  #: None: it was not measured


#: By the key under which the report gives the measured value.
DEMANDS: Mapping[str, Demand] = {
    "joined": Demand("interviews joined", "%", 100, at_least=True),
    "frames": Demand("frames complete", "%", 99.9, at_least=True),
    "sounds": Demand("sounds complete", "%", 99.9, at_least=True),
    "misrouted": Demand("frames of other candidates", "", 0),
    "forward": Demand("forward latency p99", "ms", 50),
    "indicators": Demand("indicator latency p95", "ms", 500),
    "read": Demand("recordings read", "%", 100, at_least=True),
    "recorded": Demand("recorded or declared missing", "%", 100, at_least=True),
    "lip_sync": Demand("recorded lip sync, p95", "ms", 40),
    "memory": Demand("memory growth of a process", "MB an hour", 5),
}


def judge(measured: Mapping[str, float | None]) -> list[Level]:
    """One level for each key of `measured`, in the order of DEMANDS."""
    return [
        Level(
            demand.name,
            demand.unit,
            demand.limit,
            demand.at_least,
            value,
            None if value is None else _kept(demand, value),
        )
        for key, demand in DEMANDS.items()
        if key in measured
        for value in (measured[key],)
    ]


def _kept(demand: Demand, value: float) -> bool:
    return value >= demand.limit if demand.at_least else value <= demand.limit
