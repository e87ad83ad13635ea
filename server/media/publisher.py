"""The candidate's or an interviewer's connection: its packets become up tracks of the source."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from server.core import rtcp
from server.core.frames import OF_CANDIDATE, TrackName
from server.core.rtp import PacketError, extension, payload_of, unpack_header
from server.media.peer import CONSENT_TIMEOUT_S, Peer, PeerState
from server.media.receiving.arrivals import Arrivals
from server.media.receiving.carried import RedundantStream, RetransmissionStream
from server.media.receiving.clock import PeerClock
from server.media.receiving.up_track import Fresh, UpTrack, assemble
from server.media.receiving.uplink import LOOK_S, Counted, Uplink
from server.media.sdp.formats import RtpFormat
from server.media.sdp.offer import MediaSection, dependency_extension
from server.media.source import Source
from server.media.transport.dtls import Certificate
from server.media.transport.router import Router

#: Told to the candidate's browser as REMB, the sum of what there is: enough for 720p30, and for
#: small print that stands still most of the time; kind to a home uplink.
MAX_BITRATE_BPS = {
    TrackName.CAMERA: 1_500_000,
    TrackName.SCREEN: 1_000_000,
    TrackName.INTERVIEWER_CAMERA: 1_500_000,
}
#: And for each smaller layer of a simulcast, which have a quarter of the pixels, and a sixteenth.
LAYERS_BITRATE_BPS = 400_000
#: Less than before by so much is told at once.
FALLEN = 0.9
#: Of a packet, beside its payload: IPv4, UDP, RTP with extensions, and SRTP's tag.
WIRE_OCTETS = 20 + 8 + 24 + 16
#: Who takes one of these may do what it is told.
_FOLLOWS = {"goog-remb", "transport-cc"}

#: What takes the packets of one SSRC and payload type.
Stream = UpTrack | RedundantStream | RetransmissionStream


class Incoming(NamedTuple):
    """What a publisher sends of one track: its section of the offer, and the format agreed on."""

    section: MediaSection
    format: RtpFormat
    rids: tuple[str, ...] = ()  #: of a simulcast's layers


class Publisher(Peer):
    """The candidate's or an interviewer's connection: its packets become up tracks of the source.

    `tracks`: all that such a person may send; whoever sent them before is taken over from.
    """

    def __init__(
        self,
        router: Router,
        certificate: Certificate,
        remote: MediaSection,
        on_state: Callable[[PeerState], None],
        clock: Callable[[], float],
        source: Source,
        incoming: Mapping[TrackName, Incoming],
        transport_cc_extension: int | None = None,
        tracks: Sequence[TrackName] = OF_CANDIDATE,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(router, certificate, remote, on_state, clock, source)
        self._incoming = incoming
        # RFC 5506 5: by itself only where that was agreed on. RFC 3550 6.1: else behind these.
        self._before_feedback = b"" if remote.rtcp_rsize else self._named_report()
        self._chance = chance
        self._ups: dict[int, UpTrack] = {}
        self._fresh: list[Fresh] = []
        self._silent_s = 0.0  # since when the candidate was lost
        #: By a packet's second octet, its marker and payload type, and SSRC.
        self._streams: dict[tuple[int, int], Stream] = {}
        self._replaced: set[int] = set()  # SSRCs of which only stragglers can come
        self._peer_clock = PeerClock()
        counted = transport_cc_extension
        self._arrivals = Arrivals(counted) if counted is not None else None
        self._round_trip_s: float | None = None
        follows = any(_FOLLOWS & each.format.feedback for each in incoming.values())
        self._uplink = Uplink() if follows else None
        self._looked_s = -math.inf
        self._looked_at: dict[int, int] = {}  # how many pictures had come of each stream
        source.publisher_connected(tracks, self.round_trip, clock())

    def round_trip(self) -> float | None:
        """To the sender and back, in seconds; None: not measured yet."""
        return self._round_trip_s

    def _set_state(self, state: PeerState) -> None:
        if state is PeerState.DISCONNECTED:
            self._silent_s = self._seen_s
        elif state is PeerState.CONNECTED and self.state is PeerState.DISCONNECTED:
            for up in self._ups.values():
                up.silent(self._silent_s, self._clock())
        super()._set_state(state)

    def _rtp(self, packet: bytes, now: float) -> None:
        if self._arrivals is not None:
            self._arrivals.fresh.append((packet, now))
        _, second, seqno, timestamp, ssrc = unpack_header(packet)
        stream = self._streams.get((second, ssrc))
        if stream is None:
            stream = self._bound(ssrc, second & 0x7F, packet, now)
            if stream is None:
                self.refused += 1
                return
        try:
            stream.receive(second > 127, seqno, timestamp, payload_of(packet), now, packet)
        except PacketError:
            self.refused += 1

    def _bound(self, ssrc: int, payload_type: int, packet: bytes, now: float) -> Stream | None:
        """What takes a packet that is the first of its stream, and all of its like from now on."""
        stream = self._bind(ssrc, payload_type, packet, now)
        if stream is not None:
            for second in (payload_type, 0x80 | payload_type):
                self._streams[second, ssrc] = stream
        return stream

    def _track_of(self, ssrc: int, packet: bytes) -> TrackName | None:
        """By MID, else by the offer's SSRCs, else the only one of its payload type (RFC 9143 9.2).

        None where two sections share a payload type and nothing tells one from the other.
        """
        every = self._incoming
        for name, (section, _, _) in every.items():
            mid = _named(packet, section.mid_extension)
            if mid:
                of_mid = (each for each in every if every[each].section.mid == mid)
                return next(of_mid, None)
            if ssrc in section.ssrcs:
                return name
        payload_type = packet[1] & 0x7F
        fitting = [name for name in every if payload_type in every[name].format.payload_types]
        return fitting[0] if len(fitting) == 1 else None

    def _bind(self, ssrc: int, payload_type: int, packet: bytes, now: float) -> Stream | None:
        """Whether it is a stream that we take: None if it is not."""
        self._count_ssrc(ssrc)
        name = self._track_of(ssrc, packet) if ssrc not in self._replaced else None
        if name is None:
            return None
        rtp_format, up = self._incoming[name].format, self._ups.get(ssrc)
        if payload_type == rtp_format.red and (up is None or up.name is name):
            carried = up or self._open(ssrc, name, packet, now)
            return RedundantStream(carried) if carried is not None else None
        if up is not None:
            return up if payload_type == up.payload_type else None
        if payload_type == rtp_format.rtx:
            repaired = self._repaired(ssrc, name, packet)
            return RetransmissionStream(repaired) if repaired is not None else None
        if payload_type == rtp_format.payload_type:
            return self._open(ssrc, name, packet, now)
        return None

    def _repaired(self, ssrc: int, name: TrackName, packet: bytes) -> UpTrack | None:
        """Whose repairs come under this SSRC: the offer says it, or the packet's layer."""
        section = self._incoming[name].section
        original = section.repaired.get(ssrc)
        if original is not None:
            return self._ups.get(original)
        rid = _named(packet, section.repaired_rid_extension) if self._incoming[name].rids else ""
        ours = (up for up in self._ups.values() if (up.name, up.rid) == (name, rid))
        return next(ours, None)

    def _open(self, ssrc: int, name: TrackName, packet: bytes, now: float) -> UpTrack | None:
        """A new stream of a track; one per track or layer, the newest."""
        section, rtp_format, rids = self._incoming[name]
        rid = _named(packet, section.rid_extension) if rids else ""
        if rtp_format.codec is None or (rids and rid not in rids):
            return None  # no layer of ours, or too early to say which
        self._replace(name, rid, now)
        layer = self.source.layer(name, rid)
        up = UpTrack(
            name,
            rtp_format.codec,
            rtp_format.payload_type,
            ssrc,
            self._peer_clock,
            layer.on_frame,
            layer.on_gap,
            self._hurry,
            self._fresh,
            repair="nack" in rtp_format.feedback,
            profile=rtp_format.profile,
            rid=rid,
            dependency_extension=dependency_extension(section, rtp_format),
            chance=self._chance,
        )
        self._ups[ssrc] = up
        self._report_s = 0.0  # due at the next look: a new stream is limited from the start
        self.source.add_up(up, layer)
        return up

    def _replace(self, name: TrackName, rid: str, now: float) -> None:
        for known in [each for each in self._ups.values() if (each.name, each.rid) == (name, rid)]:
            self.source.remove_up(known, now)
            self._counted_before.update(known.counted())
            del self._ups[known.ssrc]
            self._replaced.add(known.ssrc)
            for key in [key for key, each in self._streams.items() if _up_of(each) is known]:
                del self._streams[key]
                self._replaced.add(key[1])

    def _rtcp(self, items: Sequence[rtcp.Item], now: float) -> None:
        for item in items:
            match item:
                case rtcp.SenderReport():
                    up = self._ups.get(item.ssrc)
                    if up is not None:
                        up.sender_report_received(item, now)
                case rtcp.Goodbye():
                    up = self._ups.get(item.ssrc)
                    # Of other tracks the connection's end tells more.
                    if up is not None and up.name is TrackName.SCREEN:
                        assemble(self._fresh)
                        self.source.end_screen()
                case rtcp.DelaySinceLastRr() if item.ssrc == self.ssrc:
                    ntp = rtcp.ntp_from_unix(now)
                    measured = rtcp.round_trip_s(ntp, item.last_rr, item.delay)
                    if measured is not None and measured < CONSENT_TIMEOUT_S:
                        self._round_trip_s = measured
                case _:
                    pass

    def _repair(self, now: float) -> bool:
        waits = False
        assemble(self._fresh)
        if self._uplink is not None and now - self._looked_s >= LOOK_S - 0.01:
            self._looked_s = now
            self._look(self._uplink, now)
        for up in self._ups.values():
            seqnos = up.tick(now, self._round_trip_s)
            if seqnos:
                self._send_feedback(rtcp.nack(self.ssrc, up.ssrc, seqnos))
            if up.keyframe_due(now):
                self._send_feedback(rtcp.picture_loss_indication(self.ssrc, up.ssrc))
            waits |= up.waits
        if self._arrivals is not None:
            self._tell_arrivals(self._arrivals, now)
        self.source.tick(now)
        return waits

    def _look(self, uplink: Uplink, now: float) -> None:
        octets = expected = received = 0
        transits_s: dict[int, float] = {}
        for ssrc, up in self._ups.items():
            octets += up.octets + WIRE_OCTETS * up.packets
            if up.pictures != self._looked_at.get(ssrc):
                transits_s[ssrc] = up.transit_s
            if up.name in MAX_BITRATE_BPS:
                expected += up.expected
                received += up.packets - up.repaired
            elif self._incoming[up.name].format.red is not None:
                octets += up.octets  # sent twice
        self._looked_at = {ssrc: up.pictures for ssrc, up in self._ups.items()}
        before_bps, before = uplink.limit_bps, uplink.is_flooded
        uplink.look(Counted(octets, expected, received), transits_s, now)
        # Who counts its packets has a congestion control. Of others, who may send on as before,
        # what is lost has to come again.
        if self._arrivals is not None and (uplink.is_flooded or before):
            for up in self._ups.values():
                up.sent_over(uplink)
        if uplink.limit_bps < FALLEN * before_bps:
            self._report_s = 0.0  # due at once

    def _tell_arrivals(self, arrivals: Arrivals, now: float) -> None:
        # A browser listens to what is said of one of its streams; which one is all the same.
        about = next(iter(self._ups), 0)
        for feedback in arrivals.feedback(now, self.ssrc, about):
            self._send_feedback(rtcp.transport_feedback(feedback))

    def _send_feedback(self, packet: bytes) -> None:
        self._send_rtcp(self._before_feedback + packet)

    def _report(self, now: float) -> None:
        if not self._ups:
            return
        blocks = tuple(up.report(now) for up in self._ups.values())
        video = [up for up in self._ups.values() if up.name in MAX_BITRATE_BPS]
        packets = [
            self._named_report(blocks),
            rtcp.receiver_reference_time(self.ssrc, rtcp.ntp_from_unix(now)),
        ]
        if video:
            names = {up.name for up in video}
            bitrate_bps = sum(MAX_BITRATE_BPS[name] for name in names)
            bitrate_bps += LAYERS_BITRATE_BPS * (len(video) - len(names))
            if self._uplink is not None:
                bitrate_bps = math.floor(min(bitrate_bps, self._uplink.limit_bps))
            ssrcs = [up.ssrc for up in video]
            packets.append(rtcp.receiver_estimated_max_bitrate(self.ssrc, bitrate_bps, ssrcs))
        self._send_rtcp(b"".join(packets))

    def _streams_counted(self) -> Iterable[Counter[str]]:
        return (up.counted() for up in self._ups.values())

    def _named_report(self, blocks: tuple[rtcp.ReportBlock, ...] = ()) -> bytes:
        report = rtcp.receiver_report(rtcp.ReceiverReport(self.ssrc, blocks))
        return report + rtcp.source_description(self.ssrc, self.id)

    def _detach(self) -> None:
        assemble(self._fresh)
        for up in self._ups.values():
            self.source.remove_up(up, self._clock())
        self._counted_before = self.counted()
        self._ups.clear()
        self._streams.clear()
        self.source.publisher_closed(self.round_trip)


def _up_of(stream: Stream) -> UpTrack:
    return stream if isinstance(stream, UpTrack) else stream.up


def _named(packet: bytes, number: int | None) -> str:
    """What a header extension says of the packet, or nothing (RFC 8852, RFC 9143 15)."""
    found = extension(packet, number) if number is not None else None
    return found.decode("latin1") if found else ""
