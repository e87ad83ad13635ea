"""Packets in a stream: each behind its length in two bytes (RFC 4571 2). No I/O."""

#: The longest packet that WebRTC sends fits an Ethernet frame; a longer one is another protocol.
MAX_FRAME = 2048
_LENGTH = 2


class FrameTooLong(ValueError):
    """What comes is not for us: there is no way to find the next frame in it."""


def frame(packet: bytes) -> bytes:
    return len(packet).to_bytes(_LENGTH, "big") + packet


class Deframer:
    """Call `feed` with whatever arrives; it holds back less than one frame."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that are whole by now, in order; empty ones are left out (keepalives).

        Raises `FrameTooLong`, after which the stream is of no more use.
        """
        data = self._rest + data
        packets: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= _LENGTH:
            start = at + _LENGTH
            length = int.from_bytes(data[at:start], "big")
            if length > MAX_FRAME:
                raise FrameTooLong(f"a frame of {length} bytes")
            if end - start < length:
                break
            at = start + length
            if length:
                packets.append(data[start:at])
        self._rest = data[at:]
        return packets
