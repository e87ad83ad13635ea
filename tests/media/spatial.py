"""A candidate's VP9 or AV1 in three spatial layers, and an observer who checks what comes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from server.core.av1 import write_leb128
from server.core.frames import Codec, TrackName
from server.core.rtp import payload_of, unpack_header
from server.media.forwarding.down_track import DownTrack
from server.media.receiving.clock import PeerClock
from server.media.receiving.up_track import Fresh, UpTrack, assemble
from server.media.source import Source
from tests.media.layered import FPS, PATTERN, sending_to
from tests.media.streams import described, receive, rtp

NOW = 1_800_000_000.0
SIZES = ((320, 180), (640, 360), (1280, 720))
#: Octets of a layer's frame, in two packets: 0.12, 0.48 and 1.2 Mbit/s more at 30 a second.
OCTETS = (500, 2000, 5000)


#: Of the dependency descriptor; and where templates are counted from.
EXTENSION, OFFSET = 12, 62


class Frame(NamedTuple):
    """Of one spatial layer of a picture, in two packets."""

    number: int  #: of the picture
    temporal_id: int
    spatial_id: int
    keyframe: bool
    needs_below: bool
    tl0: int

    @property
    def place(self) -> bytes:
        """What an observer finds at the end of each packet, whatever the codec."""
        number = self.number.to_bytes(2, "big")
        return number + bytes([self.temporal_id, self.spatial_id, self.keyframe])


def _bytes(bits: str) -> bytes:
    bits = bits.replace(" ", "")
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def vp9_frame(spatial_id: int, *, keyframe: bool, octets: int, shrunk: int = 1) -> bytes:
    """Its uncompressed header (VP9 6.2) as far as it is read, then anything."""
    width, height = (side // shrunk - 1 for side in SIZES[spatial_id])
    if keyframe and not spatial_id:
        head = f"10 00 0 0 1 1 {0x498342:024b} 000 0 {width:016b} {height:016b}"
    else:  # refresh_frame_flags, references, none of which has this size
        head = f"10 00 0 1 1 1 {1:08b} {0:012b} 000 {width:016b} {height:016b}"
    frame = _bytes(head)
    return frame + bytes([1]) * (octets - len(frame))


def _vp9(frame: Frame) -> list[bytes]:
    _, temporal_id, spatial_id, keyframe, needs_below, tl0 = frame
    data = vp9_frame(spatial_id, keyframe=keyframe, octets=OCTETS[spatial_id])
    half = len(data) // 2
    payloads = []
    for ends, part in enumerate((data[:half], data[half:])):
        # RFC 9628 4.2: I, P, L, B, E; D says that the layer below is needed.
        first = 0xA0 | (not keyframe) << 6 | (not ends) << 3 | ends << 2
        number = (32_760 + frame.number) & 0x7FFF
        layer = temporal_id << 5 | bool(temporal_id) << 4 | spatial_id << 1 | needs_below
        place = [first, 0x80 | number >> 8, number & 0xFF, layer, tl0 & 0xFF]
        payloads.append(bytes(place) + part[: -len(frame.place)] + frame.place)
    return payloads


#: A sequence_header_obu (AV1 5.5.1): level 4.0, the largest size, all else as short as can be.
_SEQUENCE = b"\x08" + _bytes(
    f"000 0 1 01000 1010 1001 {SIZES[-1][0] - 1:011b} {SIZES[-1][1] - 1:010b} 000 000 0000 10"
)


def _av1(frame: Frame) -> list[bytes]:
    """AV1 RTP 4.4: Z, Y, W, N; a key frame is shown, and so is one that is none."""
    _, temporal_id, spatial_id, keyframe, _, _ = frame
    begins = keyframe and not spatial_id
    header = bytes([0x34, temporal_id << 5 | spatial_id << 3, 0x10 if begins else 0x30])
    filling = bytes([1]) * (OCTETS[spatial_id] // 2 - len(header) - len(frame.place))
    first = header + filling + frame.place
    if begins:
        first = write_leb128(len(_SEQUENCE)) + _SEQUENCE + first
    return [bytes([0x68 if begins else 0x50]) + first, b"\x90" + filling + frame.place]


def _descriptor(frame: Frame, *, ends: bool) -> bytes:
    """AV1 RTP, A.8: three temporal layers in each of three spatial ones, a template each."""
    template = (OFFSET + 3 * frame.spatial_id + frame.temporal_id) % 64
    first = bytes([(not ends) << 7 | ends << 6 | template]) + frame.number.to_bytes(2, "big")
    if not frame.keyframe or frame.spatial_id or ends:
        return first
    return first + _bytes(f"1 0000 {OFFSET:06b} {8:05b} 01 01 10 01 01 10 01 01 11")


PAYLOADS: dict[Codec, Callable[[Frame], list[bytes]]] = {Codec.VP9: _vp9, Codec.AV1: _av1}


class Spatial:
    """`step` sends one picture; `key`: layers need each other in keyframes' pictures alone."""

    def __init__(self, *, key: bool, codec: Codec = Codec.VP9) -> None:
        self.source = Source("one")
        self.codec = codec
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
            codec,
            96,
            1,
            PeerClock(),
            layer.on_frame,
            layer.on_gap,
            lambda: None,
            self._fresh,
            repair=False,
            dependency_extension=EXTENSION if codec is Codec.AV1 else None,
        )
        self.source.add_up(self.up, layer)

    def picture(self, layers: int = 3) -> list[bytes]:
        """The packets of the next one, in so many layers."""
        keyframe, self._keyframe = self._keyframe, False
        self._since_keyframe = 0 if keyframe else self._since_keyframe + 1
        self.keyframes += keyframe
        temporal_id = PATTERN[self._since_keyframe % 4]
        self._tl0 += not temporal_id
        made: list[bytes] = []
        timestamp = round(self._pictures * 90_000 / FPS)
        for spatial_id in range(layers):
            needs_below = bool(spatial_id) and (keyframe or not self._key)
            place = self._pictures, temporal_id, spatial_id, keyframe, needs_below, self._tl0
            frame = Frame(*place)
            for ends, payload in enumerate(PAYLOADS[self.codec](frame)):
                marker = bool(ends) and spatial_id == layers - 1
                data = rtp(65_500 + self._seqno, timestamp, payload, marker=marker)
                if self.codec is Codec.AV1:
                    data = described(data, EXTENSION, _descriptor(frame, ends=bool(ends)))
                made.append(data)
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

    number: int
    temporal_id: int
    layers: int
    keyframe: bool


