"""Packed rows are what was put in; a fragment's header is the one that was read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.format.sealing import TAG_BYTES, Flags, Kind, RecordHeader
from server.recorder.format.segments import Record
from server.recorder.format.table import FragmentTable, Table


@given(rows=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.booleans(), st.binary(max_size=0))))
def test_rows_come_back_by_their_index(rows: list[tuple[int, bool, bytes]]) -> None:
    table = Table(">I?0s")
    for row in rows:
        table.append(*row)
    assert [table[index] for index in range(len(table))] == rows
    assert not rows or table[-1] == rows[-1]
    for beyond in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            table[beyond]
    table.clear()
    assert len(table) == 0


_HEADERS = st.builds(
    RecordHeader,
    length=st.integers(TAG_BYTES, 1000),
    kind=st.just(Kind.MEDIA),
    flags=st.builds(Flags, st.integers(0, 255)),
    init=st.integers(0, 1000),
    counter=st.integers(0, 1000),
    seq=st.integers(1, 1000),
    start_us=st.integers(0, 2**40),
    duration_us=st.integers(0, 1_000_000),
    previous=st.binary(min_size=32, max_size=32),
)


@given(headers=st.lists(_HEADERS, max_size=300))
def test_fragments_come_back_in_any_order(headers: list[RecordHeader]) -> None:
    """More than are kept parsed; ends are those of all before, too: sound may come later."""
    table = FragmentTable()
    for index, header in enumerate(headers):
        table.append(index // 20, Record(header, 100 * index))
    for index in (*range(len(headers)), *reversed(range(len(headers)))):
        assert table.place(index) == (index // 20, Record(headers[index], 100 * index))
    for count in range(len(headers) + 1):
        ends_us = [each.end_us for each in headers[:count]]
        assert table.end_us(count) == max(ends_us, default=0)
    table.clear()
    assert (len(table), table.end_us(0)) == (0, 0)
