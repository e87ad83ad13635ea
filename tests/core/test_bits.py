"""Bits as the specifications read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.bits import Bits


class _Ended(ValueError):
    pass


def test_bits_come_most_significant_first() -> None:
    bits = Bits(b"\xa5\x0f", _Ended)
    assert [bits.u(1), bits.u(3), bits.u(0), bits.u(8), bits.u(4)] == [1, 2, 0, 0x50, 15]


def test_past_the_end_is_the_callers_error() -> None:
    bits = Bits(b"\xff", _Ended)
    bits.u(7)
    with pytest.raises(_Ended):
        bits.u(2)
    assert bits.u(1) == 1, "a refused read takes nothing"


@pytest.mark.parametrize(
    ("code", "unsigned", "signed"),
    [("1", 0, 0), ("010", 1, 1), ("011", 2, -1), ("00100", 3, 2), ("00101", 4, -2)],
)  # H.264 tables 9-2 and 9-3
def test_exp_golomb(code: str, unsigned: int, signed: int) -> None:
    data = int(code.ljust(8, "0"), 2).to_bytes(1, "big")
    assert Bits(data, _Ended).ue() == unsigned
    assert Bits(data, _Ended).se() == signed


def test_an_exp_golomb_code_without_an_end_is_refused() -> None:
    with pytest.raises(_Ended):
        Bits(bytes(100), _Ended).ue()


@given(st.binary(max_size=16), st.lists(st.integers(0, 40), max_size=20))
def test_reads_join_to_what_was_there(data: bytes, counts: list[int]) -> None:
    bits, text = Bits(data, _Ended), "".join(f"{byte:08b}" for byte in data)
    for count in counts:
        if count > len(text):
            with pytest.raises(_Ended):
                bits.u(count)
            continue
        assert bits.u(count) == int(text[:count] or "0", 2)
        text = text[count:]
