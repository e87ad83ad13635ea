"""Between an up track and a down track that gets less than all of it, or another layer than before.

Whole pictures of higher temporal layers are left out, and of VP9's and AV1's pictures their frames
of higher spatial layers. What is left is numbered as if there were nothing else: sequence numbers,
so that the observer asks for nothing that will not come, and the pictures of VP8, which are
believed to be missing where their numbers are. Where no picture was left out, and none was sent
before of another layer, a down track has no thinner.
"""

from bisect import bisect_right, insort
from typing import NamedTuple

from server.core.frames import Codec
from server.core.rtp import Unwrapper
from server.media.forwarding import descriptor
from server.media.receiving.assembler import Packet
from server.media.receiving.up_track import PacketSink, UpTrack

#: The highest number of a temporal layer, and of a spatial one (RFC 9628 4.2, AV1 5.3.3).
ALL_LAYERS = 7
#: In the place of a picture's highest spatial layer: it is left out.
_NO_LAYER = -1
#: Numbers left out that are remembered one by one: as far back as packets are repaired.
REMEMBERED = 4096
#: Pictures of which it is remembered whether they were left out.
PICTURES = 64

#: Marker and payload of a packet that has a number, and no part in a picture.
_NOTHING = False, b""


class Part(NamedTuple):
    """Of a stream: its layers up to these."""

    temporal_id: int = ALL_LAYERS
    spatial_id: int = ALL_LAYERS

    def contains(self, other: "Part") -> bool:
        return other.temporal_id <= self.temporal_id and other.spatial_id <= self.spatial_id


WHOLE = Part()


