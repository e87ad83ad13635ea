"""What leaves to one observer whose browser tells when each packet came. Pure.

All packets of the connection, repairs included, carry one count in a header extension; the
browser's feedback refers to it (draft-holmer-rmcat-transport-wide-cc-extensions-01 2) and feeds
the estimate of what the network takes. While that is not far above what is sent, pictures leave
no faster than the network can follow; sound never waits, and repairs have what room is left.
"""

import math
from collections import deque
from collections.abc import Callable

from server.core.rtp import EXTENDED, ONE_ELEMENT, pack_header_with_number
from server.core.twcc import TICK_S, TransportFeedback
from server.media.forwarding.estimate import Arrival, Estimate
from server.media.forwarding.probe import Probe, Result

#: Packets remembered until feedback comes, which is every 50 to 250 ms: seconds of any stream.
HISTORY_LENGTH = 2048
#: On the wire around a payload: IPv4, UDP, RTP with the extension, and SRTP's tag.
OVERHEAD_OCTETS = 20 + 8 + 20 + 16
#: Pictures are spread where the estimate is below so many times what is delivered,
PACED_BELOW = 2.0
#: at so many times the estimate, sound included: more would keep a queue full that is before us
#: (an estimate is 0.85 of what came through it), and lose of it what is new. So much leaves at
#: once: all of an ordinary picture, for which nobody has to be woken again,
PACING_FACTOR = 1.1
BURST_S = 0.04
#: and where something would have to wait longer, it is dropped. A keyframe of ten pictures' size
#: comes through.
MAX_WAIT_S = 0.7
#: Nothing is sent again where it would have to wait longer: what is new comes first, and what is
#: asked for in vain is asked for again after a round trip.
MAX_REPAIR_WAIT_S = 0.15


_MASK = HISTORY_LENGTH - 1
_PROFILE, _WORDS = ONE_ELEMENT
#: What `Egress.send` takes, but for the time.
_Waiting = tuple[int, int, int, int, int, bytes]


