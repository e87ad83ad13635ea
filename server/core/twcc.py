"""Transport-wide congestion control feedback: when each packet of a connection arrived.

What stands in an RTPFB packet of format 15, written and read
(draft-holmer-rmcat-transport-wide-cc-extensions-01 3.1); `server.core.rtcp` has its header.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import sub

#: The RTP header extension that carries a packet's number: 16 bits, one for all streams (2).
EXTENSION = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
#: Of arrivals (3.1.5).
TICK_S = 250e-6
#: Of one feedback: ten seconds of an interview, where a receiver tells every 50 to 250 ms. More is
#: an attack, as a run of two octets becomes up to 8191 values.
MAX_PACKETS = 2048

_FIXED = struct.Struct("!IIHHI")
_REFERENCE_BITS = 8  # 64 ms in ticks
_ABSENT, _SMALL, _LARGE, _RESERVED = range(4)  # 3.1.1; octets of a delta, but for the last


@dataclass(frozen=True, slots=True)
class TransportFeedback:
    """When packets of consecutive numbers arrived, by the receiver's clock."""

    sender_ssrc: int
    media_ssrc: int
    number: int  #: of this feedback, 8 bits: a hole between two of them is lost feedback
    base_seqno: int  #: of the first packet, 16 bits
    arrivals: tuple[int | None, ...]  #: in ticks, 32 bits that wrap; None: it has not come


# ---- writing ----------------------------------------------------------------------------


def write(feedback: TransportFeedback) -> bytes:
    """The body of the RTCP packet, a multiple of four octets.

    Raises `ValueError` where two arrivals that follow each other are 8.192 s or more apart, or
    there are more than MAX_PACKETS: that takes two feedbacks.
    """
    arrivals = feedback.arrivals
    count = len(arrivals)
    if count > MAX_PACKETS:
        raise ValueError(f"feedback for more than {MAX_PACKETS} packets")
    reference = next((each for each in arrivals if each is not None), 0) >> _REFERENCE_BITS
    start = reference << _REFERENCE_BITS
    try:  # nearly always: all came, one soon after the other
        deltas = bytes(map(sub, arrivals, (start, *arrivals)))
        chunks = [_SMALL << 13 | count] if count else []
    except (TypeError, ValueError):
        symbols, deltas = _deltas(arrivals, start)
        chunks = list(_chunks(symbols))
    fixed = _FIXED.pack(
        feedback.sender_ssrc,
        feedback.media_ssrc,
        feedback.base_seqno,
        count,
        reference << 8 | feedback.number,
    )
    body = fixed + struct.pack(f"!{len(chunks)}H", *chunks) + deltas
    return body + bytes(-len(body) % 4)


def _deltas(arrivals: Sequence[int | None], last: int) -> tuple[bytes, bytes]:
    """A symbol for each packet, and the time of each that came after the one before (3.1.5)."""
    symbols, deltas = bytearray(), bytearray()
    for arrival in arrivals:
        if arrival is None:
            symbols.append(_ABSENT)
            continue
        delta = ((arrival - last + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
        last = arrival
        if 0 <= delta <= 0xFF:
            symbols.append(_SMALL)
            deltas.append(delta)
        elif -0x8000 <= delta <= 0x7FFF:
            symbols.append(_LARGE)
            deltas += delta.to_bytes(2, "big", signed=True)
        else:
            raise ValueError("arrivals are too far apart for one feedback")
    return bytes(symbols), bytes(deltas)


def _chunks(symbols: bytes) -> Iterator[int]:
    """Of each next stretch the chunk that tells of the most packets."""
    at = 0
    while at < len(symbols):
        rest = symbols[at : at + MAX_PACKETS]
        run = len(rest) - len(rest.lstrip(rest[:1]))
        narrow, wide = rest[:14], rest[:7]
        if run == len(rest) or run >= (7 if _LARGE in narrow else 14):
            yield rest[0] << 13 | run
            at += run
        elif _LARGE in narrow:
            yield 0xC000 | _joined(wide.ljust(7, b"\0"), 2)
            at += 7
        else:
            yield 0x8000 | _joined(narrow.ljust(14, b"\0"), 1)
            at += 14


def _joined(symbols: bytes, bits: int) -> int:
    value = 0
    for each in symbols:
        value = value << bits | each
    return value


# ---- reading ----------------------------------------------------------------------------


def parse(body: bytes) -> TransportFeedback:
    """What `write` wrote. Raises `ValueError` for what is not whole, or has too many packets."""
    if len(body) < _FIXED.size:
        raise ValueError("transport feedback is truncated")
    sender, media, base, count, reference = _FIXED.unpack_from(body)
    if count > MAX_PACKETS:
        raise ValueError(f"transport feedback for more than {MAX_PACKETS} packets")
    symbols, at = _symbols(body, count)
    # Reference times count 64 ms in 24 bits: in ticks, 32 bits.
    arrivals = _arrivals(symbols, body[at:], reference >> 8 << _REFERENCE_BITS)
    return TransportFeedback(sender, media, reference & 0xFF, base, arrivals)


def _symbols(body: bytes, count: int) -> tuple[list[int], int]:
    """A symbol for each of `count` packets, and where the deltas begin."""
    symbols: list[int] = []
    at = _FIXED.size
    while len(symbols) < count:
        if len(body) < at + 2:
            raise ValueError("transport feedback lacks a status")
        chunk = body[at] << 8 | body[at + 1]
        at += 2
        if chunk < 0x8000:  # 3.1.3: a run
            if not chunk & 0x1FFF:
                raise ValueError("transport feedback has an empty run")
            symbols += [chunk >> 13] * (chunk & 0x1FFF)
        elif chunk < 0xC000:  # 3.1.4: fourteen symbols of one bit
            symbols += [chunk >> shift & 1 for shift in range(13, -1, -1)]
        else:  # seven of two
            symbols += [chunk >> shift & 3 for shift in range(12, -1, -2)]
    return symbols[:count], at


def _arrivals(symbols: list[int], deltas: bytes, now: int) -> tuple[int | None, ...]:
    if _RESERVED in symbols:
        raise ValueError("transport feedback has a status without a meaning")
    if len(deltas) < sum(symbols):
        raise ValueError("transport feedback lacks a delta")
    count = len(symbols)
    if symbols.count(_SMALL) == count:  # nearly always: all came, one soon after the other
        return tuple(each & 0xFFFF_FFFF for each in accumulate(deltas[:count], initial=now))[1:]
    arrivals: list[int | None] = []
    at = 0
    for symbol in symbols:
        if symbol == _ABSENT:
            arrivals.append(None)
            continue
        delta = int.from_bytes(deltas[at : at + symbol], "big", signed=symbol == _LARGE)
        now = (now + delta) & 0xFFFF_FFFF
        arrivals.append(now)
        at += symbol
    return tuple(arrivals)
