"""Redundant audio: one packet that carries earlier ones again (RFC 2198). Pure."""

from typing import NamedTuple

from server.core.rtp import PacketError


class Block(NamedTuple):
    payload_type: int
    timestamp_offset: int  #: how much earlier than the packet it was sampled, in clock units
    data: bytes


def split(payload: bytes) -> list[Block]:
    """All blocks, the oldest first; the last one is the packet's own, with an offset of zero.

    Raises `PacketError` when the payload is shorter than its headers say.
    """
    headers: list[tuple[int, int, int]] = []
    at = 0
    # RFC 2198 3: F, 7 bits of payload type, 14 of timestamp offset, 10 of length.
    while at < len(payload) and payload[at] & 0x80:
        if at + 4 > len(payload):
            raise PacketError("RED block header is truncated")
        word = int.from_bytes(payload[at : at + 4], "big")
        headers.append((word >> 24 & 0x7F, word >> 10 & 0x3FFF, word & 0x3FF))
        at += 4
    if at == len(payload):
        raise PacketError("RED payload has no primary block")
    primary_type = payload[at]
    at += 1
    blocks = []
    for payload_type, offset, length in headers:
        blocks.append(Block(payload_type, offset, payload[at : at + length]))
        at += length
    if at > len(payload):
        raise PacketError("RED block is truncated")
    return [*blocks, Block(primary_type, 0, payload[at:])]


def own_block(payload: bytes) -> tuple[int, int]:
    """The payload type and the start of the packet's own block, whatever it carries besides.

    Raises `PacketError` when the payload is shorter than its headers say.
    """
    at = start = 0
    try:
        while payload[at] & 0x80:
            start += (payload[at + 2] & 0x03) << 8 | payload[at + 3]
            at += 4
        payload_type = payload[at]
    except IndexError as error:
        raise PacketError("RED payload has no primary block") from error
    start += at + 1
    if start > len(payload):
        raise PacketError("RED block is truncated")
    return payload_type, start


def join(primary: Block, redundant: list[Block]) -> bytes:
    """The payload of a packet that carries `redundant`, the oldest first, beside its own.

    Raises `ValueError` for what has no room in a header: an offset of 2^14, a length of 2^10.
    """
    headers = b""
    for payload_type, offset, data in redundant:
        if offset >> 14 or len(data) >> 10:
            raise ValueError("no block of RED: too old or too long")
        word = 1 << 31 | payload_type << 24 | offset << 10 | len(data)
        headers += word.to_bytes(4, "big")
    return (
        headers
        + bytes((primary.payload_type,))
        + b"".join(each.data for each in (*redundant, primary))
    )
