"""What a process that encodes pictures anew is told, and what it answers: no decoder is here.

Each message is its length in four bytes, then msgpack. The process is given the pictures of one
track of one segment, a fragment after the other, and answers once, at their `End`.
"""

import struct
from typing import BinaryIO

import msgspec

from server.core.frames import TrackName
from server.recorder.format.tracks import VideoConfig

_LENGTH = struct.Struct(">I")
#: A fragment's pictures, or what became of a segment's: a minute of the best cameras is a tenth.
MAX_MESSAGE = 512 << 20


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Encode what follows in this size, with this constant rate factor."""

    track: TrackName
    width: int
    height: int
    crf: int
    thorough: bool  #: twice as slow, for a tenth fewer bytes where pictures are noisy
    anew: bool  #: what follows does not follow on this track's last pictures


class Pictures(msgspec.Struct, frozen=True, tag="pictures"):
    """A fragment's, in order, as they were recorded."""

    video: VideoConfig
    data: tuple[bytes, ...]
    shown: bool  #: else they are only what the later ones build on
    keyframe: bool  #: the first that can be seen is to be one


class End(msgspec.Struct, frozen=True, tag="end"):
    """There are no more: answer."""


class Coded(msgspec.Struct, frozen=True):
    """What became of a shown picture; those that come before anything could be seen have none."""

    index: int  #: among all that were to be shown
    keyframe: bool
    data: bytes


class Quality(msgspec.Struct, frozen=True):
    """How near some pictures come to their source."""

    vmaf: float  #: as far as can be told (`server.recorder.compression.vmaf`)
    xpsnr_db: float  #: of the luma


class Made(msgspec.Struct, frozen=True, tag="made"):
    pictures: tuple[Coded, ...]  #: in order
    quality: tuple[Quality, ...]  #: of each fragment that has any


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The encoder does not take these pictures."""

    reason: str


Told = Begin | Pictures | End
Answer = Made | Refused
told = msgspec.msgpack.Decoder(Told)
answer = msgspec.msgpack.Decoder(Answer)


def write(pipe: BinaryIO, message: Told | Answer) -> None:
    """OSError."""
    data = msgspec.msgpack.encode(message)
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def read(pipe: BinaryIO) -> bytes:
    """The next message's bytes. EOFError at the end, or where it is longer than any; OSError."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError("the pipe is closed")
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length) if length <= MAX_MESSAGE else b""
    if len(data) < length:
        raise EOFError("the message is cut off, or longer than any")
    return data
