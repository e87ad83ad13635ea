"""A file that is written from its beginning to its end, and never lies on a disk in the clear.

It is cut into chunks of `CHUNK_BYTES`, the last one shorter; each is stored in a slot of its own:
a nonce of 12 bytes, AES-256-GCM's ciphertext and its tag of 16 (NIST SP 800-38D), with the chunk's
number as associated data. The key is for one file alone, and comes from the key of the recording
that it was made of: nothing to store, and with that key everything is gone.
"""

import os
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.recorder.format.sealing import FaultKind, SegmentError

KEY_BYTES = 32
_INFO = b"vivavoce/export/v1:"
CHUNK_BYTES = 1 << 16
_NONCE_BYTES = 12
_OVERHEAD = _NONCE_BYTES + 16
_SLOT_BYTES = CHUNK_BYTES + _OVERHEAD


def file_key(recording_key: bytes, name: str) -> bytes:
    """Of the export ``name``, which no other export has."""
    return HKDF(SHA256(), KEY_BYTES, None, _INFO + name.encode()).derive(recording_key)


class SealedFile:
    """On the descriptor ``fd``, which stays its owner's. For one thread at a time.

    Calls may raise OSError, and SegmentError where a chunk is not what was written with this key.
    """

    def __init__(self, fd: int, key: bytes) -> None:
        """What is there already can be read; only to an empty file may anything be added."""
        self._fd = fd
        self._cipher = AESGCM(key)
        self._growing = bytearray()  # the last chunk, while it is written
        self._sealed = 0  # chunks before it
        self._read: tuple[int, bytes] = (-1, b"")  # the last one that was opened
        slots, rest = divmod(os.fstat(fd).st_size, _SLOT_BYTES)
        self.size = slots * CHUNK_BYTES + max(0, rest - _OVERHEAD)

    def append(self, data: bytes | bytearray) -> None:
        view = memoryview(data)
        self.size += len(data)
        while view:
            room = CHUNK_BYTES - len(self._growing)
            self._growing += view[:room]
            view = view[room:]
            if len(self._growing) == CHUNK_BYTES:
                self._seal()

    def finish(self) -> None:
        """On return all is on the disk; nothing may follow."""
        if self._growing:
            self._seal()
        os.fsync(self._fd)

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

    def _chunk(self, number: int) -> bytes:
        if number == self._sealed and self._growing:
            return bytes(self._growing)
        if number != self._read[0]:
            self._read = number, self._open(number)
        return self._read[1]

    def _seal(self) -> None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, bytes(self._growing), _associated(self._sealed))
        slot = memoryview(nonce + sealed)
        place = self._sealed * _SLOT_BYTES
        while slot:
            written = os.pwrite(self._fd, slot, place)
            slot, place = slot[written:], place + written
        self._sealed += 1
        self._growing.clear()

    def _open(self, number: int) -> bytes:
        stored = os.pread(self._fd, _SLOT_BYTES, number * _SLOT_BYTES)
        nonce, sealed = stored[:_NONCE_BYTES], stored[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, sealed, _associated(number))
        except (InvalidTag, ValueError) as error:
            raise SegmentError(FaultKind.TAMPERED, f"chunk {number} does not open") from error


def _associated(number: int) -> bytes:
    return number.to_bytes(8, "big")


class Turned:
    """A sealed file whose last ``head`` bytes come first: they were known last."""

    def __init__(self, file: SealedFile, head: int) -> None:
        self._file = file
        self._head = head
        self.size = file.size

    def read_at(self, place: int, count: int) -> bytes:
        """At most ``count`` bytes, none at the end alone."""
        if place < self._head:
            tail = self.size - self._head
            return self._file.read_at(tail + place, min(count, self._head - place))
        place -= self._head
        return self._file.read_at(place, min(count, self.size - self._head - place))
