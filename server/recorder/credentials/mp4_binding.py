"""How C2PA binds the bytes of an MP4 to what is said of it, as our exports have it: by a hash.

The consortium's library reads a box into memory as a whole to hash it, 256 MB and the next 256 MB
of it. So what it is given to check is a file with the same credentials and no media, and the hash
of all else is taken here, a block at a time.
"""

import base64
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from server.recorder.credentials.c2pa_manifest import EXCLUSIONS, UUID, BmffHash

BINDING = "c2pa.hash.bmff.v3"
#: Of another kind than that none is there beside it.
_BINDINGS = "c2pa.hash."
#: A file of an export has four boxes, and credentials of 64 kB at most.
MOST_BOXES = 1000
MOST_CREDENTIALS = 1 << 20
_BLOCK_BYTES = 1 << 20
_FTYP, _MFRA = b"ftyp", b"mfra"
_NO_MEDIA = struct.pack(">I4s", 8, b"mdat")


class Box(NamedTuple):
    """At the top of a file; ``kind``: four letters, or 16 bytes of an extended type."""

    kind: bytes
    offset: int
    size: int


def boxes_of(file: BinaryIO) -> list[Box]:
    """By their headers alone; of what is no MP4, whatever is like them. OSError."""
    found: list[Box] = []
    offset, end = 0, file.seek(0, os.SEEK_END)
    while end - offset >= 8 and len(found) < MOST_BOXES:
        file.seek(offset)
        head = file.read(32)
        size, kind = struct.unpack_from(">I4s", head)
        start = 8
        if size == 1 and len(head) >= 16:  # ISO/IEC 14496-12 4.2.2: a 64-bit size follows
            size, start = struct.unpack_from(">Q", head, 8)[0], 16
        kind = head[start : start + 16] if kind == b"uuid" else kind
        found.append(Box(kind, offset, size))
        if size < start:  # 0: up to the end
            break
        offset += size
    return found


def without_media(file: BinaryIO) -> bytes | None:
    """A file with the same credentials alone; None where it is not laid out as an export's.

    Then it may be another program's. OSError.
    """
    boxes, end = boxes_of(file), file.seek(0, os.SEEK_END)
    if not _is_of_export(boxes, end):
        return None
    file.seek(0)
    return file.read(boxes[1].offset + boxes[1].size) + _NO_MEDIA


def _is_of_export(boxes: Sequence[Box], end: int) -> bool:
    """Whether what is excluded from the hash comes first, and once, and boxes are all there is."""
    kinds = [box.kind for box in boxes]
    if kinds[:2] != [_FTYP, UUID] or {_FTYP, UUID, _MFRA} & set(kinds[2:]):
        return False
    last = boxes[-1]
    small = boxes[1].offset + boxes[1].size <= MOST_CREDENTIALS
    return small and last.offset + last.size == end and last.size >= 8


def bound_hash(told: Mapping[str, Any]) -> bytes | None:
    """What the file's hash has to be, by the assertions of its one manifest as the library tells
    them; None where that is not all that binds it, or it is not told as an export has it."""
    manifests = list(told.get("manifests", {}).values())
    if len(manifests) != 1:
        return None
    store = manifests[0].get("assertion_store", {})
    if [label for label in store if label.startswith(_BINDINGS)] != [BINDING]:
        return None
    binding = dict(store[BINDING])
    expected = binding.pop("hash", None)
    binding.pop("name", None)
    if binding != {"exclusions": _TOLD_EXCLUSIONS, "alg": "sha256"}:
        return None
    try:
        return base64.b64decode(expected, validate=True)
    except (TypeError, ValueError):
        return None


def hash_of(file: BinaryIO) -> bytes:
    """Of a file that is laid out as an export's. OSError."""
    found, (ftyp, credentials, *boxes) = BmffHash(), boxes_of(file)
    found.leave_out(ftyp.size + credentials.size)
    for box in boxes:
        found.add(_blocks(file, box))
    return found.digest()


def _blocks(file: BinaryIO, box: Box) -> Iterator[bytes]:
    file.seek(box.offset)
    left = box.size
    while left and (block := file.read(min(left, _BLOCK_BYTES))):
        left -= len(block)
        yield block


def _told(exclusion: Mapping[str, Any]) -> dict[str, Any]:
    """As the library tells it: bytes by base64."""
    data = [
        {**each, "value": base64.b64encode(each["value"]).decode()}
        for each in exclusion.get("data", ())
    ]
    return {**exclusion, "data": data} if data else dict(exclusion)


_TOLD_EXCLUSIONS = [_told(each) for each in EXCLUSIONS]
