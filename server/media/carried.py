"""Packets that come inside others: retransmitted ones, and sound that is sent twice.

A `RetransmissionStream` has an SSRC of its own beside its up track's; a `RedundantStream` is
sound in another format. Each gives its up track plain packets, as if they had come by
themselves. Pure: time is an argument.
"""

from typing import Protocol

from server.core import red
from server.core.rtp import HEADER_LENGTH, pack_header, payload_span, unpack_header
from server.media.up_track import UpTrack

_VERSION = 0x80


class CarrierStream(Protocol):
    up: UpTrack

    def receive(self, packet: bytes, now: float) -> None:
        """Raises `ValueError` for a packet that is not whole."""
        ...


class RetransmissionStream:
    """Retransmissions of one up track (RFC 4588 4)."""

    def __init__(self, up: UpTrack) -> None:
        self.up = up

    def receive(self, packet: bytes, now: float) -> None:
        """Raises `ValueError` for a packet that is not whole."""
        _, second, _, timestamp, _ = unpack_header(packet)
        start, end = payload_span(packet)
        if start == end:
            return  # padding only: a bandwidth probe
        if end - start < 2:
            raise ValueError("retransmission without its original sequence number")
        original = int.from_bytes(packet[start : start + 2], "big")
        second = second & 0x80 | self.up.payload_type
        header = pack_header(packet[0], second, original, timestamp, self.up.ssrc)
        data = header + packet[HEADER_LENGTH:start] + packet[start + 2 :]
        self.up.receive_again(second, original, timestamp, data, now)


class RedundantStream:
    """Sound of one up track, each packet with some of those before it (RFC 2198)."""

    def __init__(self, up: UpTrack) -> None:
        self.up = up

    def receive(self, packet: bytes, now: float) -> None:
        """Raises `ValueError` for a packet that is not whole."""
        _, second, seqno, timestamp, _ = unpack_header(packet)
        start, end = payload_span(packet)
        if start == end:
            return
        payload, up = packet[start:end], self.up
        if not up.expects(seqno):  # else nothing it carries besides is missing
            *redundant, _ = red.split(payload)
            for back, block in zip(range(len(redundant), 0, -1), redundant, strict=True):
                self._take_missing(seqno - back & 0xFFFF, timestamp, block, now)
        payload_type, start = red.own_block(payload)
        # A tone is not our sound, but its number is no hole in it.
        sound = payload[start:] if payload_type == up.payload_type else b""
        second = second & 0x80 | up.payload_type
        header = pack_header(_VERSION, second, seqno, timestamp, up.ssrc)
        up.receive(second, seqno, timestamp, header + sound, now)

    def _take_missing(self, seqno: int, timestamp: int, block: red.Block, now: float) -> None:
        timestamp = timestamp - block.timestamp_offset & 0xFFFF_FFFF
        up = self.up
        if block.data and block.payload_type == up.payload_type and up.misses(seqno, timestamp):
            header = pack_header(_VERSION, up.payload_type, seqno, timestamp, up.ssrc)
            up.receive(up.payload_type, seqno, timestamp, header + block.data, now)
