import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.dependency import STRUCTURES, Dependencies, DependencyError, Place

#: The first packet of a keyframe, as Chromium 156 sends H.264 in L1T3,
H264 = "800001800214eaa860414d1410208426"
#: and as Chromium 150 sends AV1 in L3T3_KEY.
AV1 = (
    "c00001c0081485214eaaaaa8000600004000100002aa80a8000600004000100002a000a800060000400016d549241b"
    "5524906d54923157e001974ca864330e222396eca8655304224390eca87753013f00b3027f016704ff02cf1f80"
)


def read(dependencies: Dependencies, text: str, seqno: int = 2) -> tuple[int, int] | None:
    """Temporal and spatial layer."""
    place = dependencies.read(bytes.fromhex(text), seqno)
    return place[:2] if place is not None else None


def after(keyframe: str) -> Dependencies:
    dependencies = Dependencies()
    assert read(dependencies, keyframe, 1) == (0, 0)
    return dependencies


def test_layers_of_a_browsers_streams() -> None:
    h264, av1 = after(H264), after(AV1)
    templates = ("830002", "820003", "840004", "810005", "c30006", "020007", "440008")
    assert [read(h264, each) for each in templates] == [
        (layer, 0) for layer in (2, 1, 2, 0, 2, 1, 2)
    ]
    of_av1 = ("c50002", "c300031a20100800", "c800041a20181000", "8a0007", "4a0007", "cd000a")
    assert [read(av1, each) for each in of_av1] == [
        *((0, 1), (2, 0), (2, 1)),
        *((0, 2), (0, 2), (2, 2)),
    ]
    assert (h264.spatial_layers, av1.spatial_layers) == (1, 3)


def test_the_last_packet_of_a_frame_tells_so() -> None:
    ends = [after(AV1).read(bytes.fromhex(each), 2) for each in ("8a0007", "0a0007", "4a0007")]
    assert ends == [Place(0, 2, False), Place(0, 2, False), Place(0, 2, True)]


def test_layers_are_unknown_before_a_structure_and_outside_of_it() -> None:
    assert read(Dependencies(), "830002") is None
    assert Dependencies().spatial_layers == 1
    assert read(after(H264), "bf0002") is None


def structure(offset: int, layers: str) -> str:
    """Of a packet of its first template; one decode target."""
    bits = f"10000{offset:06b}00000{layers}"
    bits += "0" * (-len(bits) % 8)
    return f"{0x80 | offset:02x}0001" + int(bits, 2).to_bytes(len(bits) // 8, "big").hex()


def test_templates_are_counted_from_the_structures_offset() -> None:
    dependencies = after(structure(62, "010111"))  # three temporal layers
    templates = [f"{template:02x}0002" for template in (63, 0, 1)]
    assert [read(dependencies, each) for each in templates] == [(1, 0), (2, 0), None]


def test_packets_from_before_a_structure_are_read_by_the_one_before_it_in_any_order() -> None:
    dependencies = Dependencies()
    keyframes = {10: structure(0, "0111"), 20: structure(5, "1011"), 30: structure(7, "0111")}
    for seqno in (10, 30, 20, 10):
        assert read(dependencies, keyframes[seqno], seqno) == (0, 0)
    seconds = [("010002", 12, (1, 0)), ("060002", 29, (0, 1)), ("080002", 31, (1, 0))]
    assert [read(dependencies, text, seqno) for text, seqno, _ in seconds] == [
        place for *_, place in seconds
    ]
    assert read(dependencies, "010002", 9) is None
    assert dependencies.spatial_layers == 1
    for seqno in range(40, 40 + 10 * STRUCTURES, 10):
        read(dependencies, keyframes[10], seqno)
    assert read(dependencies, "060002", 29) is None, "long ago"


@pytest.mark.parametrize("text", ["", "80", "8000", "80000180", "8000018002"])
def test_what_is_cut_short_is_an_error(text: str) -> None:
    with pytest.raises(DependencyError):
        Dependencies().read(bytes.fromhex(text), 1)


@pytest.mark.parametrize("layers", ["01" * 8 + "11", "10" * 4 + "11"])
def test_more_layers_than_there_can_be_are_an_error(layers: str) -> None:
    with pytest.raises(DependencyError):
        Dependencies().read(bytes.fromhex(structure(0, layers)), 1)
    assert read(Dependencies(), structure(0, layers[2:]), 1) == (0, 0)


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 9)), max_size=8))
def test_any_bytes_are_read_or_refused(descriptors: list[tuple[bytes, int]]) -> None:
    dependencies = Dependencies()
    for descriptor, seqno in descriptors:
        try:
            place = dependencies.read(descriptor, seqno)
        except DependencyError:
            continue
        assert place is None or (0 <= place.temporal_id <= 7 and 0 <= place.spatial_id <= 3)
        assert len(dependencies._structures) <= STRUCTURES
        assert 1 <= dependencies.spatial_layers <= 4