class SpatialWatcher:
    """An observer's down track, and what it was sent."""

    def __init__(self, candidate: Spatial) -> None:
        self.sent: list[bytes] = []
        self._codec = candidate.codec
        self.down = DownTrack(9, {self._codec: {"": 120}}, sending_to(self.sent))
        candidate.source.add_down(TrackName.CAMERA, self.down, candidate.now)

    def pictures(self) -> list[Seen]:
        """Whole, without a hole, each with all that it needs: fails where one is not."""
        seen: list[Seen] = []
        base = 0  # layers of the last picture of temporal layer 0
        picture: list[bytes] = []
        seqnos = [unpack_header(data)[2] for data in self.sent]
        assert seqnos == [(seqnos[0] + at) & 0xFFFF for at in range(len(seqnos))]
        for data in self.sent:
            picture.append(payload_of(data))
            if not unpack_header(data)[1] & 0x80:
                continue
            made = self._picture(picture)
            assert made.keyframe or made.layers <= base
            if not made.temporal_id:
                base = made.layers
            seen.append(made)
            picture = []
        assert picture == [], "the last one has no end"
        return seen

    def _picture(self, payloads: list[bytes]) -> Seen:
        layers = [layer_of(payload) for payload in payloads]
        count = layers[-1] + 1
        assert layers == [each // 2 for each in range(2 * count)], "layers from the lowest, whole"
        if self._codec is Codec.VP9:
            assert [payload[0] >> 2 & 3 for payload in payloads] == [2, 1] * count
        else:
            assert [payload[0] >> 6 for payload in payloads] == [1, 2] * count
        numbers, temporal_ids, keyframe = zip(*(_told(each) for each in payloads), strict=True)
        (number,), (temporal_id,) = set(numbers), set(temporal_ids)
        return Seen(number, temporal_id, count, keyframe[0])


def layer_of(payload: bytes) -> int:
    return payload[-2]


def _told(payload: bytes) -> tuple[int, int, bool]:
    """The picture's number, its temporal layer, and whether it is a keyframe."""
    return int.from_bytes(payload[-5:-3], "big"), payload[-3], bool(payload[-1])
