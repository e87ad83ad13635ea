"""Janus's recordings: a file for each track, of RTP packets as they came. Pure.

https://janus.conf.meetecho.com/docs/recordings.html: `MJR00002`, then a description in JSON;
then of each packet `MEET`, the time in four bytes, and the packet; lengths in two bytes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from loadtest.packets import starts_frame
from loadtest.stamp import find_stamp
from server.core import rtp

_MAGIC, _PACKET = b"MJR00002", b"MEET"
_LENGTH_AT = 8


class MjrError(ValueError):
    """Not a recording of Janus; the text says why."""


def packets(data: bytes) -> Iterator[bytes]:
    """All packets; one that is cut off at the end is left out. Raises MjrError."""
    if data[: len(_MAGIC)] != _MAGIC:
        raise MjrError(f"it begins with {data[:8]!r}")
    at = 0
    while at + _LENGTH_AT + 2 <= len(data):
        begin = at + _LENGTH_AT + 2
        end = begin + int.from_bytes(data[begin - 2 : begin], "big")
        if at and data[at : at + 4] != _PACKET:
            raise MjrError(f"no packet at byte {at}")
        if at and end <= len(data):
            yield data[begin:end]
        at = end


def whole_frames(codec: str, recorded: Iterable[bytes]) -> dict[int, bytes]:
    """Of each frame of which every packet is there: the first payload, by the stamp's number."""
    by_timestamp: dict[int, dict[int, bytes]] = defaultdict(dict)
    for packet in recorded:
        if len(packet) >= rtp.HEADER_LENGTH:
            _, _, seqno, timestamp, _ = rtp.unpack_header(packet)
            by_timestamp[timestamp][seqno] = packet
    found = (_whole(codec, of_frame) for of_frame in by_timestamp.values())
    return dict(each for each in found if each is not None)


def _whole(codec: str, of_frame: dict[int, bytes]) -> tuple[int, bytes] | None:
    """The number and the first payload, if all is there up to the marker."""
    some = next(iter(of_frame))
    seqnos = sorted(of_frame, key=lambda seqno: (seqno - some + (1 << 15)) & 0xFFFF)
    try:
        payloads = [of_frame[seqno][slice(*rtp.payload_span(of_frame[seqno]))] for seqno in seqnos]
    except ValueError:
        return None
    rows = (seqnos[-1] - seqnos[0]) & 0xFFFF == len(seqnos) - 1
    ended = codec == "opus" or of_frame[seqnos[-1]][1] & 0x80
    if not rows or not ended or not payloads[0] or not starts_frame(codec, payloads[0]):
        return None
    stamps = filter(None, map(find_stamp, payloads))
    return next(((stamp.frame, payloads[0]) for stamp in stamps), None)
