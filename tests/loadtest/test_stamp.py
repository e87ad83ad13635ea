from hypothesis import given
from hypothesis import strategies as st

from loadtest.stamp import MAGIC, NUMBERS_SIZE, Stamp, find_stamp, pack_numbers, pack_source

sources = st.integers(0, 2**32 - 1)
frames = st.integers(0, 2**35 - 1)
times = st.integers(0, 2**52).map(lambda microseconds: microseconds / 1e6)


@given(sources, frames, times, st.binary(), st.binary())
def test_a_stamp_is_found_wherever_it_lies(
    source: int, frame: int, sent_s: float, before: bytes, after: bytes
) -> None:
    data = before + MAGIC + pack_numbers(pack_source(source), frame, sent_s) + after
    found = find_stamp(data)
    assert found is not None
    assert (found.source, found.frame) == (source, frame)
    assert abs(found.sent_s - sent_s) < 2e-6


@given(sources, frames, times)
def test_no_byte_of_the_numbers_could_be_part_of_a_start_code(
    source: int, frame: int, sent_s: float
) -> None:
    numbers = pack_numbers(pack_source(source), frame, sent_s)
    assert len(numbers) == NUMBERS_SIZE
    assert min(numbers) >= 0x80


@given(st.binary())
def test_any_bytes_hold_a_stamp_or_none(data: bytes) -> None:
    assert find_stamp(data) is None or MAGIC in data


def test_a_stamp_cut_short_is_none() -> None:
    whole = MAGIC + pack_numbers(pack_source(7), 8, 9.0)
    assert find_stamp(whole[:-1]) is None
    assert find_stamp(whole) == Stamp(7, 8, 9.0)


@given(sources, st.integers(0, 7))
def test_a_stamp_tells_its_layer_beside_its_source(source: int, layer: int) -> None:
    found = find_stamp(MAGIC + pack_numbers(pack_source(source, layer), 8, 9.0))
    assert found == Stamp(source, 8, 9.0, layer)
