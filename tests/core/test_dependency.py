import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.dependency import TEMPLATES, Dependencies, DependencyError


def chromium() -> Dependencies:
    """After the first packet of a keyframe, as Chromium 156 sends H.264 in L1T3."""
    read = Dependencies()
    assert read.read(bytes.fromhex("800001800214eaa860414d1410208426")) == 0
    return read


def test_layers_of_a_browsers_stream() -> None:
    read = chromium()
    templates = ("830002", "820003", "840004", "810005", "c30006", "020007", "440008")
    assert [read.read(bytes.fromhex(each)) for each in templates] == [2, 1, 2, 0, 2, 1, 2]


def test_layers_are_unknown_before_a_structure_and_outside_of_it() -> None:
    assert Dependencies().read(bytes.fromhex("830002")) is None
    assert chromium().read(bytes.fromhex("bf0002")) is None


def test_templates_are_counted_from_the_structures_offset() -> None:
    read = Dependencies()
    # Present; offset 62; one decode target; template_layers 1, 1, 3: three temporal layers.
    structure = 0b1_0000_111110_00000_01_01_11 << 2
    first = bytes([0x80 | 62, 0, 1]) + structure.to_bytes(3, "big")
    assert read.read(first) == 0
    assert [read.read(bytes([template, 0, 2])) for template in (63, 0, 1)] == [1, 2, None]


@pytest.mark.parametrize("text", ["", "80", "8000", "80000180", "8000018002"])
def test_what_is_cut_short_is_an_error(text: str) -> None:
    with pytest.raises(DependencyError):
        Dependencies().read(bytes.fromhex(text))


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_any_bytes_are_read_or_refused(descriptors: list[bytes]) -> None:
    read = Dependencies()
    for descriptor in descriptors:
        try:
            layer = read.read(descriptor)
        except DependencyError:
            continue
        assert layer is None or 0 <= layer <= 7
        assert len(read._temporal_ids) <= TEMPLATES
