"""What a candidate sends on one track, and where in the loop of media it is. Pure."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import inf

from loadtest.media import AUDIO_PACKETS_PER_S
from loadtest.packets import Describe, Frame, Packet, PacketisedClip, no_descriptor
from loadtest.stamp import pack_numbers, pack_source
from server.core import red, rtcp
from server.core.rtp import payload_of

#: Packets kept to answer NACKs, nearly as many as in libwebrtc: four seconds of video at 130
#: packets a second. A power of two, as sequence numbers wrap.
HISTORY = 512
#: Requests sooner than this after one that was granted are not (as in libwebrtc).
KEYFRAME_SPACING_S = 0.3

_HEADER = struct.Struct("!BBHII")
_ONE_BYTE_EXTENSIONS = 0xBEDE  # RFC 8285 4.2


@dataclass(frozen=True, slots=True)
class Extensions:
    """The header extension ids that the answer accepted; None: not to be sent."""

    mid: int | None = None
    abs_send_time: int | None = None
    transport_cc: int | None = None
    rid: int | None = None

    def block(self, mid: str, now: float, number: int = 0, rid: str = "") -> bytes:
        """The extension block of a packet sent at `now` (Unix seconds); may be empty.

        `number`: the transport-wide one, where it was accepted; `rid`: the name of a layer.
        """
        elements = b""
        if self.mid is not None:
            elements += bytes([self.mid << 4 | len(mid) - 1]) + mid.encode()
        if self.rid is not None and rid:
            elements += bytes([self.rid << 4 | len(rid) - 1]) + rid.encode()
        if self.abs_send_time is not None:
            # 6.18 fixed-point seconds (webrtc.org/experiments/rtp-hdrext/abs-send-time).
            time = int(now * (1 << 18)) & 0xFFFFFF
            elements += bytes([self.abs_send_time << 4 | 2]) + time.to_bytes(3, "big")
        if self.transport_cc is not None:
            elements += bytes([self.transport_cc << 4 | 1]) + number.to_bytes(2, "big")
        if not elements:
            return b""
        elements += bytes(-len(elements) % 4)
        return struct.pack("!HH", _ONE_BYTE_EXTENSIONS, len(elements) // 4) + elements


@dataclass(slots=True)
class Repairs:
    """The stream in which what was lost is sent again (RFC 4588)."""

    ssrc: int
    payload_type: int
    seqno: int = 0  #: of the next packet


@dataclass(slots=True)
class TrackSender:
    """One RTP stream. Makes plain RTP packets; the caller protects and sends them."""

    ssrc: int
    payload_type: int
    clock_rate: int
    mid: str
    extensions: Extensions
    describe: Describe = no_descriptor
    #: The transport-wide number of a packet sent now (Unix seconds), shared by its streams.
    number: Callable[[float], int] | None = None
    seqno: int = 0  #: of the next packet
    repairs: Repairs | None = None  #: None: what is asked for is sent again as it was
    red: int | None = None  #: the payload type in which each packet carries the one before it
    rid: str = ""  #: of a simulcast's layer
    layer: int = 0  #: its place among them, the largest picture first
    stamp_source: int | None = None  #: whose frames it stamps; None: its own
    frames: int = 0  #: begun
    base_frames: int = 0  #: those of them in the base layer
    packets: int = 0
    octets: int = 0
    retransmitted: int = 0
    asked_for: int = 0  #: different packets that the receiver missed
    _source: bytes = b""
    _history: list[bytes] = field(default_factory=lambda: [b""] * HISTORY)
    _missed: list[bool] = field(default_factory=lambda: [False] * HISTORY)
    _again_s: dict[int, float] = field(default_factory=dict)  # when each was sent again, last
    _before: tuple[int, bytes] | None = None  # timestamp and payload of the packet before

    def __post_init__(self) -> None:
        source = self.ssrc if self.stamp_source is None else self.stamp_source
        self._source = pack_source(source, self.layer)

    def go_on_from(self, earlier: "TrackSender") -> None:
        """Over a new connection: numbers and counters go on, nothing older is sent again."""
        self.seqno, self.frames, self.base_frames = (
            earlier.seqno,
            earlier.frames,
            earlier.base_frames,
        )
        self.packets, self.octets = earlier.packets, earlier.octets
        self.retransmitted, self.asked_for = earlier.retransmitted, earlier.asked_for

    def begin_frame(self, frame: Frame, rtp_timestamp: int) -> "Sending":
        number, self.frames = self.frames, self.frames + 1
        self.base_frames += not frame[0].layer
        return Sending(self, iter(frame), rtp_timestamp & 0xFFFFFFFF, number)

    def rtp_packet(self, packet: Packet, rtp_timestamp: int, frame: int, now: float) -> bytes:
        """The packet as sent at `now` (Unix seconds), remembered for retransmission."""
        descriptor = self.describe(packet, frame, self.base_frames)
        numbers = pack_numbers(self._source, frame, now) if packet.stamped else b""
        payload = packet.payload(descriptor, numbers)
        payload_type = self.payload_type
        if self.red is not None:
            payload_type, payload = self.red, self._with_the_one_before(payload, rtp_timestamp)
        header = packet.marker << 7 | payload_type, self.seqno, rtp_timestamp, self.ssrc
        data = self._packet(header, payload, now)
        self._history[self.seqno % HISTORY] = data
        self._missed[self.seqno % HISTORY] = False
        self._again_s.pop(self.seqno, None)
        self.seqno = (self.seqno + 1) & 0xFFFF
        self.packets += 1
        self.octets += len(payload)
        return data

    def _packet(self, header: tuple[int, int, int, int], payload: bytes, now: float) -> bytes:
        """`header`: from the marker and payload type on."""
        number = self.number(now) if self.number is not None else 0
        extensions = self.extensions.block(self.mid, now, number, self.rid)
        return _HEADER.pack(0x90 if extensions else 0x80, *header) + extensions + payload

    def _with_the_one_before(self, payload: bytes, rtp_timestamp: int) -> bytes:
        """Sound with the packet before it (RFC 2198), unless that is too long ago."""
        before, self._before = self._before, (rtp_timestamp, payload)
        primary, earlier = red.Block(self.payload_type, 0, payload), []
        if before is not None and rtp_timestamp - before[0] < 1 << 14:
            earlier = [red.Block(self.payload_type, rtp_timestamp - before[0], before[1])]
        return red.join(primary, earlier)

    @property
    def last_packet(self) -> bytes:
        """As it was sent; empty: nothing was."""
        return self._history[(self.seqno - 1) % HISTORY]

    def retransmissions(
        self, seqnos: tuple[int, ...], now: float, round_trip_s: float = 0.0
    ) -> Iterator[bytes]:
        """Those of the packets asked for that are still remembered (RFC 4585 6.2.1).

        As in libwebrtc, what was sent again within the round trip is on its way.
        """
        for seqno in seqnos:
            data = self._history[seqno % HISTORY]
            again_s = self._again_s.get(seqno, -inf)
            if data and data[2] << 8 | data[3] == seqno and now - again_s >= round_trip_s:
                self._again_s[seqno] = now
                self.retransmitted += 1
                self.asked_for += not self._missed[seqno % HISTORY]
                self._missed[seqno % HISTORY] = True
                yield data if self.repairs is None else self._repair(self.repairs, data, now)

    def _repair(self, repairs: Repairs, data: bytes, now: float) -> bytes:
        """RFC 4588 4: a packet of its own, with the original sequence number before the payload."""
        _, second, seqno, rtp_timestamp, _ = _HEADER.unpack_from(data)
        header = second & 0x80 | repairs.payload_type, repairs.seqno, rtp_timestamp, repairs.ssrc
        repairs.seqno = (repairs.seqno + 1) & 0xFFFF
        return self._packet(header, seqno.to_bytes(2, "big") + payload_of(data), now)

    def report(self, unix_s: float, rtp_timestamp: int) -> bytes:
        """A sender report saying that `rtp_timestamp` was sampled at `unix_s`, and the CNAME."""
        ntp = rtcp.ntp_from_unix(unix_s)
        sent = rtcp.SenderReport(self.ssrc, ntp, rtp_timestamp, self.packets, self.octets)
        return rtcp.sender_report(sent) + rtcp.source_description(self.ssrc, "vivavoce-loadtest")


@dataclass(slots=True)
class Sending:
    """A frame of which some packets may still have to be sent (large ones go in bursts)."""

    track: TrackSender
    rest: Iterator[Packet]
    rtp_timestamp: int
    number: int

    def burst(self, limit: int, now: float) -> list[bytes]:
        """The next `limit` packets as sent at `now`; fewer only at the frame's end."""
        return [
            self.track.rtp_packet(packet, self.rtp_timestamp, self.number, now)
            for packet in islice(self.rest, limit)
        ]