class Egress:
    """Contract: `send` each packet, `feedback_received` each feedback, `drain` when asked to.

    `extension`: the number of the header extension, of one octet; `send`: takes a packet's header
    and payload; `wake`: asks for `drain` in so many seconds; `full`: a packet of that SSRC was
    dropped, as too much waits. All times in Unix seconds.
    """

    def __init__(
        self,
        extension: int,
        send: Callable[[bytes, bytes], None],
        wake: Callable[[float], None],
        full: Callable[[int], None],
        now: float,
    ) -> None:
        self._element = extension << 4 | 1
        self._send = send
        self._wake = wake
        self._full = full
        self.estimate = Estimate(now)
        self._count = 0  # of packets sent: the next one's number, extended
        self._sent_s = [0.0] * HISTORY_LENGTH
        self._sizes = [0] * HISTORY_LENGTH  # below zero: told to be missing; zero: to have come
        self._first_tick: int | None = None
        self.octets = 0  #: sent, on the wire
        self.packets_lost = self._octets_lost = 0
        self.packets_arrived = 0
        self.packets_dropped = 0  #: never sent
        self._unpaced: set[int] = set()
        self._pacing = False
        self._waiting: deque[_Waiting] = deque()
        self._waiting_octets = 0
        self._free_s = 0.0  # when what has left is through, at the pace
        self._s_per_octet = 0.0
        self._probe: Probe | None = None
        self._probed: Result | None = None

    # ---- packets

    @property
    def is_pacing(self) -> bool:
        """Whether the network's limit is near, as far as is known."""
        return self._pacing

    @property
    def waits(self) -> bool:
        """Whether something does, for its turn."""
        return bool(self._waiting)

    def never_waits(self, ssrc: int) -> None:
        """This stream leaves at once, whatever waits."""
        self._unpaced.add(ssrc)

    def send(
        self,
        first: int,
        second: int,
        seqno: int,
        timestamp: int,
        ssrc: int,
        payload: bytes,
        now: float,
    ) -> None:
        """One packet, by the fields of its header."""
        if self._pacing and not self._may_leave(ssrc, len(payload), now):
            self._wait((first, second, seqno, timestamp, ssrc, payload), now)
            return
        count = self._count
        self._count = count + 1
        slot = count & _MASK
        size = len(payload) + OVERHEAD_OCTETS
        self._sent_s[slot] = now
        self._sizes[slot] = size
        self.octets += size
        self._send(
            pack_header_with_number(
                first | EXTENDED,
                second,
                seqno,
                timestamp,
                ssrc,
                _PROFILE,
                _WORDS,
                self._element,
                count & 0xFFFF,
            ),
            payload,
        )

    def makes_way(self, octets: int, now: float) -> None:
        """So much is sent beside these, uncounted: it takes of the pictures' room all the same."""
        if self._pacing:
            self._takes_place(octets, now)

    def _may_leave(self, ssrc: int, octets: int, now: float) -> bool:
        if ssrc in self._unpaced:
            self._takes_place(octets, now)
            return True
        return not self._waiting and self._has_room(octets, now)

    def _has_room(self, octets: int, now: float) -> bool:
        if self._free_s - now > BURST_S:
            return False
        self._takes_place(octets, now)
        return True

    def _takes_place(self, octets: int, now: float) -> None:
        self._free_s = max(self._free_s, now) + (octets + OVERHEAD_OCTETS) * self._s_per_octet

    def _wait(self, packet: _Waiting, now: float) -> None:
        octets = len(packet[5]) + OVERHEAD_OCTETS
        if (self._waiting_octets + octets) * self._s_per_octet > MAX_WAIT_S:
            self.packets_dropped += 1
            self._full(packet[4])
            return
        if not self._waiting:
            self._wake(max(0.0, self._free_s - now - BURST_S))
        self._waiting.append(packet)
        self._waiting_octets += octets

    def spare_octets(self, now: float) -> float:
        """How much of what was lost may be sent again now."""
        if not self._pacing:
            return math.inf
        waits_s = max(0.0, self._free_s - now) + self._waiting_octets * self._s_per_octet
        return max(0.0, MAX_REPAIR_WAIT_S - waits_s) / self._s_per_octet

    def drop(self, ssrc: int) -> None:
        """What waits of this stream is not worth sending any more."""
        waiting = self._waiting
        self._waiting = deque(each for each in waiting if each[4] != ssrc)
        self._waiting_octets = sum(len(each[5]) + OVERHEAD_OCTETS for each in self._waiting)
        self.packets_dropped += len(waiting) - len(self._waiting)

    def drain(self, now: float) -> None:
        """Sends what may leave by now of what waits."""
        waiting, pacing = self._waiting, self._pacing
        self._pacing = False
        while waiting and self._has_room(len(waiting[0][5]), now):
            packet = waiting.popleft()
            self._waiting_octets -= len(packet[5]) + OVERHEAD_OCTETS
            self.send(*packet, now)
        self._pacing = pacing
        if waiting:
            self._wake(max(0.0, self._free_s - now - BURST_S))

    # ---- feedback

    def feedback_received(
        self, feedback: TransportFeedback, now: float, round_trip_s: float | None
    ) -> None:
        """What the browser tells; nothing of it is counted twice."""
        lost, octets_lost = self.packets_lost, self._octets_lost
        arrivals = self._arrivals(feedback)
        estimate = self.estimate
        estimate.feedback(arrivals, max(0, self.packets_lost - lost), now, round_trip_s)
        if self._probe is not None:
            self._look_at_probe(self._probe, arrivals, self._octets_lost - octets_lost, now)
        self._s_per_octet = 8 / (PACING_FACTOR * estimate.bitrate_bps)
        near = estimate.bitrate_bps < PACED_BELOW * (estimate.delivered_bps or 0.0)
        self._pacing = near or bool(self._waiting)

    def _arrivals(self, feedback: TransportFeedback) -> list[Arrival]:
        told = feedback.arrivals
        behind = (self._count - feedback.base_seqno) & 0xFFFF
        if len(told) > behind:
            return []  # of packets that were never sent
        if behind > HISTORY_LENGTH:
            told, behind = told[behind - HISTORY_LENGTH :], HISTORY_LENGTH
        if self._first_tick is None:
            self._first_tick = next((tick for tick in told if tick is not None), None)
        # Ticks have 32 bits, and the first that is told need not be the earliest.
        shift = 0x8000_0000 - (self._first_tick or 0)
        sizes, sent_s = self._sizes, self._sent_s
        arrivals: list[Arrival] = []
        for count, tick in enumerate(told, self._count - behind):
            slot = count & _MASK
            size = sizes[slot]
            if size == 0:
                continue
            if tick is None:
                if size > 0:
                    self.packets_lost += 1
                    self._octets_lost += size
                    sizes[slot] = -size
                continue
            if size < 0:  # late, not lost
                self.packets_lost -= 1
                self._octets_lost += size
                size = -size
            sizes[slot] = 0
            arrived_s = (((tick + shift) & 0xFFFF_FFFF) - 0x8000_0000) * TICK_S
            arrivals.append(Arrival(sent_s[slot], arrived_s, size))
        self.packets_arrived += len(arrivals)
        return arrivals

    # ---- probes

    def probe(self, bitrate_bps: float, now: float) -> None:
        """Tries whether so much comes through: call `pad` while it `is_probing`."""
        self._probe = Probe(bitrate_bps, self.octets, now)

    @property
    def is_probing(self) -> bool:
        """Whether there is more to send of a probe; not whether its result is known."""
        return self._probe is not None and not self._probe.is_sent

    def take_probed(self) -> Result | None:
        """What has become of the probe, once."""
        probed, self._probed = self._probed, None
        return probed

    def pad(self, send_padding: Callable[[int], None], now: float) -> None:
        """Has so many octets of padding sent as a probe takes; they don't wait."""
        probe = self._probe
        if probe is None or probe.is_sent:
            return
        octets = probe.octets_due(self.octets, now)
        if octets:
            pacing, self._pacing = self._pacing, False
            send_padding(octets)
            self._pacing = pacing
        probe.sent(self.octets, now)

    def _look_at_probe(
        self, probe: Probe, arrivals: list[Arrival], octets_lost: int, now: float
    ) -> None:
        result = probe.arrived(arrivals, octets_lost, now)
        if result is not None:
            self._probe, self._probed = None, result
            self.estimate.probed(result.bitrate_bps)
