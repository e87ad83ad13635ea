import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import VIDEO_CODECS, Codec
from server.media.forwarding import descriptor
from server.media.forwarding.descriptor import READERS, Descriptor
from server.media.receiving.depacketise import DEPACKETISERS
from tests.media.layered import vp8
from tests.media.streams import pictures


@pytest.mark.parametrize("codec", VIDEO_CODECS)
@given(st.binary(max_size=40))
def test_any_payload_is_read_or_not(codec: Codec, payload: bytes) -> None:
    found = READERS[codec](payload)
    if found is not None:
        assert 0 <= found.temporal_id <= 7
        written = descriptor.write(payload, found, 0x1234, 0x156)
        assert len(written) == len(payload)
        again = READERS[codec](written)
        assert again is not None
        if found.picture_id is not None:
            assert again.picture_id == 0x1234 & (1 << found.picture_id_bits) - 1
        if found.tl0 is not None:
            assert again.tl0 == 0x56
        assert (again.temporal_id, again.switch) == (found.temporal_id, found.switch)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_what_others_packetise_is_of_the_layer_that_the_frame_is(codec: Codec) -> None:
    for picture in pictures(codec):
        frame = DEPACKETISERS[codec].join(picture.payloads)
        found = READERS[codec](picture.payloads[0])
        assert found is not None
        assert found.temporal_id == frame.temporal_id


def test_vp8_with_all_its_fields() -> None:
    payload = vp8(0x1234, tl0=77, temporal_id=2, sync=True)
    assert descriptor.read_vp8(payload) == Descriptor(2, True, 0x1234, 15, 2, 77, 4)


def test_vp8_with_a_short_picture_id_and_without_any() -> None:
    assert descriptor.read_vp8(bytes([0x90, 0x80, 0x55, 0])) == Descriptor(0, False, 0x55, 7, 2)
    assert descriptor.read_vp8(bytes([0x30, 0])) == Descriptor(1, False)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        # RFC 9628 4.2: I, L, F, B; layer 2 with U; two octets of picture id.
        ("b8 9234 50", Descriptor(2, True, 0x1234, 15, 1)),
        # Not flexible: TL0PICIDX behind the layers.
        ("a8 55 20 09", Descriptor(1, False, 0x55, 7, 1, 9, 3)),
        ("08", Descriptor(0, False)),
    ],
)
def test_vp9_in_both_modes(payload: str, expected: Descriptor) -> None:
    assert descriptor.read_vp9(bytes.fromhex(payload) + b"\x86") == expected


@pytest.mark.parametrize(
    ("payload", "temporal_id"),
    [
        ("10 36 48 00", 2),  # W=1: a frame with its extension, layer 2
        ("20 02 36 28 32 00 00", 1),  # W=2: a length comes first
        ("10 32 00 00", 0),  # no extension
    ],
)
def test_av1_by_the_first_unit_of_a_packet(payload: str, temporal_id: int) -> None:
    found = descriptor.read_av1(bytes.fromhex(payload))
    assert found == Descriptor(temporal_id, not temporal_id)
    assert descriptor.read_av1(b"\x90" + bytes.fromhex(payload)[1:]) is None, "it goes on"
