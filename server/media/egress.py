"""What leaves to one observer whose browser tells when each packet came.

All packets of the connection, repairs included, carry one count in a header extension; the
browser's feedback refers to it (draft-holmer-rmcat-transport-wide-cc-extensions-01 2). Pure.
"""

from collections.abc import Callable
from dataclasses import dataclass

from server.core.rtp import EXTENDED, ONE_ELEMENT, pack_header_with_number
from server.core.twcc import TICK_S, TransportFeedback

#: Packets remembered until feedback comes, which is every 50 to 250 ms: seconds of any stream.
HISTORY_LENGTH = 2048
_MASK = HISTORY_LENGTH - 1
_PROFILE, _WORDS = ONE_ELEMENT


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet of ours that came."""

    sent_s: float  #: Unix s
    arrived_s: float  #: by the observer's clock, from an arbitrary start
    size: int  #: octets of payload


class Egress:
    """Contract: `send` each packet, `feedback_received` each feedback.

    `extension`: the number of the header extension, of one octet.
    """

    def __init__(self, extension: int, send: Callable[[bytes], None]) -> None:
        self._element = extension << 4 | 1
        self._send = send
        self._count = 0  # of packets sent: the next one's number, extended
        self._sent_s = [0.0] * HISTORY_LENGTH
        self._sizes = [0] * HISTORY_LENGTH  # below zero: told to be missing; zero: to have come
        self._first_tick: int | None = None
        self.packets_lost = 0
        self.packets_arrived = 0

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
        """One packet, by the fields of its header; `now` in Unix seconds."""
        count = self._count
        self._count = count + 1
        slot = count & _MASK
        self._sent_s[slot] = now
        self._sizes[slot] = len(payload)
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
            )
            + payload
        )

    def feedback_received(self, feedback: TransportFeedback) -> list[Arrival]:
        """What the feedback tells that was not known, in the order of sending."""
        told = feedback.arrivals
        behind = (self._count - feedback.base_seqno) & 0xFFFF
        if len(told) > behind:
            return []  # of packets that were never sent
        arrivals: list[Arrival] = []
        begin = self._count - behind
        oldest = max(0, self._count - HISTORY_LENGTH)
        for count, tick in enumerate(told, begin):
            slot = count & _MASK
            size = self._sizes[slot]
            if count < oldest or size == 0:
                continue
            if tick is None:
                if size > 0:
                    self.packets_lost += 1
                    self._sizes[slot] = -size
                continue
            if size < 0:  # late, not lost
                self.packets_lost -= 1
            self.packets_arrived += 1
            self._sizes[slot] = 0
            arrivals.append(Arrival(self._sent_s[slot], self._arrived_s(tick), abs(size)))
        return arrivals

    def _arrived_s(self, tick: int) -> float:
        if self._first_tick is None:
            self._first_tick = tick
        # Ticks have 32 bits, and the first that is told need not be the earliest.
        return (((tick - self._first_tick + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000) * TICK_S
