"""How many bits a candidate sends: it does what the server's REMB and transport-wide feedback ask.

Pure. The feedback is that of draft-holmer-rmcat-transport-wide-cc-extensions-01; what is made of
it is much simpler than a browser's congestion control: three bitrates, down at once, up slowly.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

_RTPFB, _TRANSPORT_WIDE = 205, 15
_TICK_S = 250e-6  # of an arrival's delta
_REFERENCE_S = 0.064
_HEADER = struct.Struct("!BBH")
_FEEDBACK = struct.Struct("!IIHHI")

#: More than this share of a second's packets lost, and it steps down.
MAX_LOSS = 0.10
#: Packets that take so much longer than the quickest of late stand in a queue that grows.
MAX_QUEUE_S = 0.15
#: Judged once so many packets were reported.
MIN_PACKETS = 50
#: No second step before the first one can have helped.
STEP_S = 2.0
#: It steps up after so long without a reason not to, when there is so much room above it.
CALM_S = 5.0
HEADROOM = 1.2
#: Packets of which it remembers when they were sent: about eight seconds.
HISTORY = 2048


@dataclass(frozen=True, slots=True)
class Arrival:
    """Of one packet, by its transport-wide number; None: it has not come."""

    seqno: int
    arrived_s: float | None  #: by the receiver's clock


def transport_feedback(packet: bytes) -> list[Arrival]:
    """What all transport-wide feedback in a compound RTCP packet says.

    Raises ValueError for what is not whole.
    """
    arrivals: list[Arrival] = []
    pos = 0
    while pos < len(packet):
        if len(packet) < pos + 4:
            raise ValueError("RTCP packet is truncated")
        first, packet_type, words = _HEADER.unpack_from(packet, pos)
        end = pos + 4 + 4 * words
        if first >> 6 != 2 or end > len(packet):
            raise ValueError("RTCP packet is not whole")
        if packet_type == _RTPFB and first & 0x1F == _TRANSPORT_WIDE:
            arrivals += _arrivals(packet[pos + 4 : end])
        pos = end
    return arrivals


def _arrivals(body: bytes) -> Iterator[Arrival]:
    """Draft 3.1: numbers and the reference time, status chunks, deltas, padding."""
    if len(body) < _FEEDBACK.size:
        raise ValueError("transport feedback is truncated")
    _, _, base, count, reference = _FEEDBACK.unpack_from(body)
    statuses, pos = _statuses(body, count)
    at_s = ((reference >> 8) - ((reference >> 31) << 24)) * _REFERENCE_S  # 24 bits, signed
    for index, status in enumerate(statuses):
        seqno = (base + index) & 0xFFFF
        if status == 0:
            yield Arrival(seqno, None)
            continue
        size = status  # 1: one byte, from zero up; 2: two, either way
        delta = body[pos : pos + size]
        if status == 3 or len(delta) < size:
            raise ValueError("transport feedback lacks a delta")
        at_s += int.from_bytes(delta, "big", signed=status == 2) * _TICK_S
        pos += size
        yield Arrival(seqno, at_s)


def _statuses(body: bytes, count: int) -> tuple[list[int], int]:
    """A status for each of `count` packets, and where the deltas begin."""
    statuses: list[int] = []
    pos = _FEEDBACK.size
    while len(statuses) < count:
        if len(body) < pos + 2:
            raise ValueError("transport feedback lacks a status")
        chunk = body[pos] << 8 | body[pos + 1]
        pos += 2
        if chunk >> 15 == 0:  # draft 3.1.3: a run
            statuses += [chunk >> 13] * min(chunk & 0x1FFF, count - len(statuses))
            if not chunk & 0x1FFF:
                raise ValueError("transport feedback has an empty run")
        elif chunk >> 14 & 1:  # draft 3.1.4: seven symbols of two bits
            statuses += [chunk >> shift & 3 for shift in range(12, -1, -2)]
        else:  # fourteen of one
            statuses += [chunk >> shift & 1 for shift in range(13, -1, -1)]
    return statuses[:count], pos


@dataclass(slots=True)
class Adaptation:
    """Which of `rates_bps`, the highest first, is to be sent. Times by one steady clock."""

    rates_bps: Sequence[int]
    level: int = 0  #: index in `rates_bps`
    _max_bps: float = inf
    _next: int = 0
    _sent_s: list[float] = field(default_factory=lambda: [0.0] * HISTORY)
    _numbers: list[int] = field(default_factory=lambda: [-1] * HISTORY)
    _lost: int = 0
    _delays_s: list[float] = field(default_factory=list)
    _quickest_s: float = inf
    _stepped_s: float = -inf
    _calm_since_s: float | None = None

    def number(self, now: float) -> int:
        """The transport-wide number of a packet that is sent at `now`."""
        seqno = self._next
        self._next = (seqno + 1) & 0xFFFF
        self._sent_s[seqno % HISTORY], self._numbers[seqno % HISTORY] = now, seqno
        return seqno

    def max_bitrate(self, bitrate_bps: int, now: float) -> None:
        """The server takes no more than this (REMB)."""
        self._max_bps = bitrate_bps
        fitting = [each for each, rate in enumerate(self.rates_bps) if rate <= bitrate_bps]
        lowest = min(fitting, default=len(self.rates_bps) - 1)
        if lowest > self.level:
            self._step(lowest, now)
        else:
            self._rise(now)

    def feedback(self, arrivals: Sequence[Arrival], now: float) -> None:
        """The server says what came, and when."""
        for each in arrivals:
            if self._numbers[each.seqno % HISTORY] != each.seqno:
                continue  # forgotten, or never sent
            if each.arrived_s is None:
                self._lost += 1
            else:
                self._delays_s.append(each.arrived_s - self._sent_s[each.seqno % HISTORY])
        if self._lost + len(self._delays_s) >= MIN_PACKETS:
            self._judge(now)

    def _judge(self, now: float) -> None:
        count = self._lost + len(self._delays_s)
        lossy = self._lost > MAX_LOSS * count
        middle_s = sorted(self._delays_s)[len(self._delays_s) // 2] if self._delays_s else None
        self._quickest_s = min([self._quickest_s, *self._delays_s])
        queued = middle_s is not None and middle_s - self._quickest_s > MAX_QUEUE_S
        self._lost, self._delays_s = 0, []
        if not lossy and not queued:
            self._rise(now)
        elif now - self._stepped_s >= STEP_S:
            self._step(min(self.level + 1, len(self.rates_bps) - 1), now)
        else:
            self._calm_since_s = None

    def _step(self, level: int, now: float) -> None:
        self.level, self._stepped_s, self._calm_since_s = level, now, None

    def _rise(self, now: float) -> None:
        """One level, after a while in which there was room for it all the time."""
        room = self.level > 0 and self._max_bps >= HEADROOM * self.rates_bps[self.level - 1]
        if not room:
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = now
        elif now - self._calm_since_s >= CALM_S:
            self._step(self.level - 1, now)
