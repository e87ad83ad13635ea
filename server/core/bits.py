"""Reads headers bit by bit, as the codecs' specifications write them."""


class Bits:
    """The bits of ``data``, most significant first; past the end it raises ``error``."""

    def __init__(self, data: bytes, error: type[ValueError]) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8
        self._error = error

    def u(self, count: int) -> int:
        """``count`` bits as an unsigned number: u(n) of H.264, f(n) of VP9 and AV1."""
        if count > self._left:
            raise self._error("header ends early")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def ue(self) -> int:
        """Exp-Golomb (H.264 9.1), at most 32 bits; uvlc() of AV1 4.10.3 is written alike."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise self._error("Exp-Golomb code of more than 32 bits")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Signed Exp-Golomb (H.264 9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)
