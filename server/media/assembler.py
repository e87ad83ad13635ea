"""Packets put in order and joined into frames, with what is lost declared. Pure.

Contract: call `push` for every packet and `expire` now and then; each returns what became
whole. A hole is waited for until its deadline, then given up; after a loss, a video track
delivers nothing until the next keyframe and says so by `wants_keyframe`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from server.core.frames import Codec
from server.core.rtp import payload_span
from server.media.depacketise import DEPACKETISERS, Assembled

#: (extended sequence number, unwrapped timestamp, marker, packet)
Packet = tuple[int, int, bool, bytes]

#: A retransmission takes a round trip or two; past this a keyframe is the faster cure.
VIDEO_DEADLINE_S = 0.8
#: Browsers do not repair audio by default, so only reordering is waited for.
AUDIO_DEADLINE_S = 0.12
#: Packets held behind a hole: several seconds of 720p, two of a keyframe storm.
MAX_HELD = 2048


class FrameReady(NamedTuple):
    timestamp: int
    frame: Assembled
    #: Packets given up since the frame before this one.
    lost_packets: int
    #: Whether frames are missing between the one before and this one.
    after_gap: bool


class Reorderer:
    """In-order packets out of out-of-order ones; an int in the output: that many given up."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._next: int | None = None
        #: Behind a hole, with the time of arrival; the oldest first.
        self._held: dict[int, tuple[Packet, float]] = {}
        self.late = 0

    @property
    def waiting(self) -> bool:
        return bool(self._held)

    def is_next(self, seqno: int) -> bool:
        """Whether the packet is in order, as nearly all are, and nothing waits for it."""
        if seqno != self._next or self._held:
            return False
        self._next = seqno + 1
        return True

    @property
    def next_seqno(self) -> int:
        return self._next or 0

    def push(self, packet: Packet, now: float) -> Sequence[Packet | int]:
        """What is next in order now that `packet` is here."""
        seqno = packet[0]
        expected = self._next
        if expected is None or (seqno == expected and not self._held):
            self._next = seqno + 1
            return (packet,)
        if seqno < expected:
            self.late += 1
            return ()
        self._held[seqno] = (packet, now)
        if seqno == expected:
            return self._release()
        return self._skip() if len(self._held) > MAX_HELD else ()

    def expire(self, now: float) -> list[Packet | int]:
        """What is next once the holes that are past their deadline are given up."""
        out: list[Packet | int] = []
        # Every packet held is behind the first hole: the oldest tells since when it is one.
        while self._held and now - next(iter(self._held.values()))[1] >= self._deadline_s:
            out += self._skip()
        return out

    def _skip(self) -> list[Packet | int]:
        assert self._next is not None
        first = min(self._held)
        lost, self._next = first - self._next, first
        return [lost, *self._release()]

    def _release(self) -> list[Packet]:
        assert self._next is not None
        released = []
        while (held := self._held.pop(self._next, None)) is not None:
            self._next += 1
            released.append(held[0])
        return released


class Assembler(Protocol):
    wants_keyframe: bool
    reorderer: Reorderer

    def push(self, packet: Packet, now: float) -> list[FrameReady]: ...

    def expire(self, now: float) -> list[FrameReady]: ...

    def starts_keyframe(self, data: bytes) -> bool: ...


class AudioAssembler:
    """One packet, one frame (RFC 7587 4.2)."""

    wants_keyframe = False

    def __init__(self) -> None:
        self.reorderer = Reorderer(AUDIO_DEADLINE_S)
        self._lost = 0

    def push(self, packet: Packet, now: float) -> list[FrameReady]:
        return self._join(self.reorderer.push(packet, now))

    def expire(self, now: float) -> list[FrameReady]:
        return self._join(self.reorderer.expire(now))

    def starts_keyframe(self, data: bytes) -> bool:
        return True

    def _join(self, packets: Iterable[Packet | int]) -> list[FrameReady]:
        ready = []
        for packet in packets:
            if isinstance(packet, int):
                self._lost += packet
                continue
            try:
                start, end = payload_span(packet[3])
            except ValueError:
                self._lost += 1
                continue
            if start == end:
                continue  # padding only: keep-alive, no sound is missing
            frame = Assembled(packet[3][start:end], keyframe=True, temporal_id=0)
            ready.append(FrameReady(packet[1], frame, self._lost, self._lost > 0))
            self._lost = 0
        return ready


class VideoAssembler:
    """Packets of one timestamp are one frame, which its marker releases (RFC 3550 5.1)."""

    def __init__(self, codec: Codec) -> None:
        self.reorderer = Reorderer(VIDEO_DEADLINE_S)
        self.wants_keyframe = True
        self._new_depacketiser = DEPACKETISERS[codec]
        self._depacketiser = self._new_depacketiser()
        self._timestamp: int | None = None  # of the frame in the making
        self._broken = False  # it, or after a loss the next one, is not whole
        self._lost = 0
        self._gap = False

    def push(self, packet: Packet, now: float) -> list[FrameReady]:
        if not self.reorderer.is_next(packet[0]):
            return self._join(self.reorderer.push(packet, now))
        _, timestamp, marker, data = packet
        if timestamp != self._timestamp and self._timestamp is not None:
            return self._join((packet,))
        self._add(timestamp, data)
        ready: list[FrameReady] = []
        if marker:
            self._finish(ready)
        return ready

    def expire(self, now: float) -> list[FrameReady]:
        return self._join(self.reorderer.expire(now))

    def starts_keyframe(self, data: bytes) -> bool:
        try:
            start, end = payload_span(data)
        except ValueError:
            return False
        return self._depacketiser.starts_keyframe(data[start:end])

    def _join(self, packets: Iterable[Packet | int]) -> list[FrameReady]:
        ready: list[FrameReady] = []
        for packet in packets:
            if isinstance(packet, int):
                self._lost += packet
                self._timestamp = None
                self._break()
                continue
            _, timestamp, marker, data = packet
            if timestamp != self._timestamp:
                self._finish(ready)
            self._add(timestamp, data)
            if marker:
                self._finish(ready)
        return ready

    def _add(self, timestamp: int, data: bytes) -> None:
        try:
            start, end = payload_span(data)
            if start == end:
                return  # padding only: a bandwidth probe
            payload = data[start:end]
            if self._timestamp is None:
                self._timestamp = timestamp
                # After a loss it is unknown whether this frame's first packets were in it,
                # unless this is where a keyframe begins.
                if self._broken:
                    self._broken = not self._depacketiser.starts_keyframe(payload)
            if not self._broken:
                self._depacketiser.add(payload)
        except ValueError:
            self._timestamp = timestamp
            self._break()

    def _finish(self, ready: list[FrameReady]) -> None:
        timestamp, self._timestamp = self._timestamp, None
        if timestamp is None:
            return
        if self._broken:
            self._broken = False
            return
        try:
            frame = self._depacketiser.finish()
        except ValueError:
            self._drop_frame()
            return
        if self.wants_keyframe and not frame.keyframe:
            self._gap = True
            return
        ready.append(FrameReady(timestamp, frame, self._lost, self._gap))
        self.wants_keyframe = self._gap = False
        self._lost = 0

    def _break(self) -> None:
        self._broken = True
        self._drop_frame()

    def _drop_frame(self) -> None:
        self._depacketiser = self._new_depacketiser()
        self.wants_keyframe = True
        self._gap = True
