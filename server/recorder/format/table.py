"""Rows of numbers in memory, packed: as objects they take ten times as much."""

import struct
from typing import Any

from server.recorder.format.sealing import RECORD_HEADER_BYTES, RecordHeader, parse_record_header
from server.recorder.format.segments import Record

#: Parsed headers kept: a replay looks at those around a fragment again and again.
_KEPT_HEADERS = 128


class Table:
    """Each row as `struct` packs it in ``form``."""

    def __init__(self, form: str) -> None:
        self._row = struct.Struct(form)
        self._packed = bytearray()

    def append(self, *values: Any) -> None:
        self._packed += self._row.pack(*values)

    def __len__(self) -> int:
        return len(self._packed) // self._row.size

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(index)
        return self._row.unpack_from(self._packed, index % count * self._row.size)

    def clear(self) -> None:
        self._packed.clear()


class FragmentTable:
    """The records of a recording's fragments, each in the segment of some number: 80 bytes each."""

    def __init__(self) -> None:
        # Segment, place in it, when all fragments so far have ended, the record's header.
        self._rows = Table(f">IQQ{RECORD_HEADER_BYTES}s")
        self._headers: dict[int, RecordHeader] = {}

    def append(self, segment: int, record: Record) -> None:
        until_us = max(self.end_us(len(self)), record.header.end_us)
        self._rows.append(segment, record.offset, until_us, record.header.encode())

    def __len__(self) -> int:
        return len(self._rows)

    def header(self, index: int) -> RecordHeader:
        known = self._headers.get(index)
        if known is not None:
            return known
        if len(self._headers) >= _KEPT_HEADERS:
            self._headers.clear()
        header = self._headers[index] = parse_record_header(self._rows[index][3])
        return header

    def place(self, index: int) -> tuple[int, Record]:
        """In which segment, and where in it."""
        segment, offset, *_ = self._rows[index]
        return segment, Record(self.header(index), offset)

    def end_us(self, count: int) -> int:
        """When the first so many have ended."""
        end_us: int = self._rows[count - 1][2] if count else 0
        return end_us

    def clear(self) -> None:
        self._rows.clear()
        self._headers.clear()
