"""A candidate's simulcast in memory: VP8 pictures of one packet, in layers of three sizes."""

from collections.abc import Iterable

from server.core import rtcp
from server.core.frames import Codec, EncodedFrame, Gap, TrackName
from server.core.rtp import pack_header, unpack_header
from server.media.forwarding.down_track import DownTrack, Send
from server.media.receiving.clock import PeerClock
from server.media.receiving.up_track import Fresh, UpTrack, assemble
from server.media.source import Source
from tests.media.streams import receive, rtp

NOW = 1_800_000_000.0
FPS = 30
SIZES = {"l": (320, 180), "m": (640, 360), "h": (1280, 720)}
#: Octets of a picture: 1.2 Mbit/s, 480 and 120 kbit/s at 30 a second.
OCTETS = {"l": 500, "m": 2000, "h": 5000}
#: Temporal layers of four pictures, as browsers send them (L1T3).
PATTERN = (0, 2, 1, 2)


def vp8(
    picture_id: int,
    *,
    keyframe: bool = False,
    tl0: int = 0,
    temporal_id: int = 0,
    sync: bool = False,
    size: tuple[int, int] = (320, 180),
    octets: int = 20,
) -> bytes:
    """A payload with every field that browsers write (RFC 7741 4.2)."""
    layer = temporal_id << 6 | sync << 5
    descriptor = bytes([0x90, 0xE0, 0x80 | picture_id >> 8 & 0x7F, picture_id & 0xFF, tl0 & 0xFF])
    frame = bytes([0x10 | (not keyframe), 0, 0])
    if keyframe:
        frame += b"\x9d\x01\x2a" + size[0].to_bytes(2, "little") + size[1].to_bytes(2, "little")
    return descriptor + bytes([layer]) + frame + bytes(max(0, octets - len(frame)))


class Sink:
    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []
        self.gaps: list[Gap] = []

    def on_frame(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)

    def on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)

    @property
    def sizes(self) -> list[int]:
        """Octets of the pictures as they changed: which layers they are of."""
        lengths = [len(frame.payload) for frame in self.frames]
        return [each for at, each in enumerate(lengths) if at == 0 or lengths[at - 1] != each]


class Simulcast:
    """`step` sends one picture in each of the layers given; each answers keyframe requests."""

    def __init__(
        self,
        rids: Iterable[str] = ("l", "m", "h"),
        *,
        source: Source | None = None,
        now: float = NOW,
    ) -> None:
        self.source = source or Source("one")
        self.now = now
        self.ups: dict[str, UpTrack] = {}
        self._fresh: list[Fresh] = []
        self.sent = dict.fromkeys(SIZES, 0)  # pictures of each layer
        self._pictures = 0
        self._keyframe = set(SIZES)
        clock = PeerClock()
        for index, rid in enumerate(rids):
            layer = self.source.layer(TrackName.CAMERA, rid)
            up = self.ups[rid] = UpTrack(
                TrackName.CAMERA,
                Codec.VP8,
                96,
                index,
                clock,
                layer.on_frame,
                layer.on_gap,
                lambda: None,
                self._fresh,
                repair=True,
                rid=rid,
            )
            self.source.add_up(up, layer)

    def timestamp(self, rid: str) -> int:
        """Each layer counts from a start of its own."""
        return (SIZES[rid][0] << 20) + round(self._pictures * 90_000 / FPS)

    def report(self) -> None:
        """Sender reports, which tell how the layers' timestamps belong together."""
        for rid, up in self.ups.items():
            ntp = rtcp.ntp_from_unix(self.now)
            report = rtcp.SenderReport(up.ssrc, ntp, self.timestamp(rid) & 0xFFFF_FFFF, 0, 0)
            up.sender_report_received(report, self.now)

    def step(self, rids: str = "lmh", *, lost: str = "") -> None:
        """A picture's time: `lost`: of these layers it is sent and never comes."""
        for rid in rids:
            self._send(rid, lost=rid in lost)
        self._pictures += 1
        self.now += 1 / FPS
        for rid, up in self.ups.items():
            up.tick(self.now, 0.05)
            if up.keyframe_due(self.now):
                self._keyframe.add(rid)
        self.source.tick(self.now)

    def run(self, seconds: float, rids: str = "lmh") -> None:
        for _ in range(round(seconds * FPS)):
            self.step(rids)

    def _send(self, rid: str, *, lost: bool) -> None:
        number = self.sent[rid]
        self.sent[rid] += 1
        keyframe = rid in self._keyframe
        self._keyframe.discard(rid)
        temporal_id = PATTERN[number % 4] if not keyframe else 0
        payload = vp8(
            SIZES[rid][1] + number,
            keyframe=keyframe,
            tl0=SIZES[rid][1] + number // 4,
            temporal_id=temporal_id,
            sync=temporal_id > 0,
            size=SIZES[rid],
            octets=OCTETS[rid],
        )
        seqno = (SIZES[rid][0] * 50 + number) & 0xFFFF
        data = rtp(seqno, self.timestamp(rid), payload, marker=True)
        if not lost:
            receive(self.ups[rid], data, self.now)
            assemble(self._fresh)


def sending_to(sent: list[bytes]) -> Send:
    """What a down track sends, as whole packets."""

    def send(
        first: int, second: int, seqno: int, timestamp: int, ssrc: int, payload: bytes, _: float
    ) -> None:
        sent.append(pack_header(first, second, seqno, timestamp, ssrc) + payload)

    return send


class Watcher:
    """An observer's down track, and what it was sent."""

    def __init__(self, candidate: Simulcast) -> None:
        self.sent: list[bytes] = []
        self.down = DownTrack(9, {Codec.VP8: {"": 120}}, sending_to(self.sent))
        candidate.source.add_down(TrackName.CAMERA, self.down, candidate.now)

    @property
    def headers(self) -> list[tuple[int, int]]:
        """(sequence number, timestamp)"""
        return [unpack_header(data)[2:4] for data in self.sent]

    @property
    def layers(self) -> list[str]:
        """As they changed."""
        rids = [_rid(data) for data in self.sent]
        return [rid for at, rid in enumerate(rids) if at == 0 or rids[at - 1] != rid]

    def layers_at(self, rid: str) -> int:
        """Where the first packet of the layer is."""
        return [_rid(data) for data in self.sent].index(rid)

    @property
    def picture_ids(self) -> list[int]:
        return [(data[14] & 0x7F) << 8 | data[15] for data in self.sent]

    @property
    def tl0s(self) -> list[int]:
        return [data[16] for data in self.sent]

    @property
    def temporal_ids(self) -> list[int]:
        return [data[17] >> 6 for data in self.sent]


def _rid(data: bytes) -> str:
    octets = len(data) - 18
    return min(OCTETS, key=lambda rid: abs(OCTETS[rid] - octets))
