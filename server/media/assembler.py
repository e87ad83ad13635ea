"""Packets put in order and joined into frames, with what is lost declared. Pure.

Contract: call `push` for every packet and `expire` now and then; each returns what became
whole. A hole is waited for until its deadline, then given up; after a loss, a video track
delivers nothing until the next keyframe and says so by `wants_keyframe`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True, slots=True)
class FrameReady:
    timestamp: int
    frame: Assembled
    #: Packets given up since the frame before this one.
    lost_packets: int
    #: Whether frames are missing between the one before and this one.
    after_gap: bool


class Reorderer:
    """In-order packets out of out-of-order ones; `None` in the output: packets given up."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._next: int | None = None
        self._held: dict[int, Packet] = {}
        self._hole_since = 0.0
        self.late = 0

    @property
    def waiting(self) -> bool:
        return bool(self._held)

    @property
    def next_seqno(self) -> int:
        return self._next or 0

    def push(self, packet: Packet, now: float) -> Iterator[Packet | int]:
        """Packets that are next in order; an int: that many were lost before the next."""
        seqno = packet[0]
        if self._next is None:
            self._next = seqno
        if seqno < self._next:
            self.late += 1
            return
        if seqno == self._next:
            self._next = seqno + 1
            yield packet
            if self._held:
                yield from self._release(now)
            return
        if not self._held:
            self._hole_since = now
        self._held[seqno] = packet
        if len(self._held) > MAX_HELD:
            yield from self._skip(now)

    def expire(self, now: float) -> Iterator[Packet | int]:
        if self._held and now - self._hole_since >= self._deadline_s:
            yield from self._skip(now)

    def _skip(self, now: float) -> Iterator[Packet | int]:
        assert self._next is not None
        first = min(self._held)
        yield first - self._next
        self._next = first
        yield from self._release(now)

    def _release(self, now: float) -> Iterator[Packet]:
        assert self._next is not None
        while (packet := self._held.pop(self._next, None)) is not None:
            self._next += 1
            yield packet
        self._hole_since = now


class Assembler(Protocol):
    wants_keyframe: bool
    reorderer: Reorderer

    def push(self, packet: Packet, now: float) -> Iterator[FrameReady]: ...

    def expire(self, now: float) -> Iterator[FrameReady]: ...

    def starts_keyframe(self, data: bytes) -> bool: ...


class AudioAssembler:
    """One packet, one frame (RFC 7587 4.2)."""

    wants_keyframe = False

    def __init__(self) -> None:
        self.reorderer = Reorderer(AUDIO_DEADLINE_S)
        self._lost = 0

    def push(self, packet: Packet, now: float) -> Iterator[FrameReady]:
        return self._join(self.reorderer.push(packet, now))

    def expire(self, now: float) -> Iterator[FrameReady]:
        return self._join(self.reorderer.expire(now))

    def starts_keyframe(self, data: bytes) -> bool:
        return True

    def _join(self, packets: Iterator[Packet | int]) -> Iterator[FrameReady]:
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
            frame = Assembled(packet[3][start:end], keyframe=True, reference=True)
            yield FrameReady(packet[1], frame, self._lost, self._lost > 0)
            self._lost = 0


class VideoAssembler:
    """Packets of one timestamp are one frame, which its marker releases (RFC 3550 5.1)."""

    def __init__(self, codec: Codec) -> None:
        self.reorderer = Reorderer(VIDEO_DEADLINE_S)
        self.wants_keyframe = True
        self._new_depacketiser = DEPACKETISERS[codec]
        self._depacketiser = self._new_depacketiser()
        self._timestamp: int | None = None
        self._broken = False
        self._lost = 0
        self._gap = False

    def push(self, packet: Packet, now: float) -> Iterator[FrameReady]:
        return self._join(self.reorderer.push(packet, now))

    def expire(self, now: float) -> Iterator[FrameReady]:
        return self._join(self.reorderer.expire(now))

    def starts_keyframe(self, data: bytes) -> bool:
        try:
            start, end = payload_span(data)
        except ValueError:
            return False
        return self._depacketiser.starts_keyframe(data[start:end])

    def _join(self, packets: Iterator[Packet | int]) -> Iterator[FrameReady]:
        for packet in packets:
            if isinstance(packet, int):
                self._lost += packet
                self._broken = True
                self._drop_frame()
                continue
            _, timestamp, marker, data = packet
            if timestamp != self._timestamp:
                yield from self._finish()
            self._add(timestamp, data)
            if marker:
                yield from self._finish()

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
                self._broken &= not self._depacketiser.starts_keyframe(payload)
            self._depacketiser.add(payload)
        except ValueError:
            self._timestamp = timestamp
            self._broken = True

    def _finish(self) -> Iterator[FrameReady]:
        timestamp, self._timestamp = self._timestamp, None
        if timestamp is None:
            return
        if self._broken:
            self._drop_frame()
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
        yield FrameReady(timestamp, frame, self._lost, self._gap)
        self.wants_keyframe = self._gap = False
        self._lost = 0

    def _drop_frame(self) -> None:
        self._depacketiser = self._new_depacketiser()
        self.wants_keyframe = True
        self._gap = True
