"""RTCP compound packets: parsed into typed items, written from them (RFC 3550 6, 4585, 3611)."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from server.core import twcc
from server.core.twcc import TransportFeedback

SR, RR, SDES, BYE, RTPFB, PSFB, XR = 200, 201, 202, 203, 205, 206, 207
#: Seconds from 1900 (NTP) to 1970 (Unix), RFC 5905 6.
NTP_EPOCH_OFFSET = 2_208_988_800

_HEADER = struct.Struct("!BBH")
_SENDER_INFO = struct.Struct("!IIIIII")
_BLOCK = struct.Struct("!IIIIII")
_FEEDBACK = struct.Struct("!II")


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one stream (RFC 3550 6.4.1)."""

    ssrc: int
    fraction_lost: int  #: of 256, since the last report
    packets_lost: int  #: cumulative, signed 24 bits
    highest_seqno: int  #: extended
    jitter: int  #: in clock-rate units
    last_sr: int  #: middle 32 bits of the NTP time of the last sender report, 0: none
    delay_since_last_sr: int  #: in 1/65536 s


@dataclass(frozen=True, slots=True)
class SenderReport:
    ssrc: int
    ntp: int  #: 64-bit NTP timestamp
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class Goodbye:
    """A stream ends for now; its SSRC may come back (RFC 3550 6.6)."""

    ssrc: int


@dataclass(frozen=True, slots=True)
class Nack:
    """Sequence numbers asked for again (RFC 4585 6.2.1)."""

    sender_ssrc: int
    media_ssrc: int
    seqnos: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeyframeRequest:
    """A PLI, or one entry of an FIR (RFC 4585 6.3.1, RFC 5104 4.3.1)."""

    sender_ssrc: int
    media_ssrc: int


@dataclass(frozen=True, slots=True)
class ReceiverReferenceTime:
    """A receiver that sends nothing asks for the round trip (RFC 3611 4.4)."""

    ssrc: int
    ntp: int  #: 64-bit NTP timestamp


@dataclass(frozen=True, slots=True)
class DelaySinceLastRr:
    """The answer to our receiver reference time (RFC 3611 4.5)."""

    ssrc: int
    last_rr: int  #: middle 32 bits of the reference time
    delay: int  #: in 1/65536 s


@dataclass(frozen=True, slots=True)
class MaxBitrate:
    """REMB: what a receiver can take of these streams together."""

    sender_ssrc: int
    bitrate_bps: int
    ssrcs: tuple[int, ...]


Item = (
    SenderReport
    | ReceiverReport
    | Goodbye
    | Nack
    | KeyframeRequest
    | ReceiverReferenceTime
    | DelaySinceLastRr
    | MaxBitrate
    | TransportFeedback
)


def ntp_from_unix(unix_s: float) -> int:
    """A 64-bit NTP timestamp."""
    return int((unix_s + NTP_EPOCH_OFFSET) * (1 << 32)) & 0xFFFF_FFFF_FFFF_FFFF


def unix_from_ntp(ntp: int) -> float:
    return ntp / (1 << 32) - NTP_EPOCH_OFFSET


def ntp_middle(ntp: int) -> int:
    """The middle 32 bits, in 1/65536 s, as report blocks carry them (RFC 3550 6.4.1)."""
    return ntp >> 16 & 0xFFFF_FFFF


def round_trip_s(now_ntp: int, last: int, delay: int) -> float | None:
    """RFC 3550 6.4.1: A - LSR - DLSR; None when there is nothing to measure or it is absurd."""
    if last == 0:
        return None
    elapsed = (ntp_middle(now_ntp) - last - delay) & 0xFFFF_FFFF
    if elapsed >= 0x8000_0000:  # clocks rounded to a hair below zero
        return 0.0
    return elapsed / 65536


# ---- parsing ----------------------------------------------------------------------------


def is_transport_feedback(data: bytes) -> bool:
    """Whether a packet, encrypted or not, begins with it (RFC 3711 3.4: its header is in clear)."""
    return data[1] == RTPFB and data[0] & 0x1F == 15


