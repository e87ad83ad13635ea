"""One outgoing track of one observer: the candidate's packets with a rewritten header.

Sequence numbers and timestamps stay continuous for the observer across a candidate's
reconnect: only the offsets change, at a keyframe.
"""

from collections.abc import Callable, Mapping, Sequence

from server.core import rtcp
from server.core.frames import CLOCK_RATE, Codec
from server.core.rtp import HEADER_LENGTH, pack_header
from server.media.up_track import UpTrack

#: Retransmissions per second and observer: a bad link needs dozens, an attack gets no more.
MAX_RESENT_PER_S = 500


class DownTrack:
    """Contract: `attach` the up track, `forward` each of its packets; `send` takes plain RTP.

    `payload_types`: of each codec by profile, the best first.
    """

    def __init__(
        self,
        ssrc: int,
        payload_types: Mapping[Codec, Mapping[str, int]],
        send: Callable[[bytes], None],
    ) -> None:
        self.ssrc = ssrc
        self._payload_types = payload_types
        self._send = send
        self._up: UpTrack | None = None
        self._payload_type = 0
        self._waiting = True
        self._first_seqno = 0
        self._seqno_offset = 0
        self._timestamp_offset = 0
        self._last_seqno = 0  # as sent, extended
        self._last_timestamp = 0
        self._last_sent_s = 0.0
        self._resent = 0
        self.packets = 0
        self.octets = 0

    def attach(self, up: UpTrack | None) -> None:
        """Follows another up track from its next keyframe on; None: silence."""
        payload_type = self._payload_type_for(up) if up is not None else None
        self._up = up if payload_type is not None else None
        self._payload_type = payload_type or 0
        self._waiting = True

    def _payload_type_for(self, up: UpTrack) -> int | None:
        of_profile = self._payload_types.get(up.codec, {})
        # A decoder goes by the stream's own parameter sets: another profile is better than none.
        return of_profile.get(up.profile, next(iter(of_profile.values()), None))

    @property
    def waiting(self) -> bool:
        """Whether it needs a keyframe to begin with; the up track asks for one as long as so."""
        return self._waiting and self._up is not None

    def forward(self, seqno: int, timestamp: int, second: int, data: bytes, now: float) -> None:
        up = self._up
        if up is None:
            return
        if self._waiting:
            if not up.assembler.starts_keyframe(data):
                return
            self._open(up, seqno, timestamp, now)
        elif seqno < self._first_seqno:
            return  # older than the keyframe this observer began with
        out, out_timestamp = seqno + self._seqno_offset, timestamp + self._timestamp_offset
        if out > self._last_seqno:
            self._last_seqno, self._last_timestamp, self._last_sent_s = out, out_timestamp, now
        self.packets += 1
        self.octets += len(data) - HEADER_LENGTH
        header = pack_header(
            data[0],
            second & 0x80 | self._payload_type,
            out & 0xFFFF,
            out_timestamp & 0xFFFF_FFFF,
            self.ssrc,
        )
        self._send(header + data[HEADER_LENGTH:])

    def _open(self, up: UpTrack, seqno: int, timestamp: int, now: float) -> None:
        self._waiting = False
        self._first_seqno = seqno
        self._seqno_offset = self._last_seqno + 1 - seqno
        resumed = self._last_timestamp
        if self.packets:
            resumed += max(1, round((now - self._last_sent_s) * CLOCK_RATE[up.codec]))
        self._timestamp_offset = resumed - timestamp

    def resend(self, seqnos: Sequence[int]) -> None:
        """Answers a NACK from the up track's ring, byte for byte as first sent."""
        up = self._up
        if up is None or self._waiting:
            return
        for seqno16 in seqnos:
            if self._resent >= MAX_RESENT_PER_S:
                return
            # The nearest sequence number to the last one sent that ends in these 16 bits.
            behind = (self._last_seqno - seqno16) & 0xFFFF
            seqno = self._last_seqno - behind - self._seqno_offset
            kept = up.packet(seqno) if seqno >= self._first_seqno else None
            if kept is not None:
                self._resent += 1
                _, timestamp, _, data = kept
                header = pack_header(
                    data[0],
                    data[1] & 0x80 | self._payload_type,
                    seqno16,
                    (timestamp + self._timestamp_offset) & 0xFFFF_FFFF,
                    self.ssrc,
                )
                self._send(header + data[HEADER_LENGTH:])

    def report(self, now: float) -> rtcp.SenderReport | None:
        """The sender report of this second, or None when nothing has been sent."""
        self._resent = 0
        if self._up is None or self._waiting:
            return None
        timestamp = self._up.clock.timestamp_at(now) + self._timestamp_offset
        return rtcp.SenderReport(
            self.ssrc, rtcp.ntp_from_unix(now), timestamp, self.packets, self.octets
        )
