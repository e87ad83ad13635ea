"""What passes between the server and a worker process, over a socket pair.

Each message is its length as four bytes, big-endian, and a msgpack array whose first item is the
message's number. Both ends run the same code of the same version, so nothing is negotiated.
"""

from collections.abc import Iterator

import msgspec

from server.core.frames import Codec, TrackName
from server.core.indicators import Indicator

#: The largest message taken: far above any frame, far below what hurts.
MAX_MESSAGE = 4 << 20
#: Size of the memory in which a worker notes the feed it works on; 0 between feeds.
DESK_BYTES = 8
_HEADER = 4


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """Messages are arrays: no field names on the wire."""


class Open(_Message, frozen=True, tag=1):
    """To a worker: frames of this feed follow; ``kept`` is what `Keep` last said of it."""

    feed: int
    kept: dict[str, bytes]


class Frame(_Message, frozen=True, tag=2):
    """To a worker: an encoded frame, in decoding order."""

    feed: int
    track: TrackName
    codec: Codec
    payload: bytes
    capture_s: float
    arrived_s: float
    keyframe: bool


class Close(_Message, frozen=True, tag=3):
    """To a worker: forget the feed."""

    feed: int


class Measured(_Message, frozen=True, tag=4):
    """From a worker: new values."""

    feed: int
    indicators: tuple[Indicator, ...]


class NeedKeyframe(_Message, frozen=True, tag=5):
    """From a worker: this feed's video cannot be decoded on from here; ``dropped`` frames lost."""

    feed: int
    dropped: int


class Keep(_Message, frozen=True, tag=7):
    """From a worker, once a second: what a successor needs to go on, by analyser."""

    feed: int
    kept: dict[str, bytes]


class Report(_Message, frozen=True, tag=6):
    """From a worker, once a second: that it lives, and what it has used since its start."""

    cpu_s: float
    decode_s: float
    audio_s: float
    video_s: float
    #: How late the latest windows were begun: zero when the worker keeps up.
    queue_delay_s: float
    undecodable: int


ToWorker = Open | Frame | Close
FromWorker = Measured | NeedKeyframe | Keep | Report

_encoder = msgspec.msgpack.Encoder()
to_worker = msgspec.msgpack.Decoder(ToWorker)
from_worker = msgspec.msgpack.Decoder(FromWorker)


class BrokenWire(ValueError):
    """The other end sent what no version of this code sends."""


def encode(message: ToWorker | FromWorker) -> bytes:
    body = _encoder.encode(message)
    return len(body).to_bytes(_HEADER, "big") + body


class Deframer:
    """Bytes in, whole message bodies out."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes; yield the messages now complete. Raises BrokenWire."""
        self._pending += data
        at = 0
        while len(self._pending) - at >= _HEADER:
            size = int.from_bytes(self._pending[at : at + _HEADER], "big")
            if size > MAX_MESSAGE:
                raise BrokenWire(f"message of {size} bytes")
            end = at + _HEADER + size
            if len(self._pending) < end:
                break
            yield bytes(self._pending[at + _HEADER : end])
            at = end
        del self._pending[:at]
