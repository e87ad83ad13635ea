"""Walking a segment file record by record, with or without the public key."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from server.recorder.format.sealing import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    SIGNATURE_BYTES,
    FaultKind,
    Kind,
    RecordHeader,
    SegmentError,
    SegmentHeader,
    check_signature,
    first_hash,
    parse_record_header,
    parse_segment_header,
    record_hash,
)
from server.recorder.format.server_key import ServerKey

#: Five digits sort as text through 99 999 segments: eleven days at ten seconds each.
SEGMENT_NAME = r"[0-9]{5,}\.seg"
_SEGMENT_NAME = re.compile(SEGMENT_NAME)


@dataclass(frozen=True, slots=True)
class Record:
    """A record's place in its file: where its header begins and where the next record does."""

    header: RecordHeader
    offset: int

    @property
    def end(self) -> int:
        return self.offset + RECORD_HEADER_BYTES + self.header.length + SIGNATURE_BYTES


def segment_name(index: int) -> str:
    return f"{index:05d}.seg"


def read_segment_header(file: BinaryIO) -> SegmentHeader:
    """Read and parse the header at the file's position; SegmentError as its parser says."""
    return parse_segment_header(file.read(SEGMENT_HEADER_BYTES))


def read_ciphertext(file: BinaryIO, record: Record) -> bytes:
    """The record's ciphertext; SegmentError(TRUNCATED) if the file ends before its end."""
    file.seek(record.offset + RECORD_HEADER_BYTES)
    ciphertext = file.read(record.header.length)
    if len(ciphertext) < record.header.length:
        raise SegmentError(FaultKind.TRUNCATED, "ciphertext cut off")
    return ciphertext


def index_records(file: BinaryIO, offset: int, size: int) -> Iterator[Record]:
    """The whole records between ``offset`` and ``size``, without reading their ciphertext.

    Stops quietly at a record that is not whole: while a recording runs, that is the one being
    written. Authenticity comes with opening a record, or with :func:`check_records`.
    """
    while offset < size:
        file.seek(offset)
        try:
            record = Record(parse_record_header(file.read(RECORD_HEADER_BYTES)), offset)
        except SegmentError:
            return
        if record.end > size:
            return
        yield record
        offset = record.end


def check_records(
    file: BinaryIO, header: SegmentHeader, public_key: ServerKey | None
) -> Iterator[tuple[Record, bytes]]:
    """Every record after the segment header with its hash, each checked before it is yielded.

    Raises SegmentError at the first one that is cut off, changed, or not in its place. Without
    a public key the signatures are not looked at: the hash of the whole file was signed.
    """
    previous, counter, offset = first_hash(header), 0, SEGMENT_HEADER_BYTES
    ended = False
    while True:
        file.seek(offset)
        head = file.read(RECORD_HEADER_BYTES)
        if not head:
            return
        record = Record(parse_record_header(head), offset)
        ciphertext = read_ciphertext(file, record)
        signature = file.read(SIGNATURE_BYTES)
        if len(signature) < SIGNATURE_BYTES:
            raise SegmentError(FaultKind.TRUNCATED, "signature cut off")
        digest = record_hash(record.header, ciphertext)
        if public_key is not None:
            check_signature(public_key, digest, signature)
        if ended or record.header.previous != previous or record.header.counter != counter:
            raise SegmentError(FaultKind.REORDERED, "record is not in its place")
        yield record, digest
        ended = record.header.kind is Kind.END
        previous, counter, offset = digest, counter + 1, record.end


def is_header_changed(file: BinaryIO, header: SegmentHeader, public_key: ServerKey) -> bool:
    """Whether the segment's first records are the server's, and yet not of this header."""
    first = _signed_at(file, SEGMENT_HEADER_BYTES, public_key)
    if first is None or first[0].header.counter or first[0].header.previous == first_hash(header):
        return False
    second = _signed_at(file, first[0].end, public_key)
    return second is None or second[0].header.previous == first[1]


def is_signed_record(file: BinaryIO, offset: int, public_key: ServerKey) -> bool:
    """Whether a whole record that the server signed begins at ``offset``, wherever it belongs."""
    return _signed_at(file, offset, public_key) is not None


def _signed_at(file: BinaryIO, offset: int, public_key: ServerKey) -> tuple[Record, bytes] | None:
    """That record, with its hash."""
    file.seek(offset)
    try:
        record = Record(parse_record_header(file.read(RECORD_HEADER_BYTES)), offset)
        digest = record_hash(record.header, read_ciphertext(file, record))
        check_signature(public_key, digest, file.read(SIGNATURE_BYTES))
    except SegmentError:
        return None
    return record, digest


def unlisted_segments(names: Iterable[str], listed: Iterable[str]) -> list[str]:
    """Of the files ``names``, the segments begun after the last of ``listed``, in their order."""
    newest = max(listed, default="")
    return sorted(name for name in names if _SEGMENT_NAME.fullmatch(name) and name > newest)