def parse(data: bytes) -> list[Item]:
    """All items of a compound packet; types we have no use for are passed over.

    Raises `ValueError` for anything that is not whole RTCP packets end to end.
    """
    items: list[Item] = []
    pos = 0
    while pos < len(data):
        if len(data) < pos + 4:
            raise ValueError("RTCP packet is truncated")
        first, packet_type, words = _HEADER.unpack_from(data, pos)
        if first >> 6 != 2:
            raise ValueError("RTCP version is not 2")
        end = pos + 4 + 4 * words
        if end > len(data):
            raise ValueError("RTCP length exceeds the packet")
        body = data[pos + 4 : end]
        if first & 0x20:  # padding, allowed in the last packet only
            if end != len(data) or not body or not 0 < body[-1] <= len(body):
                raise ValueError("RTCP padding is invalid")
            body = body[: -body[-1]]
        try:
            items.extend(_parse_body(packet_type, first & 0x1F, body))
        except struct.error as error:
            raise ValueError("RTCP body is truncated") from error
        pos = end
    return items


def _parse_body(packet_type: int, count: int, body: bytes) -> Iterator[Item]:
    match packet_type:
        case 200:
            ssrc, high, low, rtp, packets, octets = _SENDER_INFO.unpack_from(body)
            blocks = _parse_blocks(body, 24, count)
            yield SenderReport(ssrc, high << 32 | low, rtp, packets, octets, blocks)
        case 201:
            (ssrc,) = struct.unpack_from("!I", body)
            yield ReceiverReport(ssrc, _parse_blocks(body, 4, count))
        case 203:
            yield from map(Goodbye, struct.unpack_from(f"!{count}I", body))
        case 205 if count == 1:
            sender, media = _FEEDBACK.unpack_from(body)
            yield Nack(sender, media, tuple(_parse_nack(body[8:])))
        case 205 if count == 15:
            yield twcc.parse(body)
        case 206 if count == 1:
            yield KeyframeRequest(*_FEEDBACK.unpack_from(body))
        case 206 if count == 4:
            sender, _ = _FEEDBACK.unpack_from(body)
            for media, _ in struct.iter_unpack("!II", body[8:]):
                yield KeyframeRequest(sender, media)
        case 206 if count == 15 and body[8:12] == b"REMB":
            yield _parse_max_bitrate(body)
        case 207:
            yield from _parse_extended(body)


