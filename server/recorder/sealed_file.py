"""A file that is written and read at any place, and never lies on a disk in the clear.

It is cut into chunks of `CHUNK_BYTES`, the last one shorter; each is stored in a slot of its own:
a nonce of 12 bytes, AES-256-GCM's ciphertext and its tag of 16 (NIST SP 800-38D), with the chunk's
number as associated data. A chunk that is written again gets another random nonce. The key is for
one file alone and kept in memory, so that with it everything is gone.
"""

import os
import secrets
from collections import OrderedDict

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.recorder.sealing import FaultKind, SegmentError

KEY_BYTES = 32
CHUNK_BYTES = 1 << 16
_NONCE_BYTES = 12
_OVERHEAD = _NONCE_BYTES + 16
_SLOT_BYTES = CHUNK_BYTES + _OVERHEAD
#: Chunks in the clear in memory: enough for one who reads here and writes there.
_KEPT = 8


class SealedFile:
    """On the descriptor ``fd``, which stays its owner's. For one thread at a time.

    Calls may raise OSError, and SegmentError where a chunk is not what was written with this key.
    """

    def __init__(self, fd: int, key: bytes) -> None:
        self._fd = fd
        self._cipher = AESGCM(key)
        self._chunks: OrderedDict[int, bytearray] = OrderedDict()
        self._unwritten: set[int] = set()
        slots, rest = divmod(os.fstat(fd).st_size, _SLOT_BYTES)
        self.size = slots * CHUNK_BYTES + max(0, rest - _OVERHEAD)

    def read_at(self, place: int, count: int) -> bytes:
        """Fewer bytes than ``count`` at the end alone."""
        parts = []
        end = min(self.size, place + count)
        while place < end:
            number, inside = divmod(place, CHUNK_BYTES)
            part = self._chunk(number)[inside : inside + end - place]
            if not part:
                raise SegmentError(FaultKind.TRUNCATED, f"chunk {number} is cut short")
            parts.append(part)
            place += len(part)
        return b"".join(parts)

    def write_at(self, place: int, data: bytes) -> None:
        """What lies between the end and a place beyond it becomes zeros."""
        if place > self.size:
            data, place = bytes(place - self.size) + data, self.size
        view = memoryview(data)
        while view:
            number, inside = divmod(place, CHUNK_BYTES)
            part = view[: CHUNK_BYTES - inside]
            self._chunk(number)[inside : inside + len(part)] = part
            self._unwritten.add(number)
            view, place = view[len(part) :], place + len(part)
            self.size = max(self.size, place)

    def flush(self) -> None:
        """Hand everything to the system. Nothing is synced: it need not survive a power cut."""
        for number in sorted(self._unwritten):
            self._seal(number)

    def _chunk(self, number: int) -> bytearray:
        if number in self._chunks:
            self._chunks.move_to_end(number)
            return self._chunks[number]
        if len(self._chunks) >= _KEPT:
            oldest = next(iter(self._chunks))
            if oldest in self._unwritten:
                self._seal(oldest)
            del self._chunks[oldest]
        self._chunks[number] = self._open(number)
        return self._chunks[number]

    def _seal(self, number: int) -> None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, bytes(self._chunks[number]), _associated(number))
        slot = memoryview(nonce + sealed)
        place = number * _SLOT_BYTES
        while slot:
            written = os.pwrite(self._fd, slot, place)
            slot, place = slot[written:], place + written
        self._unwritten.discard(number)

    def _open(self, number: int) -> bytearray:
        stored = os.pread(self._fd, _SLOT_BYTES, number * _SLOT_BYTES)
        if not stored:
            return bytearray()
        nonce, sealed = stored[:_NONCE_BYTES], stored[_NONCE_BYTES:]
        try:
            return bytearray(self._cipher.decrypt(nonce, sealed, _associated(number)))
        except (InvalidTag, ValueError) as error:
            raise SegmentError(FaultKind.TAMPERED, f"chunk {number} does not open") from error


def _associated(number: int) -> bytes:
    return number.to_bytes(8, "big")


class Cursor:
    """A place in a `SealedFile`, as libraries want a file to be. Several may share one."""

    def __init__(self, file: SealedFile) -> None:
        self._file = file
        self._place = 0

    def read(self, count: int) -> bytes:
        data = self._file.read_at(self._place, count)
        self._place += len(data)
        return data

    def write(self, data: bytes) -> int:
        self._file.write_at(self._place, data)
        self._place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._file.size}
        self._place = base[whence] + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        """The file stays open: another cursor may be in it."""
