"""Packets that come inside others: retransmitted ones, and sound that is sent twice.

A `RetransmissionStream` has an SSRC of its own beside its up track's; a `RedundantStream` is
sound in another format. Each gives its up track plain packets, as if they had come by
themselves, and takes what an up track takes. Pure: time is an argument.
"""

from server.core import red
from server.core.rtp import PacketError
from server.media.receiving.up_track import UpTrack


class RetransmissionStream:
    """Retransmissions of one up track (RFC 4588 4)."""

    def __init__(self, up: UpTrack) -> None:
        self.up = up

    def receive(
        self, marker: bool, seqno: int, timestamp: int, payload: bytes, now: float, packet: bytes
    ) -> None:
        """Raises `PacketError` for a packet that is not whole."""
        if not payload:
            return  # padding only: a bandwidth probe
        if len(payload) < 2:
            raise PacketError("retransmission without its original sequence number")
        original = payload[0] << 8 | payload[1]
        up, before = self.up, self.up.packets
        up.receive(marker, original, timestamp, payload[2:], now, packet)
        up.repaired += up.packets - before  # reports don't hide that it was lost


class RedundantStream:
    """Sound of one up track, each packet with some of those before it (RFC 2198)."""

    def __init__(self, up: UpTrack) -> None:
        self.up = up

    def receive(
        self, marker: bool, seqno: int, timestamp: int, payload: bytes, now: float, packet: bytes
    ) -> None:
        """Raises `PacketError` for a packet that is not whole."""
        if not payload:
            return
        up = self.up
        if not up.expects(seqno):  # else nothing it carries besides is missing
            *redundant, _ = red.split(payload)
            for back, block in zip(range(len(redundant), 0, -1), redundant, strict=True):
                self._take_missing(seqno - back & 0xFFFF, timestamp, block, now, packet)
        payload_type, start = red.own_block(payload)
        # A tone is not our sound, but its number is no hole in it.
        sound = payload[start:] if payload_type == up.payload_type else b""
        up.receive(marker, seqno, timestamp, sound, now, packet)

    def _take_missing(
        self, seqno: int, timestamp: int, block: red.Block, now: float, packet: bytes
    ) -> None:
        timestamp = timestamp - block.timestamp_offset & 0xFFFF_FFFF
        up = self.up
        if block.data and block.payload_type == up.payload_type and up.misses(seqno, timestamp):
            up.receive(False, seqno, timestamp, block.data, now, packet)