class Playback:
    """Which frame of the loop comes next; sound and picture stay in step when it jumps.

    `wanted` is the bitrate that the pictures have from the next keyframe on: 0 the clip's own,
    then those of its `lower` ones, which have the same pictures and keyframes.
    """

    def __init__(self, clip: PacketisedClip) -> None:
        self.wanted = 0
        self._clip = clip
        self._video_levels = (clip.video, *clip.lower)
        self._level = 0
        self._keyframes = frozenset(clip.clip.keyframes)
        self._video = self._audio = 0
        self._granted_at = float("-inf")
        self._keyframe_wanted = False

    def request_keyframe(self, now: float) -> None:
        if now - self._granted_at >= KEYFRAME_SPACING_S:
            self._granted_at, self._keyframe_wanted = now, True

    def next_video(self) -> Frame:
        # Never two IDR pictures in a row with one idr_pic_id (ITU-T H.264 7.4.3).
        if self._keyframe_wanted and self._video - 1 not in self._keyframes:
            self._jump()
            self._keyframe_wanted = False
        index = self._video % len(self._clip.video)
        self._video = index + 1
        if index in self._keyframes:
            self._level = self.wanted
        return self._video_levels[self._level][index]

    def in_layers(self) -> tuple[Frame, ...]:
        """The picture that `next_video` gave last, in the smaller layers of a simulcast."""
        return tuple(layer[self._video - 1] for layer in self._clip.layers)

    def next_audio(self) -> Frame:
        index = self._audio % len(self._clip.audio)
        self._audio = index + 1
        return self._clip.audio[index]

    def _jump(self) -> None:
        """To the nearest keyframe, a step of at most half the distance between two."""
        count = len(self._clip.video)

        def step(keyframe: int) -> int:
            return (keyframe - self._video + count // 2) % count - count // 2

        nearest = min((step(keyframe) for keyframe in self._keyframes), key=abs)
        self._video = (self._video + nearest) % count
        if self._clip.audio:
            audio_step = round(nearest * AUDIO_PACKETS_PER_S / self._clip.clip.fps)
            self._audio = (self._audio + audio_step) % len(self._clip.audio)
