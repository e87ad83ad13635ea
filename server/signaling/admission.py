"""Whether one more may come in: what the process measures of itself decides, not a fixed number.

Contract: `measured` is called about once a second. `admit_candidate` and `admit_observer` raise
Refusal before a newcomer costs anything; `opened` and `closed` tell of interviews that run. Those
inside, and who comes back to them, are never asked. Pure: the time is an argument.
"""

import enum
import math
from collections import Counter, deque
from dataclasses import dataclass

from server.core.interviews import Role
from server.signaling.errors import RETRY_SOON_S, Refusal
from server.signaling.protocol import ErrorId

#: What a newcomer is taken to cost at least, as a share of a core, and before any was measured.
#: docs/decisions/admission.md has the figures that these are from.
COST = 0.008
#: What is measured is a mean of the last 2 s, up to 1 s old: before that a newcomer is not in it.
UNSEEN_S = 3.0
#: An interview of the usual length must fit on the disk, for all who run and the next.
DISK_S = 3600.0
#: Of an interview at the bitrate that candidates are asked to keep to, until one is measured.
RECORDED_BYTES_PER_S = 190_000.0
#: The kernel needs some to write what is recorded; below this it looks for a process to end.
MEMORY_BYTES = 256e6
#: Files and sockets: those inside need new ones for segments, and for who comes back.
FILES = 128.0


class Resource(enum.StrEnum):
    """What there can be too little of."""

    LOOP = "loop"  #: the event loop's thread, one core
    TICK = "tick"  #: how punctual it is
    WRITER = "writer"  #: how far the recorder is behind
    DISK = "disk"
    MEMORY = "memory"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class Load:
    """What the process measured of itself in the last seconds; the defaults of an idle one."""

    busy: float = 0.0  #: share of the time that the loop's thread ran, or waited for a core
    late_s: float = 0.0  #: how late its ticks are, the 99th percentile
    write_lag_s: float = 0.0  #: from a frame's arrival to its being durable
    recorded_bytes_per_s: float = 0.0
    store_behind_s: float = 0.0  #: for how long the store has not had all that is closed
    disk_bytes: float = math.inf  #: what is free, as in the next two
    memory_bytes: float = math.inf
    files: float = math.inf


@dataclass(frozen=True, slots=True)
class Limits:
    """Where somebody is refused, so that nobody inside has to wait."""

    busy: float
    late_s: float
    write_lag_s: float


#: Candidates leave room for the observers that follow them; observers, for the recordings.
LIMITS = {
    Role.CANDIDATE: Limits(busy=0.60, late_s=0.060, write_lag_s=1.0),
    Role.OBSERVER: Limits(busy=0.75, late_s=0.150, write_lag_s=2.0),
}


class Admission:
    """Made once for a process."""

    def __init__(self) -> None:
        self.draining = False  #: no new interviews: the server is about to stop
        self.running = 0  #: interviews whose recording is open
        self.refused: Counter[tuple[Role, str]] = Counter()  #: by role and what was lacking
        self._load = Load()
        self._cost = COST  # of one interview, as a share of a core
        self._opened_s: deque[float] = deque()
        self._observed_s: deque[float] = deque()  # when observers were admitted

    def measured(self, load: Load, now: float) -> None:
        self._load = load
        if self.running and not _unseen(self._opened_s, now):
            self._cost = max(COST, load.busy / self.running)

    def opened(self, now: float) -> None:
        """An interview runs from now on."""
        self.running += 1
        self._opened_s.append(now)

    def closed(self) -> None:
        self.running -= 1

    def admit_candidate(self, now: float) -> None:
        """Before a new interview. Raises Refusal: draining, or no headroom."""
        if self.draining:
            self.refused[Role.CANDIDATE, "draining"] += 1
            raise Refusal(ErrorId.SERVER_RESTARTING, "The server restarts: try again in a moment.")
        self._admit(Role.CANDIDATE, now)

    def admit_observer(self, now: float) -> None:
        """Before another observer's media. Raises Refusal: no headroom."""
        self._admit(Role.OBSERVER, now)
        self._observed_s.append(now)

    def _admit(self, role: Role, now: float) -> None:
        for resource, headroom in self.headroom(now, role).items():
            if headroom <= 0:
                self.refused[role, resource] += 1
                after_s = RETRY_SOON_S if role is Role.OBSERVER else None
                raise Refusal(
                    ErrorId.SERVER_BUSY, "The server is busy: try again in a moment.", after_s
                )

    def headroom(self, now: float, role: Role = Role.CANDIDATE) -> dict[Resource, float]:
        """What is left of each resource for one more, 1: all, 0: too little."""
        load = self._load
        used = {
            Resource.DISK: self._disk_needed() / max(load.disk_bytes, 1.0),
            Resource.MEMORY: MEMORY_BYTES / max(load.memory_bytes, 1.0),
            Resource.FILES: FILES / max(load.files, 1.0),
        }
        # With nobody inside there is nobody to protect from being late.
        limits = LIMITS[role] if self.running else Limits(math.inf, math.inf, math.inf)
        used |= {
            Resource.LOOP: self._busy_with_one_more(role, now) / limits.busy,
            Resource.TICK: load.late_s / limits.late_s,
            Resource.WRITER: load.write_lag_s / limits.write_lag_s,
        }
        return {resource: max(0.0, 1.0 - used[resource]) for resource in Resource}

    def _busy_with_one_more(self, role: Role, now: float) -> float:
        busy = self._load.busy + self._cost * _unseen(self._opened_s, now)
        if role is Role.CANDIDATE:
            # What observers take is measured in a second: until then nobody with an observer's
            # link, who comes again and again, keeps a candidate out.
            return busy + self._cost
        # An observer is less than an interview, above all where one that runs has to wait.
        return busy + COST * (_unseen(self._observed_s, now) + 1)

    def _disk_needed(self) -> float:
        each = self._load.recorded_bytes_per_s / self.running if self.running else 0.0
        return DISK_S * (self.running + 1) * max(each, RECORDED_BYTES_PER_S)


def _unseen(came_s: deque[float], now: float) -> float:
    """How many of them are not in what was measured: the newest in part."""
    while came_s and now - came_s[0] >= UNSEEN_S:
        came_s.popleft()
    return sum(1 - (now - each) / UNSEEN_S for each in came_s)
