"""A candidate's VP9 in three spatial layers in memory, and an observer who checks what comes."""

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.frames import Codec, TrackName
from server.core.rtp import unpack_header
from server.media.forwarding.down_track import DownTrack
from server.media.receiving.clock import PeerClock
from server.media.receiving.up_track import Fresh, UpTrack, assemble
from server.media.source import Source
from tests.media.layered import FPS, PATTERN, sending_to
from tests.media.streams import receive, rtp

NOW = 1_800_000_000.0
SIZES = ((320, 180), (640, 360), (1280, 720))
#: Octets of a layer's frame, in two packets: 0.12, 0.48 and 1.2 Mbit/s more at 30 a second.
OCTETS = (500, 2000, 5000)


def vp9_frame(spatial_id: int, *, keyframe: bool, octets: int) -> bytes:
    """Its uncompressed header (VP9 6.2) as far as it is read, then anything."""
    width, height = (side - 1 for side in SIZES[spatial_id])
    if keyframe and not spatial_id:
        head = f"10 00 0 0 1 1 {0x498342:024b} 000 0 {width:016b} {height:016b}"
    else:  # refresh_frame_flags, references, none of which has this size
        head = f"10 00 0 1 1 1 {1:08b} {0:012b} 000 {width:016b} {height:016b}"
    bits = head.replace(" ", "")
    bits += "0" * (-len(bits) % 8)
    frame = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return frame + bytes([1]) * (octets - len(frame))


class Spatial:
    """`step` sends one picture; `key`: layers need each other in keyframes' pictures alone."""

    def __init__(self, *, key: bool) -> None:
        self.source = Source("one")
        self.now = NOW
        self._key = key
        self._fresh: list[Fresh] = []
        self._keyframe = True
        self._pictures = self._since_keyframe = self._seqno = 0
        self._tl0 = 250
        self.keyframes = 0
        layer = self.source.layer(TrackName.CAMERA, "")
        self.up = UpTrack(
            TrackName.CAMERA,
            Codec.VP9,
            96,
            1,
            PeerClock(),
            layer.on_frame,
            layer.on_gap,
            lambda: None,
            self._fresh,
            repair=False,
        )
        self.source.add_up(self.up, layer)

    def picture(self, layers: int = 3) -> list[bytes]:
        """The packets of the next one, in so many layers."""
        keyframe, self._keyframe = self._keyframe, False
        self._since_keyframe = 0 if keyframe else self._since_keyframe + 1
        self.keyframes += keyframe
        temporal_id = PATTERN[self._since_keyframe % 4]
        self._tl0 += not temporal_id
        made = []
        for spatial_id in range(layers):
            data = vp9_frame(spatial_id, keyframe=keyframe, octets=OCTETS[spatial_id])
            half = len(data) // 2
            for ends, part in enumerate((data[:half], data[half:])):
                # RFC 9628 4.2: I, P, L, B, E; D says that the layer below is needed.
                needs_below = bool(spatial_id) and (keyframe or not self._key)
                first = 0xA0 | (not keyframe) << 6 | (not ends) << 3 | ends << 2
                number = 32_760 + self._pictures
                layer = temporal_id << 5 | bool(temporal_id) << 4 | spatial_id << 1 | needs_below
                place = [first, 0x80 | number >> 8 & 0x7F, number & 0xFF, layer, self._tl0 & 0xFF]
                marker = bool(ends) and spatial_id == layers - 1
                timestamp = round(self._pictures * 90_000 / FPS)
                made.append(
                    rtp(65_500 + self._seqno, timestamp, bytes(place) + part, marker=marker)
                )
                self._seqno += 1
        self._pictures += 1
        return made

    def receive(self, packets: Iterable[bytes]) -> None:
        for data in packets:
            receive(self.up, data, self.now)
            assemble(self._fresh)

    def ask_for_keyframe(self) -> None:
        self._keyframe = True

    def step(self, layers: int = 3) -> None:
        self.receive(self.picture(layers))
        self.tick()

    def tick(self) -> None:
        self.now += 1 / FPS
        self.up.tick(self.now, 0.05)
        self._keyframe |= self.up.keyframe_due(self.now)
        self.source.tick(self.now)

    def run(self, seconds: float, layers: int = 3) -> None:
        for _ in range(round(seconds * FPS)):
            self.step(layers)


@dataclass(frozen=True)
class Seen:
    """A picture as an observer got it."""

    picture_id: int
    temporal_id: int
    layers: int
    keyframe: bool


class SpatialWatcher:
    """An observer's down track, and what it was sent."""

    def __init__(self, candidate: Spatial) -> None:
        self.sent: list[bytes] = []
        self.down = DownTrack(9, {Codec.VP9: {"": 120}}, sending_to(self.sent))
        candidate.source.add_down(TrackName.CAMERA, self.down, candidate.now)

    def pictures(self) -> list[Seen]:
        """Whole, without a hole, each with all that it needs: fails where one is not."""
        seen: list[Seen] = []
        base = 0  # layers of the last picture of temporal layer 0
        picture: list[bytes] = []
        seqnos = [unpack_header(data)[2] for data in self.sent]
        assert seqnos == [(seqnos[0] + at) & 0xFFFF for at in range(len(seqnos))]
        for data in self.sent:
            picture.append(data[12:])
            if not unpack_header(data)[1] & 0x80:
                continue
            made = _picture(picture)
            first = [payload for payload in picture if payload[0] & 0x08]
            assert all(not payload[0] & 0x40 for payload in first) or made.layers <= base
            if not made.temporal_id:
                base = made.layers
            seen.append(made)
            picture = []
        assert picture == [], "the last one has no end"
        return seen


def _picture(payloads: list[bytes]) -> Seen:
    layers = [payload[3] >> 1 & 7 for payload in payloads]
    count = layers[-1] + 1
    assert layers == [each // 2 for each in range(2 * count)], "layers from the lowest, each whole"
    assert [payload[0] >> 2 & 3 for payload in payloads] == [2, 1] * count
    ids = {(payload[1] & 0x7F) << 8 | payload[2] for payload in payloads}
    (picture_id,) = ids
    (temporal_id,) = {payload[3] >> 5 for payload in payloads}
    return Seen(picture_id, temporal_id, count, not payloads[0][0] & 0x40)
