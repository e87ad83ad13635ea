"""Packets put in order and joined into frames, with what is lost declared. Pure.

Contract: call `push` for every packet, `expire` now and then and `finish` when no more comes;
each returns what became whole. A hole is waited for until its deadline, then given up; after a
loss, a video track delivers nothing until the next keyframe and says so by `wants_keyframe`.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from server.core.frames import Codec
from server.media.receiving.depacketise import DEPACKETISERS, Assembled

#: (extended sequence number, unwrapped timestamp, marker, payload)
Packet = tuple[int, int, bool, bytes]

#: A hole is waited for so long, unless another deadline is set.
DEADLINE_S = 0.8
#: Packets held behind a hole: several seconds of 720p, two of a keyframe storm.
MAX_HELD = 2048
#: No camera frame of an interview comes near this, 2.5 MB; more is an attack on memory.
MAX_FRAME_PACKETS = 2048


class FrameReady(NamedTuple):
    timestamp: int
    frame: Assembled
    #: Packets given up since the frame before this one.
    lost_packets: int
    #: Whether frames are missing between the one before and this one.
    after_gap: bool


class Reorderer:
    """In-order packets out of out-of-order ones; an int in the output: that many given up."""

    def __init__(self) -> None:
        self.deadline_s = DEADLINE_S
        self._next: int | None = None
        #: Behind a hole, with the time of arrival; the oldest first.
        self._held: dict[int, tuple[Packet, float]] = {}
        #: The packet in order, as nearly all are, while nothing is held: it may pass by `passed`.
        self.in_order = -1
        self.late = 0

    @property
    def waiting(self) -> bool:
        return bool(self._held)

    def passed(self) -> None:
        """The packet numbered `in_order` was taken without `push`."""
        self._next = self.in_order = self.in_order + 1

    @property
    def next_seqno(self) -> int:
        return self._next or 0

    def push(self, packet: Packet, now: float) -> Sequence[Packet | int]:
        """What is next in order now that `packet` is here."""
        seqno = packet[0]
        expected = self._next
        if expected is None or seqno == self.in_order:
            self._next = self.in_order = seqno + 1
            return (packet,)
        if seqno < expected:
            self.late += 1
            return ()
        self._held[seqno] = (packet, now)
        self.in_order = -1
        if seqno == expected:
            return self._release()
        return self.skip() if len(self._held) > MAX_HELD else ()

    def expire(self, now: float) -> list[Packet | int]:
        """What is next once the holes that are past their deadline are given up."""
        out: list[Packet | int] = []
        # Every packet held is behind the first hole: the oldest tells since when it is one.
        while self._held and now - next(iter(self._held.values()))[1] >= self.deadline_s:
            out += self.skip()
        return out

    def skip(self) -> list[Packet | int]:
        """The first hole is given up; only while it is `waiting`."""
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
        if not self._held:
            self.in_order = self._next
        return released


class AudioAssembler:
    """One packet, one frame (RFC 7587 4.2)."""

    wants_keyframe = False

    def __init__(self) -> None:
        self.reorderer = Reorderer()
        self._lost = 0

    def push(self, packet: Packet, now: float) -> Sequence[FrameReady]:
        reorderer = self.reorderer
        if packet[0] != reorderer.in_order or self._lost or not packet[3]:
            return self._join(reorderer.push(packet, now))
        reorderer.passed()
        return (FrameReady(packet[1], Assembled(packet[3], True, 0), 0, False),)

    def expire(self, now: float) -> list[FrameReady]:
        return self._join(self.reorderer.expire(now))

    def finish(self) -> tuple[list[FrameReady], int | None]:
        return self.expire(math.inf), self._lost or None

    def starts_keyframe(self, payload: bytes) -> bool:
        return True

    def _join(self, packets: Iterable[Packet | int]) -> list[FrameReady]:
        ready = []
        for packet in packets:
            if isinstance(packet, int):
                self._lost += packet
                continue
            payload = packet[3]
            if payload:  # else padding only: keep-alive, no sound is missing
                frame = Assembled(payload, True, 0)
                ready.append(FrameReady(packet[1], frame, self._lost, self._lost > 0))
                self._lost = 0
        return ready


class VideoAssembler:
    """Packets of one timestamp are one frame, which its marker releases (RFC 3550 5.1)."""

    def __init__(self, codec: Codec) -> None:
        self.reorderer = Reorderer()
        self.wants_keyframe = True
        self._depacketiser = DEPACKETISERS[codec]
        # The frame in the making: its timestamp, and its payloads so far.
        self._timestamp: int | None = None
        self._payloads: list[bytes] = []
        self._broken = False  # after a loss: the next frame may lack its beginning
        self._lost = 0
        self._gap = False

    def push(self, packet: Packet, now: float) -> Sequence[FrameReady]:
        seqno, timestamp, marker, payload = packet
        reorderer = self.reorderer
        if timestamp != self._timestamp or seqno != reorderer.in_order:
            return self._join(reorderer.push(packet, now))
        reorderer.passed()
        self._payloads.append(payload)
        if marker or len(self._payloads) > MAX_FRAME_PACKETS:
            return self._finish()
        return ()

    def expire(self, now: float) -> Sequence[FrameReady]:
        given_out = self.reorderer.expire(now)
        # Once one hole is given up, all is that is before the next keyframe: none of it is of use.
        while given_out and self.reorderer.waiting and not any(map(self._begins, given_out)):
            given_out += self.reorderer.skip()
        return self._join(given_out)

    def _begins(self, packet: Packet | int) -> bool:
        return not isinstance(packet, int) and self.starts_keyframe(packet[3])

    def finish(self) -> tuple[Sequence[FrameReady], int | None]:
        ready = self.expire(math.inf)
        # A picture whose end has not come is not lost: whoever leaves cuts one off.
        self._payloads, self._timestamp = [], None
        return ready, self._lost if self._gap else None

    def starts_keyframe(self, payload: bytes) -> bool:
        return self._depacketiser.starts_keyframe(payload)

    def _join(self, packets: Iterable[Packet | int]) -> Sequence[FrameReady]:
        ready: list[FrameReady] = []
        for packet in packets:
            if isinstance(packet, int):
                self._lost += packet
                self._timestamp = None
                self._payloads.clear()
                self._broken = self.wants_keyframe = self._gap = True
                continue
            _, timestamp, marker, payload = packet
            if timestamp != self._timestamp:
                ready += self._finish()
                self._timestamp = timestamp
            self._payloads.append(payload)
            if marker or len(self._payloads) > MAX_FRAME_PACKETS:
                ready += self._finish()
        return ready

    def _finish(self) -> Sequence[FrameReady]:
        """The frame in the making, if it is whole."""
        timestamp, self._timestamp = self._timestamp, None
        payloads, self._payloads = self._payloads, []
        if timestamp is None:
            return ()
        try:
            frame = self._frame(payloads)
        except ValueError:
            self.wants_keyframe = self._gap = True
            return ()
        if frame is None:
            return ()
        if self.wants_keyframe and not frame.keyframe:
            self._gap = True
            return ()
        ready = FrameReady(timestamp, frame, self._lost, self._gap)
        self.wants_keyframe = self._gap = False
        self._lost = 0
        return (ready,)

    def _frame(self, payloads: list[bytes]) -> Assembled | None:
        """None for what is none, or not to be had whole. Raises `ValueError`."""
        if len(payloads) > MAX_FRAME_PACKETS:
            raise ValueError("a frame without an end")
        if not all(payloads):
            payloads = list(filter(None, payloads))
        if not payloads:
            return None  # padding only: a bandwidth probe
        if self._broken:
            # It is unknown whether this frame's first packets were in what was lost, unless
            # this is where a keyframe begins.
            self._broken = False
            if not any(map(self._depacketiser.starts_keyframe, payloads)):
                return None
        return self._depacketiser.join(payloads)
