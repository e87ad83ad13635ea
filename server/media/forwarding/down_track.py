"""One outgoing track of one observer: the candidate's packets with a rewritten header.

Sequence numbers and timestamps stay continuous for the observer across a candidate's
reconnect and from one layer to another: only the offsets change, at a keyframe.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from server.core import rtcp
from server.core.frames import CLOCK_RATE, Codec
from server.media.forwarding.copies import Copies
from server.media.forwarding.thinner import WHOLE, Part, Shift, Thinner, place_of, shift_between
from server.media.receiving.assembler import Packet
from server.media.receiving.up_track import PacketSink, UpTrack

#: A keyframe is asked for when an observer comes, and may be here before their connection is:
#: all since then is sent at once, at most so much.
CATCH_UP_S = 0.5
#: A new layer's pictures may seem to be that much later than they come.
MAX_STEP_S = 0.2
#: Retransmissions per second and observer: a bad link needs dozens, an attack gets no more.
MAX_RESENT_PER_S = 500
#: Keyframes that one observer may ask for at once, and then one in so long: they take bits from
#: the recording and from all who watch. A browser repeats what it asks for until it comes.
MAX_KEYFRAMES, KEYFRAME_EVERY_S = 5.0, 1.0
#: Of one NACK, where there is room: more are not lost by chance.
MAX_SENT_TWICE = 16
#: Packets that may come between two looks at what is to be doubled: several keyframes.
MAX_LOOKED_AT = 256
#: Until it is measured.
DEFAULT_ROUND_TRIP_S = 0.05
#: A browser asks again after its round trip, which may be a little less than ours.
RETRY_ROUND_TRIPS = 0.8
#: Of a packet, beside its payload: IPv4, UDP, RTP with an extension, and SRTP's tag.
WIRE_OCTETS = 20 + 8 + 20 + 16
#: So long after another layer has come, what is asked for of the one before is still sent.
FORMER_S = 1.0
#: Of a packet's first octet: version 2, and padding.
_VERSION, _PADDING = 0x80, 0x20
#: In the place of the first sequence number to be sent, while a keyframe is waited for.
_NONE_YET = sys.maxsize

#: As much padding as a packet can have (RFC 3550 5.1).
_FILLING = bytes(254) + b"\xff"

#: Takes a packet by its header's fields, first octet to SSRC, its payload, and the Unix time.
Send = Callable[[int, int, int, int, int, bytes, float], None]


@dataclass(slots=True)
class RepairStream:
    """Where NACKs are answered: a stream beside the one that is repaired (RFC 4588 4)."""

    ssrc: int
    payload_types: Mapping[int, int]  #: for each one that is repaired
    packets: int = 0


class _Former(NamedTuple):
    """The layer that was followed before, whose last packets may be asked for."""

    packet: Callable[[int], Packet | None]
    first_seqno: int
    seqno_offset: int
    timestamp_offset: int
    ended_s: float


def _nothing(_: int) -> None:
    """Of a down track that follows nobody no packet is kept, and none waits that may be dropped."""


class DownTrack:
    """Contract: `attach` the up track, `forward` each of its packets.

    `payload_types`: of each codec by profile, the best first. `repairs`: what NACKs are
    answered in, of the payload types that it knows; None: in the track itself, byte for byte.
    `drop`: what waits of a stream to be sent, by its SSRC.
    Where `send` gives each packet a number of its own it can't be None: one nonce for two
    packets would give away the key of SRTP's authentication (RFC 7714 10.1, RFC 5116 5.1.1).
    Which layer it is attached to, and how much of it is sent, the source's track decides.
    """

    def __init__(
        self,
        ssrc: int,
        payload_types: Mapping[Codec, Mapping[str, int]],
        send: Send,
        repairs: RepairStream | None = None,
        drop: Callable[[int], None] = _nothing,
    ) -> None:
        self.ssrc = ssrc
        self.repairs = repairs
        self._payload_types = payload_types
        self._send = send
        self._drop = drop
        self.allowed_bps = math.inf
        self.least_bps = self.most_bps = 0.0  #: of its layers; 0: not known, or not asked
        self._up: UpTrack | None = None
        self._entry: PacketSink | None = None  # among those who follow it
        self._next: _Approach | None = None
        self._former: _Former | None = None
        self._packet: Callable[[int], Packet | None] = _nothing
        self._payload_type = 0
        self._waiting = True
        self._held_back = False
        self._first_seqno = _NONE_YET
        self._seqno_offset = 0
        self._timestamp_offset = 0
        self._last_seqno = 0  # as sent, extended
        self._last_timestamp = 0
        self._last_sent_s = 0.0
        self._resent_s: dict[int, float] = {}  # when each of this second's repairs was sent
        self._resent = 0
        self._keyframes, self._keyframes_s = MAX_KEYFRAMES, 0.0  # left, and when that was
        self._copies = Copies()
        self._doubled: int | None = None  # up to this temporal layer
        self._looked_at = 0  # up to this number, as sent, for what is to be doubled
        self.packets = 0
        self.octets = 0

    def allow(self, bitrate_bps: float) -> None:
        """What the observer's network takes: layers are chosen by it within a tenth of a second.

        The least there is of the picture is sent whatever it takes.
        """
        self.allowed_bps = bitrate_bps

    def attach(self, up: UpTrack | None) -> None:
        """Follows another up track from its next keyframe on; None: silence."""
        self._leave()
        payload_type = self._payload_type_for(up) if up is not None else None
        self._payload_type = payload_type or 0
        self._wait()
        if up is not None and payload_type is not None:
            up.downs.append(self)
            self._follow(up, self)

    def catch_up(self, now: float) -> None:
        """Begins with the newest keyframe that came, where it is recent: nothing is waited for."""
        up = self._up
        if up is None or not self.waiting:
            return
        for seqno, timestamp, marker, payload in up.since_keyframe(CATCH_UP_S):
            self.forward(seqno, timestamp, marker, payload, now)

    def switch(self, up: UpTrack, part: Part) -> None:
        """Goes on with another layer from its next keyframe on, and with this one until then."""
        self._give_up_switch()
        if up is self._up:
            self.limit(part)
        elif self._waiting or self._up is None:
            self.attach(up)
            self.limit(part)
        else:
            self._next = _Approach(self, up, part)
            up.downs.append(self._next)
            up.request_keyframe()

    def limit(self, part: Part) -> None:
        """What to send of the stream that it follows."""
        up, entry = self._up, self._entry
        if up is None or (part == WHOLE and entry is self):
            return
        if not isinstance(entry, Thinner):
            entry = Thinner(self, up, self._last_timestamp - self._timestamp_offset)
            up.downs[up.downs.index(self)] = entry
            self._follow(up, entry)
        entry.limit(part)

    def _follow(self, up: UpTrack, entry: PacketSink) -> None:
        self._up, self._entry = up, entry
        self._packet = entry.packet if isinstance(entry, Thinner) else up.packet

    def _leave(self) -> None:
        self._give_up_switch()
        if self._up is not None and self._entry in self._up.downs:
            self._up.downs.remove(self._entry)
        self._up, self._entry, self._packet = None, None, _nothing
        self._former = None

    def _give_up_switch(self) -> None:
        if self._next is not None:
            self._next.up.downs.remove(self._next)
            self._next = None

    def arrive(
        self, approach: "_Approach", seqno: int, timestamp: int, payload: bytes, now: float
    ) -> PacketSink:
        """The packet begins the keyframe that the switch has waited for: what is to follow it."""
        up, before = approach.up, self._up
        assert before is not None
        seen = self._last_timestamp - self._timestamp_offset
        elapsed_s = up.clock.media_s(timestamp) - before.clock.media_s(seen)
        last = self._packet(self._last_seqno - self._seqno_offset)
        shift = shift_between(up.codec, last[3], payload) if last is not None else Shift()
        entry = Thinner(self, up, timestamp - 1, shift) if shift != Shift() else self
        if self._entry in before.downs:
            before.downs.remove(self._entry)
        up.downs[up.downs.index(approach)] = entry  # in its place: they are being gone through
        self._next = None
        if not self._waiting:
            self._former = _Former(
                self._packet, self._first_seqno, self._seqno_offset, self._timestamp_offset, now
            )
        self._follow(up, entry)
        self._open(seqno, timestamp, elapsed_s, now)
        self.limit(approach.part)
        return self._entry or entry

    def _payload_type_for(self, up: UpTrack) -> int | None:
        of_profile = self._payload_types.get(up.codec, {})
        # A decoder goes by the stream's own parameter sets: another profile is better than none.
        return of_profile.get(up.profile, next(iter(of_profile.values()), None))

    @property
    def waiting(self) -> bool:
        """Whether it needs a keyframe to begin with; the up track asks for one as long as so."""
        return self._waiting and self._up is not None and not self._is_mute

    @property
    def _is_mute(self) -> bool:
        """Whether no keyframe of the layer that it follows is wanted, if it waits."""
        return self._held_back or self._next is not None

    def begin_anew(self) -> None:
        """Sends nothing until the next keyframe, which it asks for: where it turns to another
        layer, that one's. What waits of before is dropped, and what was lost of it is not repaired.
        """
        if self._waiting or self._up is None:
            return
        self._stop()
        if self._next is None:
            self._up.request_keyframe()

    def hold_back(self) -> None:
        """Sends nothing until `show`."""
        self._stop()
        self._held_back = True
        approach = self._next
        if approach is not None:
            self.attach(approach.up)
            self.limit(approach.part)

    def _stop(self) -> None:
        self._wait()
        self._former = None
        self._drop(self.ssrc)
        if self.repairs is not None:
            self._drop(self.repairs.ssrc)

    def _wait(self) -> None:
        self._waiting = True
        self._first_seqno = _NONE_YET

    def show(self) -> None:
        """Goes on with the next keyframe, which it asks for."""
        self._held_back = False
        if self._up is not None:
            self._up.request_keyframe()

    def counted(self) -> Counter[str]:
        """Since it began; repairs with their copies, and with padding."""
        repairs = self.repairs.packets if self.repairs is not None else 0
        return Counter(packets_sent=self.packets, repairs_sent=repairs)

    @property
    def offered(self) -> tuple[int, int]:
        """What it follows, and its octets on the wire, whether they are sent or not."""
        up = self._up
        return (up.ssrc, up.octets + WIRE_OCTETS * up.packets) if up is not None else (0, 0)

    def forward(self, seqno: int, timestamp: int, marker: bool, payload: bytes, now: float) -> None:
        if seqno < self._first_seqno and not self._begins(seqno, timestamp, payload, now):
            return
        out = seqno + self._seqno_offset
        out_timestamp = timestamp + self._timestamp_offset
        if out > self._last_seqno:
            self._last_seqno = out
            self._last_timestamp = out_timestamp
            self._last_sent_s = now
        else:
            self._is_late(out, now)
        self.packets += 1
        self.octets += len(payload)
        self._send(
            _VERSION,
            marker << 7 | self._payload_type,
            out & 0xFFFF,
            out_timestamp & 0xFFFF_FFFF,
            self.ssrc,
            payload,
            now,
        )

    def _begins(self, seqno: int, timestamp: int, payload: bytes, now: float) -> bool:
        """Whether it is the keyframe's beginning that was waited for, and the first to be sent."""
        up = self._up
        if not self._waiting or self._is_mute or up is None:
            return False  # or older than the keyframe this observer began with
        if not up.assembler.starts_keyframe(payload):
            return False
        self._open(seqno, timestamp, now - self._last_sent_s, now)
        return True

    def _open(self, seqno: int, timestamp: int, elapsed_s: float, now: float) -> None:
        """From here on, so long after the picture that was sent last."""
        assert self._up is not None
        self._waiting = False
        self._first_seqno = seqno
        self._seqno_offset = self._last_seqno + 1 - seqno
        resumed = self._last_timestamp
        if self.packets:
            rate = CLOCK_RATE[self._up.codec]
            # Clocks of streams that were measured for a moment only may be far apart.
            longest_s = now - self._last_sent_s + MAX_STEP_S
            resumed += max(1, round(min(elapsed_s, longest_s) * rate))
        self._timestamp_offset = resumed - timestamp

    def resend(
        self,
        seqnos: Sequence[int],
        now: float,
        round_trip_s: float | None,
        *,
        twice: bool = False,
        most_octets: float = math.inf,
    ) -> None:
        """Answers a NACK from the up track's ring; what is on its way is not sent again.

        For a while after a switch, what was lost of the layer before is in that one's.
        `twice`: and once more with the copies, as repairs get lost as well. `most_octets`: there is
        no room for more, so that what is left out has to be asked for again.
        """
        up, repairs = self._up, self.repairs
        if up is None or self._waiting:
            return
        if repairs is not None and self._payload_type not in repairs.payload_types:
            return
        may_again_s = now - RETRY_ROUND_TRIPS * (round_trip_s or DEFAULT_ROUND_TRIP_S)
        answered: list[int] = []
        for seqno16 in seqnos:
            # The nearest sequence number to the last one sent that ends in these 16 bits.
            out = self._last_seqno - ((self._last_seqno - seqno16) & 0xFFFF)
            if self._resent_s.get(seqno16, 0.0) > may_again_s or most_octets <= 0:
                continue
            octets = self._send_again(out, now)
            if octets:
                most_octets -= octets
                answered.append(out)
        if twice and len(answered) <= MAX_SENT_TWICE:
            self._add_copies(answered, now)

    # ---- what is sent twice

    def double(self, temporal_id: int | None) -> None:
        """Pictures up to that temporal layer are sent twice: `send_copies` has to be called."""
        if self._doubled is None:
            self._looked_at = self._last_seqno
        self._doubled = temporal_id

    def send_copies(self, now: float, *, sending: bool = True) -> bool:
        """Those that are due; whether more may be soon: then call it again within 10 ms.

        `sending`: whether there is room now; what there is none for waits a little, or is not sent.
        """
        if self._up is None or self._waiting:
            self._copies.clear()
            return False
        if self._doubled is not None:
            self._look_at_new(self._up, self._doubled, now)
        if sending:
            for out in self._copies.due(now):
                self._send_again(out, now)
        return self._doubled is not None or bool(self._copies)

    def _look_at_new(self, up: UpTrack, through: int, now: float) -> None:
        last = self._last_seqno
        begin = max(self._looked_at, last - MAX_LOOKED_AT) + 1
        self._looked_at = last
        temporal_id = 0  # of the packet before, where one does not tell
        for out in range(begin, last + 1):
            kept = self._kept(out)
            if kept is None:
                continue
            place = place_of(up, kept[0], kept[3])
            if place is not None:
                temporal_id = place.temporal_id
            if temporal_id <= through:
                self._add_copies([out], now)

    def _is_late(self, out: int, now: float) -> None:
        """The packet was repaired, or overtaken: it has just been sent, for all that was asked."""
        self._resent_s[out & 0xFFFF] = now
        if self._doubled is not None:
            self._add_copies([out], now)

    def _add_copies(self, outs: Sequence[int], now: float) -> None:
        # What is sent again in the track itself is the same packet, of which one is enough.
        if self.repairs is not None and self._payload_type in self.repairs.payload_types:
            for out in outs:
                self._copies.add(out, now)

    def _kept(self, out: int) -> Packet | None:
        """What was sent by that number, at the time that it was sent with, if it is still there."""
        packet, former, offset = self._packet, self._former, self._timestamp_offset
        seqno, first_seqno = out - self._seqno_offset, self._first_seqno
        if seqno < first_seqno and former is not None:
            packet, offset = former.packet, former.timestamp_offset
            seqno, first_seqno = out - former.seqno_offset, former.first_seqno
        kept = packet(seqno) if seqno >= first_seqno else None
        return (kept[0], kept[1] + offset, *kept[2:]) if kept is not None else None

    def _send_again(self, out: int, now: float) -> int:
        """Its octets; none where it is not there, or too much was sent again this second."""
        kept = self._kept(out)
        if kept is None or self._resent == MAX_RESENT_PER_S:
            return 0
        self._resent += 1
        seqno16 = out & 0xFFFF
        self._resent_s[seqno16] = now
        _, timestamp, marker, payload = kept
        ssrc, payload_type, repairs = self.ssrc, self._payload_type, self.repairs
        if repairs is not None:
            # RFC 4588 4: the payload begins with the number that the packet had.
            payload = seqno16.to_bytes(2, "big") + payload
            ssrc, payload_type = repairs.ssrc, repairs.payload_types[payload_type]
            seqno16 = repairs.packets & 0xFFFF
            repairs.packets += 1
        self._send(
            _VERSION,
            marker << 7 | payload_type,
            seqno16,
            timestamp & 0xFFFF_FFFF,
            ssrc,
            payload,
            now,
        )
        return len(payload) + WIRE_OCTETS

    def pad(self, octets: int, now: float) -> None:
        """Sends at least so many octets that mean nothing, in the stream of repairs, if any."""
        repairs = self.repairs
        if repairs is None or not repairs.payload_types:
            return
        payload_type = next(iter(repairs.payload_types.values()))
        for _ in range(-(-octets // (WIRE_OCTETS + len(_FILLING)))):
            seqno16 = repairs.packets & 0xFFFF
            repairs.packets += 1
            timestamp = self._last_timestamp & 0xFFFF_FFFF
            first = _VERSION | _PADDING
            self._send(first, payload_type, seqno16, timestamp, repairs.ssrc, _FILLING, now)

    def request_keyframe(self, now: float) -> None:
        """The observer cannot go on without: of the layer that it gets, no other."""
        up = self._up
        if up is None:
            return
        if not up.keyframe_wanted:  # else one is on its way
            since_s, self._keyframes_s = now - self._keyframes_s, now
            self._keyframes = min(MAX_KEYFRAMES, self._keyframes + since_s / KEYFRAME_EVERY_S)
            if self._keyframes < 1:
                return
            self._keyframes -= 1
        up.request_keyframe()

    def report(self, now: float) -> rtcp.SenderReport | None:
        """The sender report of this second, or None when nothing has been sent."""
        self._resent = 0
        self._resent_s = {each: at for each, at in self._resent_s.items() if now - at < 1.0}
        if self._former is not None and now - self._former.ended_s > FORMER_S:
            self._former = None
        if self._up is None or self._waiting:
            return None
        timestamp = self._up.clock.timestamp_at(now) + self._timestamp_offset
        return rtcp.SenderReport(
            self.ssrc, rtcp.ntp_from_unix(now), timestamp, self.packets, self.octets
        )


class _Approach:
    """Among those who follow a layer, in the place of a down track that is to follow it, too."""

    waiting = True

    def __init__(self, down: DownTrack, up: UpTrack, part: Part) -> None:
        self.down = down
        self.up = up
        self.part = part

    def forward(self, seqno: int, timestamp: int, marker: bool, payload: bytes, now: float) -> None:
        if self.up.assembler.starts_keyframe(payload):
            entry = self.down.arrive(self, seqno, timestamp, payload, now)
            entry.forward(seqno, timestamp, marker, payload, now)
