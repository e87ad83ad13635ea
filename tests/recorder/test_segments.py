"""Walking segment files that are whole, growing, torn, or nothing of the kind."""

import io

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.format.sealing import (
    SEGMENT_HEADER_BYTES,
    FaultKind,
    Kind,
    Sealer,
    SegmentError,
    SegmentHeader,
)
from server.recorder.format.segments import (
    check_records,
    index_records,
    is_signed_record,
    read_segment_header,
    segment_name,
    unlisted_segments,
)
from server.recorder.format.server_key import alone

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(32))
HEADER = SegmentHeader(0, b"r" * 16, bytes(32), bytes(7), bytes(32), bytes(32))


def _segment(*kinds: Kind) -> bytes:
    sealer = Sealer(bytes(32), SIGNER, HEADER)
    return HEADER.encode() + b"".join(
        sealer.seal(kind, b"x" * 10 * number, number) for number, kind in enumerate(kinds)
    )


WHOLE = _segment(Kind.INIT, Kind.MEDIA, Kind.NOTE, Kind.MEDIA, Kind.END)


def _walk(data: bytes) -> list[Kind]:
    file = io.BytesIO(data)
    header = read_segment_header(file)
    return [
        record.header.kind for record, _ in check_records(file, header, alone(SIGNER.public_key()))
    ]


def test_a_whole_segment_is_walked_with_and_without_a_key() -> None:
    kinds = [Kind.INIT, Kind.MEDIA, Kind.NOTE, Kind.MEDIA, Kind.END]
    assert _walk(WHOLE) == kinds
    records = list(index_records(io.BytesIO(WHOLE), SEGMENT_HEADER_BYTES, len(WHOLE)))
    assert [record.header.kind for record in records] == kinds
    assert records[-1].end == len(WHOLE)


def test_every_cut_is_torn_or_ends_at_a_record() -> None:
    ends = {
        record.end for record in index_records(io.BytesIO(WHOLE), SEGMENT_HEADER_BYTES, len(WHOLE))
    }
    for size in range(len(WHOLE)):
        if size in ends | {SEGMENT_HEADER_BYTES}:
            _walk(WHOLE[:size])
            continue
        with pytest.raises(SegmentError) as caught:
            _walk(WHOLE[:size])
        assert caught.value.kind is FaultKind.TRUNCATED


def test_nothing_may_follow_the_end() -> None:
    with pytest.raises(SegmentError) as caught:
        _walk(_segment(Kind.MEDIA, Kind.END, Kind.MEDIA))
    assert caught.value.kind is FaultKind.REORDERED


@given(st.data())
def test_any_change_is_found(data: st.DataObject) -> None:
    changed = bytearray(WHOLE)
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SegmentError):
        _walk(bytes(changed))


@given(st.binary(max_size=400))
def test_an_index_of_any_bytes_ends(data: bytes) -> None:
    records = list(index_records(io.BytesIO(data), 0, len(data)))
    assert all(record.end <= len(data) for record in records)
    assert not is_signed_record(io.BytesIO(data), 0, alone(SIGNER.public_key()))


def test_segments_sort_by_name_in_order_of_time() -> None:
    names = [segment_name(index) for index in (0, 1, 9, 10, 99, 100, 12345)]
    assert names == sorted(names)
    there = [*reversed(names), "manifest.json", "x.seg", "1.seg"]
    assert unlisted_segments(there, names[:2]) == names[2:]
    assert unlisted_segments(there, []) == names