def _parse_blocks(body: bytes, pos: int, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for index in range(count):
        ssrc, loss, highest, jitter, last, delay = _BLOCK.unpack_from(body, pos + 24 * index)
        lost = loss & 0xFF_FFFF
        if lost & 0x80_0000:
            lost -= 1 << 24
        blocks.append(ReportBlock(ssrc, loss >> 24, lost, highest, jitter, last, delay))
    return tuple(blocks)


def _parse_nack(fci: bytes) -> Iterator[int]:
    for pid, mask in struct.iter_unpack("!HH", fci):
        yield pid
        for bit in range(16):
            if mask >> bit & 1:
                yield (pid + bit + 1) & 0xFFFF


def _parse_max_bitrate(body: bytes) -> MaxBitrate:
    """draft-alvestrand-rmcat-remb-03 2.2: 6 bits of exponent, 18 of mantissa."""
    sender, _, _, value = struct.unpack_from("!IIII", body)
    ssrcs = struct.unpack_from(f"!{value >> 24}I", body, 16)
    return MaxBitrate(sender, (value & 0x3FFFF) << (value >> 18 & 0x3F), ssrcs)


def _parse_extended(body: bytes) -> Iterator[ReceiverReferenceTime | DelaySinceLastRr]:
    (ssrc,) = struct.unpack_from("!I", body)
    pos = 4
    while pos + 4 <= len(body):
        block_type, _, words = _HEADER.unpack_from(body, pos)
        block = body[pos + 4 : pos + 4 + 4 * words]
        if len(block) < 4 * words:
            raise ValueError("RTCP report block is truncated")
        if block_type == 4:
            yield ReceiverReferenceTime(ssrc, *struct.unpack_from("!Q", block))
        elif block_type == 5:
            for entry in struct.iter_unpack("!III", block):
                yield DelaySinceLastRr(*entry)
        pos += 4 + 4 * words


# ---- writing ----------------------------------------------------------------------------


def _packet(packet_type: int, count: int, body: bytes) -> bytes:
    return _HEADER.pack(0x80 | count, packet_type, len(body) // 4) + body


def _write_block(block: ReportBlock) -> bytes:
    loss = block.fraction_lost << 24 | block.packets_lost & 0xFF_FFFF
    return _BLOCK.pack(
        block.ssrc,
        loss,
        block.highest_seqno & 0xFFFF_FFFF,
        block.jitter,
        block.last_sr,
        block.delay_since_last_sr,
    )


def sender_report(report: SenderReport) -> bytes:
    info = _SENDER_INFO.pack(
        report.ssrc,
        report.ntp >> 32,
        report.ntp & 0xFFFF_FFFF,
        report.rtp_timestamp & 0xFFFF_FFFF,
        report.packets & 0xFFFF_FFFF,
        report.octets & 0xFFFF_FFFF,
    )
    return _packet(SR, len(report.blocks), info + b"".join(map(_write_block, report.blocks)))


def receiver_report(report: ReceiverReport) -> bytes:
    body = struct.pack("!I", report.ssrc) + b"".join(map(_write_block, report.blocks))
    return _packet(RR, len(report.blocks), body)


def source_description(ssrc: int, cname: str) -> bytes:
    """One SDES chunk with its CNAME (RFC 3550 6.5)."""
    name = cname.encode()
    item = struct.pack("!IBB", ssrc, 1, len(name)) + name
    return _packet(SDES, 1, item + bytes(4 - len(item) % 4))


def nack(sender_ssrc: int, media_ssrc: int, seqnos: Iterable[int]) -> bytes:
    """A generic NACK; `seqnos` in ascending order (RFC 4585 6.2.1)."""
    entries: list[list[int]] = []
    for seqno in seqnos:
        offset = (seqno - entries[-1][0]) & 0xFFFF if entries else 17
        if 1 <= offset <= 16:
            entries[-1][1] |= 1 << (offset - 1)
        else:
            entries.append([seqno & 0xFFFF, 0])
    fci = b"".join(struct.pack("!HH", *entry) for entry in entries)
    return _packet(RTPFB, 1, _FEEDBACK.pack(sender_ssrc, media_ssrc) + fci)


def picture_loss_indication(sender_ssrc: int, media_ssrc: int) -> bytes:
    return _packet(PSFB, 1, _FEEDBACK.pack(sender_ssrc, media_ssrc))


def receiver_reference_time(ssrc: int, ntp: int) -> bytes:
    """Asks a pure sender for the round trip (RFC 3611 4.4)."""
    return _packet(XR, 0, struct.pack("!IBBHQ", ssrc, 4, 0, 2, ntp))


def delay_since_last_rr(ssrc: int, answer: DelaySinceLastRr) -> bytes:
    """`ssrc` answers the reference time of `answer.ssrc` (RFC 3611 4.5)."""
    block = struct.pack("!BBHIII", 5, 0, 3, answer.ssrc, answer.last_rr, answer.delay)
    return _packet(XR, 0, struct.pack("!I", ssrc) + block)


def receiver_estimated_max_bitrate(sender_ssrc: int, bitrate_bps: int, ssrcs: list[int]) -> bytes:
    """REMB (draft-alvestrand-rmcat-remb-03 2.2)."""
    exponent = max(0, bitrate_bps.bit_length() - 18)
    value = len(ssrcs) << 24 | exponent << 18 | bitrate_bps >> exponent
    fci = b"REMB" + struct.pack(f"!I{len(ssrcs)}I", value, *ssrcs)
    return _packet(PSFB, 15, _FEEDBACK.pack(sender_ssrc, 0) + fci)


def transport_feedback(feedback: TransportFeedback) -> bytes:
    """Raises `ValueError` for what takes two (`server.core.twcc.write`)."""
    return _packet(RTPFB, 15, twcc.write(feedback))
