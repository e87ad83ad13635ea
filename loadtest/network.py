"""A network that loses, delays and reorders datagrams as it is told to. Pure, with seeds.

A `Link` is one direction. Each datagram draws the same random numbers whatever becomes of it:
the same seed and the same datagrams at the same times give the same run, and of two runs with
one seed the same datagrams are lost even when their times differ.
"""

import math
import re
from dataclasses import dataclass, fields
from random import Random

#: Octets of IPv4 and UDP headers, which a rate limit counts too.
HEADERS_SIZE = 28
#: How much longer a reordered datagram takes: 2 to 3 video packets at 1 Mbit/s.
REORDER_S = 0.02
#: Queue before a rate limit where none is given: that of a home router that is not bloated.
DEFAULT_QUEUE_S = 0.2


class NetworkError(ValueError):
    """A description that cannot be understood; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Impairments:
    """What a network does to each direction. The default is a perfect one."""

    loss: float = 0.0  #: share of datagrams, 0..1
    burst: float = 1.0  #: mean length of a row of losses; 1: each on its own
    delay_s: float = 0.0
    jitter_s: float = 0.0  #: the delay varies evenly by so much up and down; order is kept
    reorder: float = 0.0  #: share of datagrams that take REORDER_S longer and are overtaken
    rate_bps: float = math.inf
    queue_s: float = DEFAULT_QUEUE_S  #: longer waits for the rate limit are drops
    move_s: float = math.inf  #: after each so many seconds the peer has another address

    def __post_init__(self) -> None:
        for name in ("loss", "reorder"):
            if not 0 <= getattr(self, name) < 1:
                raise NetworkError(f"{name} must be from 0 to below 100%")
        if self.burst < 1 or (self.burst > 1 and self.loss > self.burst / (self.burst + 1)):
            # Beyond it no good datagram is left between two bursts (see `Link._is_lost`).
            raise NetworkError(f"burst={self.burst:g} cannot make a loss of {self.loss:.0%}")
        if not self.rate_bps > 0 or not self.move_s > 0:
            raise NetworkError("rate and move must be above zero")

    def __str__(self) -> str:
        """As `parse_network` reads it."""
        perfect = Impairments()
        changed = [each.name for each in fields(self)]
        changed = [name for name in changed if getattr(self, name) != getattr(perfect, name)]
        return ",".join(f"{_KEYS[name]}={_written(self, name)}" for name in changed) or "perfect"


#: Names for `--network`: the lines that candidates really have, one direction of them.
PROFILES = {
    "perfect": Impairments(),
    "good": Impairments(delay_s=0.01, jitter_s=0.002, rate_bps=20e6),
    "wifi": Impairments(loss=0.01, burst=3, delay_s=0.015, jitter_s=0.01, rate_bps=5e6),
    "mobile": Impairments(
        loss=0.02, burst=2, delay_s=0.05, jitter_s=0.03, reorder=0.005, rate_bps=3e6, move_s=30
    ),
    "bad": Impairments(
        loss=0.05, burst=4, delay_s=0.1, jitter_s=0.05, reorder=0.01, rate_bps=1.5e6, queue_s=0.4
    ),
}

_KEYS = {
    "loss": "loss",
    "burst": "burst",
    "delay_s": "delay",
    "jitter_s": "jitter",
    "reorder": "reorder",
    "rate_bps": "rate",
    "queue_s": "queue",
    "move_s": "move",
}
_FIELDS = {key: name for name, key in _KEYS.items()}
_UNITS = {
    "loss": {"%": 0.01, "": 1.0},
    "reorder": {"%": 0.01, "": 1.0},
    "burst": {"": 1.0},
    "rate": {"bit/s": 1.0, "kbit/s": 1e3, "mbit/s": 1e6},
} | {key: {"ms": 1e-3, "s": 1.0} for key in ("delay", "jitter", "queue", "move")}


def parse_network(text: str) -> Impairments:
    """A profile's name, or e.g. `loss=5%,burst=4,delay=60ms,jitter=30ms,rate=300kbit/s`.

    A name may be followed by what differs from it: `mobile,loss=5%`. Raises NetworkError.
    """
    first, *rest = (part.strip() for part in text.split(","))
    if "=" in first:
        first, rest = "perfect", [first, *rest]
    if first not in PROFILES:
        raise NetworkError(f"no network is called {first!r}; there are {', '.join(PROFILES)}")
    base = PROFILES[first]
    values = {each.name: getattr(base, each.name) for each in fields(base)}
    return Impairments(**values | dict(map(_parse_setting, rest)))


def _parse_setting(text: str) -> tuple[str, float]:
    key, _, value = text.partition("=")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(\S*)", value.strip())
    if key not in _FIELDS:
        raise NetworkError(f"{key!r} is none of {', '.join(_FIELDS)}")
    unit = _UNITS[key].get(match[2].lower()) if match else None
    if match is None or unit is None:
        wanted = " or ".join(repr(name) for name in _UNITS[key] if name) or "no unit"
        raise NetworkError(f"{text!r} is not a number with {wanted}")
    return _FIELDS[key], float(match[1]) * unit


def _written(network: Impairments, name: str) -> str:
    value = getattr(network, name)
    match name:
        case "loss" | "reorder":
            return f"{value * 100:g}%"
        case "rate_bps":
            return f"{value / 1000:.10g}kbit/s"
        case "burst":
            return f"{value:g}"
        case _:
            return f"{value * 1000:.10g}ms"


class Link:
    """One direction: `arrival` for each datagram in the order of sending."""

    def __init__(self, network: Impairments, seed: str) -> None:
        self.datagrams = 0
        self.lost = 0  #: to random loss
        self.overflowed = 0  #: dropped by the queue before the rate limit
        self._network = network
        self._random = Random(seed).random
        self._losing = False
        self._free_at = self._latest = -math.inf

    def arrival(self, size: int, now: float, *, spared: bool = False) -> float | None:
        """When `size` octets sent at `now` come out; None when they are lost.

        `spared`: they are not lost at random.
        """
        change, jitter, reorder = self._random(), self._random(), self._random()
        network = self._network
        self.datagrams += 1
        if self._is_lost(change) and not spared:
            self.lost += 1
            return None
        begun = max(now, self._free_at)
        if begun - now > network.queue_s:
            self.overflowed += 1
            return None
        self._free_at = begun + (size + HEADERS_SIZE) * 8 / network.rate_bps
        delay_s = max(0.0, network.delay_s + (2 * jitter - 1) * network.jitter_s)
        arrival = max(self._free_at + delay_s, self._latest)
        if reorder < network.reorder:
            return arrival + REORDER_S  # and what follows does not wait for it
        self._latest = arrival
        return arrival

    def _is_lost(self, draw: float) -> bool:
        """Gilbert's model: rows of losses of mean length `burst`, `loss` of all in the long run.

        Bad turns good with probability 1 / burst; the share of bad, good_to_bad / (good_to_bad +
        bad_to_good), is `loss`.
        """
        network = self._network
        if network.burst == 1:
            return draw < network.loss
        to_good = 1 / network.burst
        to_bad = to_good * network.loss / (1 - network.loss)
        self._losing = draw >= to_good if self._losing else draw < to_bad
        return self._losing


class Network:
    """Both directions of one peer."""

    def __init__(self, network: Impairments, seed: str) -> None:
        self.impairments = network
        self.up, self.down = Link(network, f"{seed} up"), Link(network, f"{seed} down")
