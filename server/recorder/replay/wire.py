"""What passes between the server and the process that reads recordings for replay.

Over a pipe each way. A message is two lengths of four bytes each, big-endian, then what they are
of: a msgpack array whose first item is the message's name, and bytes as they are, which only an
`Answer` has. Both ends run the same code of the same version, so nothing is negotiated.
"""

import enum
import struct
from typing import Protocol

import msgspec

from server.recorder.format.sealing import SegmentError
from server.recorder.keys.root_key import KeyProblem
from server.recorder.replay.hls import NotForHls
from server.recorder.replay.index import Side

LENGTHS = struct.Struct(">II")


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """Messages are arrays: no field names on the wire."""


class Place(_Message, frozen=True):
    """Where a recording is, and what opens it: of keys its own, and no other."""

    folder: str
    store: str  #: where closed segments may be (`open_store`); empty: nowhere
    keys: str  #: the folder of the key database: what has been destroyed there is used no more
    key: bytes
    public_key: tuple[str, ...]  #: hex, the newest last


# ---- what is asked of a recording -------------------------------------------------------


class Index(_Message, frozen=True, tag="index"):
    """What a player needs to know, as JSON."""

    after: int  #: only of the fragments that follow this one
    zipped: bool


class Pictures(_Message, frozen=True, tag="pictures"):
    """When those of the fragment begin, as JSON."""

    seq: int


class Init(_Message, frozen=True, tag="init"):
    side: Side
    number: int


class Media(_Message, frozen=True, tag="media"):
    """Fragments in a row."""

    side: Side
    first: int
    last: int


class Multivariant(_Message, frozen=True, tag="multivariant"):
    """This one and those below are of HTTP Live Streaming."""

    side: Side


class Playlist(_Message, frozen=True, tag="playlist"):
    side: Side
    event: bool


class StreamInit(_Message, frozen=True, tag="stream-init"):
    side: Side
    number: int
    event: bool


class StreamSegment(_Message, frozen=True, tag="stream-segment"):
    side: Side
    first: int
    last: int
    event: bool


Asked = Index | Pictures | Init | Media | Multivariant | Playlist | StreamInit | StreamSegment


# ---- to the process ---------------------------------------------------------------------


class Read(_Message, frozen=True, tag="read"):
    """Answered by an `Answer` or `Failed` with the same number, in any order."""

    number: int
    place: Place
    asked: Asked


class Forget(_Message, frozen=True, tag="forget"):
    """The recording in that folder, and its key."""

    folder: str


class Signer(_Message, frozen=True, tag="signer"):
    """Who signs for C2PA; answers `WhoSigns`."""

    number: int
    algorithm: str
    chain: bytes  #: in PEM


class Signature(_Message, frozen=True, tag="signature"):
    """Answers `Sign`."""

    number: int
    signature: bytes


class NotSigned(_Message, frozen=True, tag="not-signed"):
    """Answers either of them."""

    number: int
    reason: str


# ---- from the process -------------------------------------------------------------------


class Answer(_Message, frozen=True, tag="answer"):
    """The bytes that follow are what was asked for."""

    number: int
    seen_s: tuple[tuple[float, float], ...] = ()  #: the seconds of the recording in them


class Fault(enum.StrEnum):
    """Why something is not read."""

    NO_RECORDING = "no-recording"
    NO_PART = "no-part"
    NOT_FOR_HLS = "not-for-hls"
    LOCKED = "locked"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    UNFORESEEN = "unforeseen"  #: ours


class Failed(_Message, frozen=True, tag="failed"):
    number: int
    fault: Fault
    reason: str  #: for the log; it names no path


class WhoSigns(_Message, frozen=True, tag="who-signs"):
    number: int


class Sign(_Message, frozen=True, tag="sign"):
    number: int
    data: bytes


ToReader = Read | Forget | Signer | Signature | NotSigned
FromReader = Answer | Failed | WhoSigns | Sign


class File(Protocol):
    """Both wait for all that is asked for; there is less at the end only."""

    def read(self, size: int, /) -> bytes: ...

    def readinto(self, into: bytearray, /) -> int: ...


_encoder = msgspec.msgpack.Encoder()
to_reader = msgspec.msgpack.Decoder(ToReader)
from_reader = msgspec.msgpack.Decoder(FromReader)


def encode(message: ToReader | FromReader, body: bytes = b"") -> tuple[bytes, bytes]:
    """What is to be sent, one after the other."""
    head = _encoder.encode(message)
    return LENGTHS.pack(len(head), len(body)) + head, body


def read(file: File) -> tuple[bytes, bytearray] | None:
    """The next message and its body, both whole; None at the end. Blocks."""
    head_size, body_size = LENGTHS.unpack(file.read(LENGTHS.size).ljust(LENGTHS.size, b"\0"))
    head, body = file.read(head_size), bytearray(body_size)
    if not head or len(head) < head_size or file.readinto(body) < body_size:
        return None
    return head, body


def fault_of(error: Exception) -> tuple[Fault, str]:
    """Of what a reader of recordings raised; and what is logged of it."""
    match error:
        case IndexError():
            return Fault.NO_PART, ""
        case NotForHls():
            return Fault.NOT_FOR_HLS, ""
        case KeyProblem():
            return Fault.LOCKED, str(error)
        case SegmentError():
            return Fault.DAMAGED, str(error)
        case OSError():
            return Fault.UNREADABLE, error.strerror or type(error).__name__
        case KeyError() | ValueError():  # an id that is no file name
            return Fault.NO_RECORDING, ""
        case _:
            return Fault.UNFORESEEN, repr(error)
