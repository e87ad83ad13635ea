"""One incoming track: what arrives is passed on at once, kept for repair, and joined into frames.

The packet path, in order: unwrap, count, keep, forward to every down track. All else, down to the
frames for the sinks, is done for many packets at once: a process that wakes hundreds of times a
second comes to each function with cold caches, and pays for it five times what it costs in a row
(docs/decisions/media-cost.md). Nothing here decodes or waits.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from server.core import rtcp
from server.core.dependency import Dependencies, DependencyError, Place
from server.core.frames import CLOCK_RATE, Codec, EncodedFrame, Gap, GapCause, TrackName
from server.core.rtp import Unwrapper, extension
from server.media.receiving.assembler import AudioAssembler, FrameReady, Packet, VideoAssembler
from server.media.receiving.clock import PeerClock, TrackClock
from server.media.receiving.depacketise import Assembled
from server.media.receiving.nack import NackTracker
from server.media.receiving.uplink import Uplink

#: Packets kept for observers' NACKs: several seconds of 720p video, over a second of audio.
RING_LENGTH = {
    Codec.VP8: 1024,
    Codec.VP9: 1024,
    Codec.H264: 1024,
    Codec.AV1: 1024,
    Codec.OPUS: 128,
}
#: Where nothing lost can be asked for, only what was overtaken is waited for.
REORDER_DEADLINE_S = 0.12
#: A stream begins with a keyframe, and a request is answered with one, within this: asked (again)
#: only then, however many observers wait.
KEYFRAME_ANSWER_S = 0.5
#: On a line that is flooded the one that was asked for may still come.
FLOODED_ANSWER_S = 1.0
#: Requests get lost, too: each is made twice, so far apart. Browsers answer both with one keyframe,
#: as they send no two within 0.3 s.
DOUBLED_AFTER_S = 0.05
#: Where the first packet to come is not the first of a keyframe, that one is lost, unless it
#: was overtaken: nobody can ask for a number that was never seen.
BEGINNING_S = 0.05
#: After one that answered a request no other is asked for within this.
KEYFRAME_SPACING_S = 0.2
#: A recording is cut and sought at keyframes; browsers send none unless asked.
KEYFRAME_INTERVAL_S = 4.0
#: So many of the intervals are shorter, by chance: whoever sends, and looks at when keyframes are
#: asked for, can't tell that one was for an observer. It costs a keyframe in sixteen.
SHORTER = 1 / 8


#: Packets in which what tells a frame's layer is looked for: the newest, of a keyframe all.
LOOKED_BACK = 256


def keyframe_interval_s(chance: float) -> float:
    """Until a keyframe is asked for that nobody waits for; `chance`: of [0, 1)."""
    return KEYFRAME_INTERVAL_S * min(1.0, chance / SHORTER)


def _never_earlier() -> float:
    return 1.0


class PacketSink(Protocol):
    """A down track, as the up track sees it."""

    @property
    def waiting(self) -> bool:
        """For a keyframe to begin with."""
        ...

    def forward(
        self, seqno: int, timestamp: int, marker: bool, payload: bytes, now: float
    ) -> None: ...


class UpTrack:
    """Contract: `receive` each packet, `report` each second, `tick` ten times a second, `close`.

    `fresh`: where packets wait to become frames, those of all streams of a connection in the
    order of their arrival; `assemble` it before each `tick`. After `hurry` was called, `tick`
    follows within 10 ms, and again while it `waits`. `chance`: of [0, 1), for each request anew.
    """

    def __init__(
        self,
        name: TrackName,
        codec: Codec,
        payload_type: int,
        ssrc: int,
        peer_clock: PeerClock,
        on_frame: Callable[[EncodedFrame], None],
        on_gap: Callable[[Gap], None],
        hurry: Callable[[], None],
        fresh: "list[Fresh]",
        *,
        repair: bool,
        profile: str = "",
        rid: str = "",
        dependency_extension: int | None = None,
        chance: Callable[[], float] = _never_earlier,
    ) -> None:
        self.name = name
        self.rid = rid  # of a simulcast's layer
        self.codec = codec
        self.profile = profile  # of H.264, as negotiated
        self.payload_type = payload_type
        self.ssrc = ssrc
        self.clock = TrackClock(CLOCK_RATE[codec], peer_clock)
        #: Who gets each packet; changed by what is in it alone.
        self.downs: list[PacketSink] = []
        self._on_frame = on_frame
        self._on_gap = on_gap
        self._hurry = hurry
        self.fresh = fresh
        video = not name.is_sound
        self.assembler = VideoAssembler(codec) if video else AudioAssembler()
        #: Tells layers where the payload does not; by that header extension.
        self.dependencies = Dependencies() if dependency_extension is not None else None
        self.dependency_extension = dependency_extension or 0
        self.nacks = NackTracker(limited=video) if repair else None
        if not repair:
            self.assembler.reorderer.deadline_s = REORDER_DEADLINE_S
        self._timestamps = Unwrapper(32)
        self._timestamp32 = -1  # of the packet before, as sent and
        self._timestamp = 0  # unwrapped
        self._pictured = -1  # the timestamp of the packet assembled before,
        self._pictured_seqno = -1  # and the highest number of all
        self._first_timestamp = 0
        self._mask = RING_LENGTH[codec] - 1
        self._ring: list[Packet | None] = [None] * (self._mask + 1)
        self._described = [b""] * (self._mask + 1 if self.dependencies is not None else 0)
        self._is_video = video
        #: Whether keyframes are asked for that nobody waits for: to cut and to seek.
        self.seekable = True
        self._keyframe_wanted = False
        self._chance = chance
        self._interval_s = keyframe_interval_s(chance())
        self._keyframe_s: float | None = None
        self._may_ask_s = math.inf  # for a keyframe; from the first packet on
        self._asked = False  # and not answered yet
        self._asked_twice = False
        self._flooded = False
        self._closed = False
        self._silence_s: tuple[float, float] | None = None  # the last one: from, until
        self.last_capture_s: float | None = None
        # counters and RFC 3550 A.3, A.8 state
        self.packets = 0
        self.octets = 0
        self.pictures = 0  # begun; of sound, packets
        self.repaired = 0  # of the packets, those that came in a stream of repairs
        self.duplicates = 0
        self.frames = 0
        self.keyframe_requests = 0
        self._first_seqno = 0
        self._highest_seqno = 0
        self._next_seqno16 = -1  # of the packet that is in order; the first one is not
        self._transit: float | None = None
        self._jitter = 0.0
        self._rate = CLOCK_RATE[codec]
        self._expected_prior = 0
        self._received_prior = 0
        self._last_sr: tuple[int, float] | None = None  # (middle NTP, arrival)

    # ---- the packet path

    def receive(
        self,
        marker: bool,
        seqno16: int,
        timestamp32: int,
        payload: bytes,
        now: float,
        packet: bytes,
    ) -> None:
        """A decrypted packet, or one like it: of `packet` only header extensions are read.

        `now`: Unix s.
        """
        if seqno16 == self._next_seqno16:  # nearly always
            seqno = self._highest_seqno = self._highest_seqno + 1
            self._next_seqno16 = seqno + 1 & 0xFFFF
        else:
            seqno = self._out_of_order(seqno16, timestamp32, payload, now)
            if seqno < 0:
                self.duplicates += 1
                return
        if timestamp32 == self._timestamp32:
            timestamp = self._timestamp
        else:
            self._timestamp32 = timestamp32
            timestamp = self._timestamp = self._timestamps.unwrap(timestamp32)
        kept = self._ring[seqno & self._mask] = (seqno, timestamp, marker, payload)
        self.fresh.append((self, kept, now))
        self.packets += 1
        self.octets += len(payload)
        if self.dependencies is not None:
            # Not the payload once more, a megabyte in all.
            self._described[seqno & self._mask] = packet[: len(packet) - len(payload)]
        for down in self.downs:
            down.forward(seqno, timestamp, marker, payload, now)

    def expects(self, seqno16: int) -> bool:
        """Whether it is the packet after the last one, as nearly always."""
        return seqno16 == self._next_seqno16

    def misses(self, seqno16: int, timestamp32: int) -> bool:
        """Whether this packet has not come, and could be the one after the packet before it."""
        ahead = (seqno16 - self._highest_seqno) & 0xFFFF
        seqno = self._highest_seqno + ahead - (ahead >> 15 << 16)
        if not self.packets or seqno <= self._first_seqno:
            return False
        kept, before = self._ring[seqno & self._mask], self._ring[seqno - 1 & self._mask]
        if kept is not None and kept[0] >= seqno:
            return False
        if before is None or before[0] != seqno - 1:
            return True
        return 0 < (timestamp32 - before[1]) & 0xFFFF_FFFF < 1 << 31

    def _out_of_order(self, seqno16: int, timestamp32: int, payload: bytes, now: float) -> int:
        """The extended sequence number; below zero for one that was here or is long past."""
        if not self.packets:
            # One turn up, so that what was sent just before the first packet stays positive.
            self._first_seqno = self._highest_seqno = seqno16 + (1 << 16)
            self._next_seqno16 = seqno16 + 1 & 0xFFFF
            begins = self.assembler.starts_keyframe(payload)
            self._may_ask_s = now + (KEYFRAME_ANSWER_S if begins else BEGINNING_S)
            self._first_timestamp = self._timestamps.unwrap(timestamp32)
            self.clock.packet_received(self._first_timestamp, now)  # observers go by it at once
            return self._first_seqno
        ahead = (seqno16 - self._highest_seqno) & 0xFFFF
        if ahead < 1 << 15:
            seqno = self._highest_seqno + ahead
            if ahead > 1:
                self._hurry()
                if self.nacks is not None:
                    self.nacks.hole(range(self._highest_seqno + 1, seqno), now)
            self._highest_seqno = seqno
            self._next_seqno16 = seqno + 1 & 0xFFFF
        else:
            seqno = self._highest_seqno + ahead - (1 << 16)
            if self.nacks is not None:
                self.nacks.late(seqno)
        kept = self._ring[seqno & self._mask]
        return -1 if kept is not None and kept[0] >= seqno else seqno

    # ---- frames

    def assemble(self, packet: Packet, now: float) -> None:
        """A packet that came at `now`."""
        if self._closed:
            return
        seqno, timestamp = packet[0], packet[1]
        if timestamp != self._pictured:
            self._pictured = timestamp
            # Repaired or overtaken it says nothing about clock and jitter.
            self._new_picture(timestamp, now, late=seqno < self._pictured_seqno)
        if seqno > self._pictured_seqno:
            self._pictured_seqno = seqno
        ready = self.assembler.push(packet, now)
        if ready:
            self._deliver(ready, now)

    def _new_picture(self, timestamp: int, now: float, *, late: bool) -> None:
        self.pictures += 1
        if late:
            return
        self.clock.packet_received(timestamp, now)
        # RFC 3550 A.8, in clock-rate units; the first packet of a frame counts, as in libwebrtc.
        transit = now * self._rate - timestamp
        if self._transit is not None:
            self._jitter += (abs(transit - self._transit) - self._jitter) / 16
        self._transit = transit

    def _deliver(self, ready: Iterable[FrameReady], now: float) -> None:
        for each in ready:
            if each.after_gap:
                self._declare_lost(each.timestamp, each.lost_packets, now)
            capture_s = self.last_capture_s = self.clock.capture_s(each.timestamp, now)
            self.frames += 1
            frame = each.frame
            if frame.keyframe:
                self._keyframe_wanted = False
                self._keyframe_s = now
                self._may_ask_s = now + KEYFRAME_SPACING_S if self._asked else now
                self._asked = False
            self._on_frame(
                EncodedFrame(
                    self.name,
                    self.codec,
                    frame.payload,
                    capture_s,
                    frame.keyframe,
                    now,
                    frame.temporal_id
                    if self.dependencies is None
                    else self._temporal_id(each.timestamp, frame),
                )
            )

    def _temporal_id(self, timestamp: int, frame: Assembled) -> int:
        """As the frame's packets tell, of a keyframe the first one: from the newest back."""
        place, seqno = None, self._highest_seqno
        for _ in range(LOOKED_BACK):
            kept = self.packet(seqno)
            if kept is None or kept[1] < timestamp:
                break
            if kept[1] == timestamp:
                place = self.place(seqno)
                if not frame.keyframe:
                    break
            seqno -= 1
        return frame.temporal_id if place is None else place.temporal_id

    def place(self, seqno: int) -> Place | None:
        """As the header of a packet that is kept tells, if it does."""
        if self.dependencies is None:
            return None
        found = extension(self._described[seqno & self._mask], self.dependency_extension)
        try:
            return self.dependencies.read(found, seqno) if found is not None else None
        except DependencyError:
            return None

    def _declare_lost(self, until: int, packets: int, now: float) -> None:
        """Frames are missing up to the timestamp `until`, from the last or the first packet on."""
        start_s = self.last_capture_s
        if start_s is None:
            start_s = self.clock.capture_s(self._first_timestamp, now)
        end_s = self.last_capture_s = self.clock.capture_s(until, now)
        self._on_gap(Gap(self.name, start_s, end_s, self._cause(start_s, end_s), packets))

    def silent(self, from_s: float, until_s: float) -> None:
        """The candidate was lost for that time, and has come back on the same connection."""
        self._silence_s = from_s, until_s

    def _cause(self, start_s: float, end_s: float) -> GapCause:
        from_s, until_s = self._silence_s or (math.inf, -math.inf)
        silent_s = min(end_s, until_s) - max(start_s, from_s)
        mostly = 2 * silent_s >= end_s - start_s
        return GapCause.DISCONNECTED if mostly else GapCause.PACKETS_LOST

    def close(self, now: float) -> None:
        """Nothing comes any more: what waited for repair is given out, or declared; idempotent."""
        if self._closed:
            return
        for up, packet, came_s in self.fresh:
            if up is self:
                self.assemble(packet, came_s)
        self._closed = True
        ready, lost = self.assembler.finish()
        self._deliver(ready, now)
        if lost is not None:
            self._declare_lost(self._timestamp, lost, now)

    # ---- repair and keyframes

    def packet(self, seqno: int) -> Packet | None:
        """The packet, if still kept, to answer an observer's NACK from."""
        kept = self._ring[seqno & self._mask]
        return kept if kept is not None and kept[0] == seqno else None

    def since_keyframe(self, longest_s: float) -> list[Packet]:
        """What is kept from the newest keyframe on, which shows a picture at once; nothing of an
        older one."""
        kept: list[Packet] = []
        oldest = self._timestamp - longest_s * self._rate
        for seqno in range(self._highest_seqno, self._highest_seqno - self._mask, -1):
            packet = self._ring[seqno & self._mask]
            if packet is None or packet[0] != seqno:
                continue  # lost, and not repaired yet
            if packet[1] < oldest:
                break
            kept.append(packet)
            if self.assembler.starts_keyframe(packet[3]):
                return kept[::-1]
        return []

    def tick(self, now: float, round_trip_s: float | None) -> list[int]:
        """Gives up what is past its deadline; returns sequence numbers to NACK (16 bits)."""
        reorderer = self.assembler.reorderer
        if reorderer.waiting:
            if self.nacks is not None:
                reorderer.deadline_s = self.nacks.patience_s(round_trip_s)
            self._deliver(self.assembler.expire(now), now)
        if not self.nacks:
            return []
        self.nacks.forget_before(reorderer.next_seqno)
        return [seqno & 0xFFFF for seqno in self.nacks.due(now, round_trip_s, self.packets)]

    def sent_over(self, uplink: Uplink) -> None:
        """What is known of the line by now. Of sound all is asked for all the same."""
        self._flooded = self._is_video and uplink.is_flooded
        if self.nacks is not None:
            self.nacks.flooded = self._flooded
        if self._is_video and uplink.begins_anew:
            self.request_keyframe()

    @property
    def keyframe_wanted(self) -> bool:
        """By somebody who asked; none has come since."""
        return self._keyframe_wanted

    def request_keyframe(self) -> None:
        """Asks for a keyframe at the next tick that may; many requests become one."""
        self._keyframe_wanted = True
        self._hurry()

    @property
    def waits(self) -> bool:
        """For what is missing."""
        return self.assembler.reorderer.waiting or bool(self.nacks)

    def keyframe_due(self, now: float) -> bool:
        """Whether to send the candidate a keyframe request now."""
        if not self._is_video or now < self._may_ask_s:
            return False
        since_s = math.inf if self._keyframe_s is None else now - self._keyframe_s
        overdue = self.seekable and since_s >= self._interval_s
        wanted = self._keyframe_wanted or overdue or self.assembler.wants_keyframe
        if not wanted and not any(down.waiting for down in self.downs):
            return False
        again = self._asked and not self._asked_twice
        answer_s = FLOODED_ANSWER_S if self._flooded else KEYFRAME_ANSWER_S
        self._may_ask_s = now + (answer_s if again else DOUBLED_AFTER_S)
        self._asked, self._asked_twice = True, again
        self._interval_s = keyframe_interval_s(self._chance())
        self.keyframe_requests += 1
        return True

    # ---- reports

    def sender_report_received(self, report: rtcp.SenderReport, now: float) -> None:
        self._last_sr = (rtcp.ntp_middle(report.ntp), now)
        self.clock.report_received(report.ntp, self._timestamps.unwrap(report.rtp_timestamp), now)

    def counted(self) -> Counter[str]:
        """Since it began; what is lost, once nothing more can be repaired."""
        return Counter(
            packets_received=self.packets,
            packets_repaired=self.repaired,
            packets_twice=self.duplicates,
            packets_lost=self.packets_lost if self._closed else 0,
            packets_asked_for=self.nacks.requested if self.nacks is not None else 0,
            keyframes_asked_for=self.keyframe_requests,
            frames_received=self.frames,
        )

    @property
    def packets_lost(self) -> int:
        """Expected minus received, after repair (RFC 3550 A.3); never below zero here."""
        return max(0, self.expected - self.packets)

    @property
    def expected(self) -> int:
        """Packets, by their numbers so far."""
        return self._highest_seqno - self._first_seqno + 1 if self.packets else 0

    @property
    def transit_s(self) -> float:
        """Of the newest picture or sound, by a clock of its own, once something has come."""
        return (self._transit or 0.0) / self._rate

    @property
    def jitter_s(self) -> float:
        return self._jitter / self._rate

    def report(self, now: float) -> rtcp.ReportBlock:
        """The report block of the interval since the last one (RFC 3550 A.3).

        What came in a stream of repairs is lost all the same: senders judge their path by it.
        """
        expected = self.expected
        interval = expected - self._expected_prior
        received = self.packets - self.repaired
        lost = interval - (received - self._received_prior)
        self._expected_prior, self._received_prior = expected, received
        fraction = min(255, max(0, (lost << 8) // interval)) if interval > 0 else 0
        last_sr, delay = 0, 0
        if self._last_sr is not None:
            last_sr = self._last_sr[0]
            delay = round((now - self._last_sr[1]) * 65536)
        return rtcp.ReportBlock(
            self.ssrc,
            fraction,
            min(self.packets_lost + self.repaired, 0x7F_FFFF),
            self._highest_seqno & 0xFFFF_FFFF,
            min(round(self._jitter), 0xFFFF_FFFF),
            last_sr,
            delay & 0xFFFF_FFFF,
        )


#: A packet that came, its up track, and when, in Unix s. The timers and the packets come in one
#: loop: it holds a tenth of a second of them.
Fresh = tuple[UpTrack, Packet, float]


def assemble(fresh: list[Fresh]) -> None:
    """What has come becomes frames, in the order of arrival, and `fresh` is empty again."""
    for up, packet, now in fresh:
        up.assemble(packet, now)
    fresh.clear()
