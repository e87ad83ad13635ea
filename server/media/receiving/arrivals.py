"""When a publisher's packets arrived, as its congestion control is to be told. Pure.

Contract: add each packet to `fresh`, call `feedback` ten times a second. What there is to do for a
packet is done then, for all that came meanwhile at once.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice

from server.core.rtp import HEADER_LENGTH, extension_span
from server.core.twcc import TICK_S, TransportFeedback

#: As often as most servers tell; less a hair, as it is looked so often.
INTERVAL_S = 0.1 - 0.01
#: Numbers that one feedback tells of: it fits a datagram even where each has a chunk of its own.
MAX_TOLD = 500
#: Nothing is said of a longer hole: over two seconds of an interview, or numbers made up.
MAX_HOLE = 250
#: At a time; more is sent by nobody who counts.
MAX_FEEDBACKS = 8
#: Numbers told missing, remembered in case that they come late.
MAX_MISSING = 1000
#: What came before this process stood still for so long: of no use, and 8 s cannot be told.
MAX_AGE_S = 4.0
#: Kinds of extension blocks; a browser has a handful.
MAX_LAYOUTS = 16

_LAYOUT = slice(HEADER_LENGTH, HEADER_LENGTH + 4)
_TICKS_PER_S = round(1 / TICK_S)


class Arrivals:
    """Of one publisher. `extension`: the RTP header extension that has a packet's number."""

    def __init__(self, extension: int) -> None:
        self._extension = extension
        # RFC 8285 4.2: what stands before the two octets of the number.
        self._element = extension << 4 | 1
        #: Packets of any stream, decrypted, and when they came.
        self.fresh: list[tuple[bytes, float]] = []
        #: By profile and length of the extension block: where the number stood the last time.
        self._places: dict[bytes, int] = {}
        # Of the numbers, unwrapped:
        self._following = 0x10000  # after the highest that came
        self._next: int | None = None  # after the last one that was told of
        self._missing: set[int] = set()
        self._feedbacks = 0
        self._due_s = 0.0

    def feedback(self, now: float, sender_ssrc: int, media_ssrc: int) -> list[TransportFeedback]:
        """What is due to be told."""
        if not self.fresh or now < self._due_s:
            return []
        self._due_s = now + INTERVAL_S
        fresh, self.fresh = self.fresh, []
        if now - fresh[0][1] > MAX_AGE_S:
            return []
        came = self._came(fresh)
        feedbacks = []
        for span in islice(self._spans(sorted(came)), MAX_FEEDBACKS):
            arrivals = tuple(map(came.get, span))
            if None in arrivals:
                self._remember_missing(seqno for seqno in span if seqno not in came)
            number, base = self._feedbacks & 0xFF, span.start & 0xFFFF
            feedbacks.append(TransportFeedback(sender_ssrc, media_ssrc, number, base, arrivals))
            self._feedbacks += 1
        return feedbacks

    def _came(self, fresh: list[tuple[bytes, float]]) -> dict[int, int]:
        """When each of the numbers came, in ticks; where it came twice, the first time."""
        came: dict[int, int] = {}
        following = self._following
        for packet, arrived_s in fresh:
            number = self._number(packet)
            if number is None:
                continue
            ahead = (number - following) & 0xFFFF
            seqno = following + ahead
            if ahead < 0x8000:
                following = seqno + 1
            else:
                seqno -= 0x10000
            if seqno not in came:
                came[seqno] = int(arrived_s * _TICKS_PER_S) & 0xFFFF_FFFF
        self._following = following
        return came

    def _number(self, packet: bytes) -> int | None:
        try:
            at = self._places.get(packet[_LAYOUT], 0)
            if not at or packet[at - 1] != self._element:  # seldom
                at = self._find(packet)
            return packet[at] << 8 | packet[at + 1] if at else None
        except IndexError:
            return None  # shorter than its own header says

    def _find(self, packet: bytes) -> int:
        """Where the number stands, remembered for others of this layout; 0: nowhere."""
        span = extension_span(packet, self._extension)
        if span is None or span[1] - span[0] != 2:
            return 0
        layout, at = packet[_LAYOUT], span[0]
        if packet[at - 1] == self._element and len(self._places) < MAX_LAYOUTS:
            self._places[layout] = at
        return at

    def _spans(self, seqnos: list[int]) -> Iterator[range]:
        """What to tell of together, of the numbers that came."""
        if not seqnos:
            return
        following = seqnos[0] if self._next is None else self._next
        begin = bisect_left(seqnos, following)
        for late in seqnos[:begin]:
            if late in self._missing:
                self._missing.discard(late)
                yield range(late, late + 1)
        while begin < len(seqnos):
            base = following if seqnos[begin] - following <= MAX_HOLE else seqnos[begin]
            end = bisect_left(seqnos, base + MAX_TOLD, begin)
            self._next = following = seqnos[end - 1] + 1
            yield range(base, following)
            begin = end

    def _remember_missing(self, seqnos: Iterator[int]) -> None:
        self._missing.update(seqnos)
        if len(self._missing) > MAX_MISSING:
            self._missing = set(sorted(self._missing)[-MAX_MISSING // 2 :])