class Removed:
    """Numbers taken out of a growing sequence, of which the rest is numbered without holes."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._forgotten = 0

    def __bool__(self) -> bool:
        return bool(self._numbers or self._forgotten)

    def add(self, number: int) -> None:
        insort(self._numbers, number)
        if len(self._numbers) > 2 * REMEMBERED:
            del self._numbers[:REMEMBERED]
            self._forgotten += REMEMBERED

    def up_to(self, number: int) -> int:
        """How many there are up to this one."""
        numbers = self._numbers
        if not numbers or number >= numbers[-1]:
            return self._forgotten + len(numbers)
        return self._forgotten + bisect_right(numbers, number)

    def original(self, renumbered: int) -> int:
        """The number that became this one."""
        number = renumbered + self._forgotten
        while (again := renumbered + self.up_to(number)) != number:
            number = again
        return number


class Shift(NamedTuple):
    """Added to the numbers of pictures, so that those of another layer go on."""

    picture_id: int = 0
    tl0: int = 0


class Thinner:
    """A `PacketSink`, in the place of `down` among those who follow `up`.

    `begun`: the timestamp up to which all has been sent already.
    """

    def __init__(
        self,
        down: PacketSink,
        up: UpTrack,
        begun: int,
        shift: Shift = Shift(),  # noqa: B008
    ) -> None:
        self._down = down
        self._up = up
        self._begun = self._newest = begun  # timestamps
        self._shift = shift
        self._read = descriptor.READERS[up.codec]
        self._most = self._through = WHOLE  # asked for, and let through now
        self._kept: dict[int, int] = {}  # by timestamp: the highest spatial layer that is sent
        self._highest = -1
        self._removed = Removed()
        self._picture_ids: Unwrapper | None = None
        self._removed_pictures = Removed()  # of VP8

    def limit(self, part: Part) -> None:
        """What to send: less from the next picture on, more where it is possible."""
        self._begun = max(self._begun, self._newest)
        self._most = part
        temporal_id = min(self._through.temporal_id, part.temporal_id)
        self._through = Part(temporal_id, min(self._through.spatial_id, part.spatial_id))

    @property
    def waiting(self) -> bool:
        """For a keyframe, also where higher spatial layers are to come: they begin at none other.

        Of another picture it is not known before its lower layers have been sent whether the next
        one needs pictures that were not.
        """
        return self._through.spatial_id < self._most.spatial_id or self._down.waiting

    def forward(self, seqno: int, timestamp: int, marker: bool, payload: bytes, now: float) -> None:
        late = seqno < self._highest
        if not late:
            self._highest, self._newest = seqno, timestamp
        through = self._through_of(seqno, timestamp, payload, late=late)
        kept = self._as_sent(through, seqno, marker, payload)
        if kept is None:
            if not late:
                self._removed.add(seqno)
                return
            # Its number is taken: it was not known yet that its picture would be left out.
            kept = _NOTHING
        self._down.forward(seqno - self._removed.up_to(seqno), timestamp, *kept, now)

    def packet(self, renumbered: int) -> Packet | None:
        """What was sent by that number, as it was sent but for the number, if it is still kept."""
        seqno = self._removed.original(renumbered)
        found = self._up.packet(seqno)
        if found is None:
            return None
        _, timestamp, marker, payload = found
        through = self._kept.get(timestamp, ALL_LAYERS)
        return seqno, timestamp, *(self._as_sent(through, seqno, marker, payload) or _NOTHING)

    # ---- pictures

    def _as_sent(
        self, through: int, seqno: int, marker: bool, payload: bytes
    ) -> tuple[bool, bytes] | None:
        """Of a picture of which so many spatial layers are sent; None: it is not."""
        if through == _NO_LAYER:
            return None
        found = place_of(self._up, seqno, payload) if through < ALL_LAYERS else None
        if found is not None:
            if found.spatial_id > through:
                return None
            # RFC 9628 4.2, AV1 RTP 4.2: the marker is at the picture's end, that of its last layer.
            marker = marker or (found.ends and found.spatial_id == through)
        if self._shift != (0, 0) or self._removed_pictures:
            payload = self._renumbered(payload)
        return marker, payload

    def _through_of(self, seqno: int, timestamp: int, payload: bytes, *, late: bool) -> int:
        """The highest spatial layer to send of the picture."""
        through = self._kept.get(timestamp)
        if through is None:
            if timestamp <= self._begun or self._through == WHOLE:
                return ALL_LAYERS
            through = self._kept[timestamp] = self._decide(seqno, payload, late=late)
            if len(self._kept) > PICTURES:
                del self._kept[next(iter(self._kept))]
        return through

    def _decide(self, seqno: int, payload: bytes, *, late: bool) -> int:
        if self._through != self._most and self._up.assembler.starts_keyframe(payload):
            self._through = self._most
        found = place_of(self._up, seqno, payload)
        if found is None:
            return self._through.spatial_id
        if found.switch:
            self._let_through_more(found)
        if found.temporal_id <= self._through.temporal_id:
            return self._through.spatial_id
        # Those after a late one have their numbers already.
        if not late and self._up.codec is Codec.VP8 and found.picture_id is not None:
            self._removed_pictures.add(self._extended(found.picture_id, found.picture_id_bits))
        return _NO_LAYER

    def _let_through_more(self, found: descriptor.Descriptor) -> None:
        """Of the temporal layers, as this picture needs none of those that were left out."""
        most, (through, spatial_id) = self._most.temporal_id, self._through
        if through >= most:
            return
        if self._up.codec not in (Codec.VP8, Codec.VP9):
            self._through = Part(most, spatial_id)
        elif found.temporal_id == through + 1:  # these tell it of their own layer
            self._through = Part(through + 1, spatial_id)

    def _extended(self, picture_id: int, bits: int) -> int:
        if self._picture_ids is None:
            self._picture_ids = Unwrapper(bits)
        return self._picture_ids.unwrap(picture_id)

    def _renumbered(self, payload: bytes) -> bytes:
        found = self._read(payload)
        if found is None:
            return payload
        picture_id, tl0 = found.picture_id, found.tl0
        if picture_id is not None:
            extended = self._extended(picture_id, found.picture_id_bits)
            picture_id = extended - self._removed_pictures.up_to(extended) + self._shift.picture_id
        if tl0 is not None:
            tl0 += self._shift.tl0
        return descriptor.write(payload, found, picture_id, tl0)


def place_of(up: UpTrack, seqno: int, payload: bytes) -> descriptor.Descriptor | None:
    """Where the picture of a packet that is kept stands among others, as far as it tells."""
    place = up.place(seqno)
    if place is not None:
        temporal_id, spatial_id, ends = place
        switch = not temporal_id
        return descriptor.Descriptor(temporal_id, switch, spatial_id=spatial_id, ends=ends)
    return descriptor.READERS[up.codec](payload) if payload else None


def shift_between(codec: Codec, before: bytes, after: bytes) -> Shift:
    """What the pictures that begin with `after` are moved by, to follow on those of `before`."""
    if codec not in (Codec.VP8, Codec.VP9):
        return Shift()
    read = descriptor.READERS[codec]
    last, first = read(before), read(after)
    if last is None or first is None:
        return Shift()
    picture_id = tl0 = 0
    if last.picture_id is not None and first.picture_id is not None:
        picture_id = last.picture_id + 1 - first.picture_id
    if last.tl0 is not None and first.tl0 is not None:
        tl0 = last.tl0 + 1 - first.tl0
    return Shift(picture_id, tl0)
