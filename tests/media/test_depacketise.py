import struct

import pytest
from aiortc.codecs.h264 import H264PayloadDescriptor
from aiortc.codecs.vpx import VpxPayloadDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.frames import Codec
from server.core.h264 import nal_units
from server.media.receiving.depacketise import (
    DEPACKETISERS,
    MAX_UNITS,
    Assembled,
)
from tests.media.streams import pictures

KEYFRAME, DELTA = b"\x10\x02\x00\x9d\x01\x2a", b"\x11\x02\x00"  # RFC 6386 9.1: bit 0


def vp8(*payloads: bytes) -> Assembled:
    return DEPACKETISERS[Codec.VP8].join(payloads)


def h264(*payloads: bytes) -> Assembled:
    return DEPACKETISERS[Codec.H264].join(payloads)


@pytest.mark.parametrize("codec", DEPACKETISERS)
def test_pictures_packetised_by_others_come_back_byte_identical(codec: Codec) -> None:
    for picture in pictures(codec):
        joined = DEPACKETISERS[codec].join(picture.payloads)
        assert joined == Assembled(picture.frame, picture.keyframe, 0)


@pytest.mark.parametrize("codec", DEPACKETISERS)
def test_only_the_first_packet_of_a_keyframe_starts_one(codec: Codec) -> None:
    for picture in pictures(codec):
        starts = [DEPACKETISERS[codec].starts_keyframe(payload) for payload in picture.payloads]
        assert starts == [picture.keyframe] + [False] * (len(starts) - 1)


# ---- VP8 (RFC 7741 4.2) ------------------------------------------------------------------


@pytest.mark.parametrize(
    "descriptor",
    [
        VpxPayloadDescriptor(1, 0),
        VpxPayloadDescriptor(1, 0, picture_id=17),
        VpxPayloadDescriptor(1, 0, picture_id=30_000),
        VpxPayloadDescriptor(1, 0, picture_id=1, tl0picidx=2),
        VpxPayloadDescriptor(1, 0, picture_id=1, tl0picidx=2, tid=(0, 1)),
        VpxPayloadDescriptor(1, 0, picture_id=1, tl0picidx=2, tid=(1, 0)),
        VpxPayloadDescriptor(1, 0, picture_id=1, tl0picidx=2, tid=(2, 1), keyidx=31),
        VpxPayloadDescriptor(1, 0, keyidx=31),
        VpxPayloadDescriptor(1, 0, tl0picidx=9),
    ],
    ids=repr,
)
def test_vp8_descriptor_is_stripped_whatever_it_carries(descriptor: VpxPayloadDescriptor) -> None:
    temporal_id = descriptor.tid[0] if descriptor.tid else 0
    assert vp8(bytes(descriptor) + KEYFRAME) == Assembled(KEYFRAME, True, temporal_id)


def test_vp8_seven_bit_picture_id_takes_one_byte() -> None:
    assert vp8(b"\x90\x80\x7f" + DELTA).payload == DELTA


def test_vp8_frame_that_nothing_refers_to_is_above_the_base_layer() -> None:
    assert vp8(b"\x30" + DELTA, b"\x00" + DELTA) == Assembled(DELTA + DELTA, False, 1)
    # What the layer index says goes before the N bit: Chromium's top layer of three.
    assert vp8(b"\xb0\xe0\x91\x39\xe4\x80" + DELTA) == Assembled(DELTA, False, 2)


def test_vp8_later_partitions_belong_to_the_same_frame() -> None:
    # RFC 7741 4.2: S=1 with a partition index other than 0 does not begin a frame.
    assert vp8(b"\x10" + DELTA, b"\x11second", b"\x01more").payload == DELTA + b"secondmore"


@pytest.mark.parametrize(
    ("payloads", "message"),
    [
        ([b""], "truncated"),
        ([b"\x90"], "truncated"),
        ([b"\x90\x80"], "truncated"),
        ([b"\x90\x80\x80\x01"], "empty"),
        ([b"\x10"], "empty"),
        ([b"\x00abc"], "does not begin"),
        ([b"\x10abc", b"\x10abc"], "begins twice"),
    ],
)
def test_vp8_refusals(payloads: list[bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vp8(*payloads)


# ---- VP9 (RFC 9628 4.2) ------------------------------------------------------------------

# VP9 6.2: marker 2, profile 0, show_existing_frame 0, then frame_type: 0 a key frame.
VP9_KEYFRAME, VP9_DELTA = b"\x82\x49\x83\x42", b"\x86\x00\x40"
# The first octet's flags (RFC 9628 4.2), by their letters; ID is its I.
ID, P, L, F, B, E, V = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02


def vp9(*payloads: bytes) -> Assembled:
    return DEPACKETISERS[Codec.VP9].join(payloads)


@pytest.mark.parametrize(
    ("descriptor", "temporal_id"),
    [
        (bytes([B | E]), 0),
        (bytes([ID | B | E, 0x7F]), 0),
        (bytes([ID | B | E, 0x80, 0x01]), 0),
        (bytes([ID | P | L | B | E, 0x80, 0x01, 0b010_0_000_0, 9]), 2),  # TL0PICIDX: F=0
        (bytes([ID | P | L | F | B | E, 0x80, 0x01, 0b001_1_000_0, 0b0000001_0]), 1),
        (bytes([ID | P | F | B | E, 5, 0b0000001_1, 0b0000010_1, 0b0000011_0]), 0),
        (bytes([ID | P | F | B | E, 5, 0b0000001_1, 0b0000010_1, 0b0000011_1]), 0),  # three at most
        (bytes([ID | L | F | B | E, 0x80, 0x01, 0b001_0_000_0]), 1),  # P=0: no P_DIFF
    ],
)
def test_vp9_descriptor_is_stripped_in_both_modes(descriptor: bytes, temporal_id: int) -> None:
    assert vp9(descriptor + VP9_DELTA) == Assembled(VP9_DELTA, False, temporal_id)


@pytest.mark.parametrize(
    "structure",
    [
        bytes([0b000_0_0_000]),
        bytes([0b000_1_0_000]) + bytes(4),
        bytes([0b010_1_0_000]) + bytes(12),  # N_S=2: three layers with their sizes
        bytes([0b000_0_1_000, 0]),
        # N_G=3 pictures, with 0, 1 and 2 references.
        bytes([0b000_1_1_000]) + bytes(4) + bytes([3, 0b000_0_00_00, 0b010_1_01_00, 2])
        + bytes([0b001_1_10_00, 1, 2]),
    ],
)  # fmt: skip
def test_vp9_scalability_structure_is_stripped(structure: bytes) -> None:
    payload = bytes([ID | L | B | E | V, 0x80, 0x01, 0, 7]) + structure + VP9_KEYFRAME
    assert vp9(payload) == Assembled(VP9_KEYFRAME, True, 0)
    assert DEPACKETISERS[Codec.VP9].starts_keyframe(payload)


def test_vp9_layer_frames_become_one_superframe() -> None:
    base, upper = VP9_KEYFRAME + b"base", VP9_DELTA + b"upper"
    out = vp9(
        bytes([ID | L | B, 7, 0b000_0_000_0, 3]) + base[:4],
        bytes([ID | L | E, 7, 0b000_0_000_0, 3]) + base[4:],
        bytes([ID | L | B | E, 7, 0b000_0_001_1, 3]) + upper,
    )
    index = bytes([0b110_00_001, len(base), len(upper), 0b110_00_001])  # VP9 Annex B
    assert out == Assembled(base + upper + index, True, 0)


def test_vp9_picture_is_of_the_temporal_layer_of_its_lowest_size() -> None:
    """Where they are shifted against each other (L2T2_KEY_SHIFT)."""
    lower = bytes([ID | P | L | B | E, 7, 0b000_0_000_0, 3]) + VP9_DELTA
    upper = bytes([ID | P | L | B | E, 7, 0b001_0_001_0, 3]) + VP9_DELTA
    assert vp9(lower, upper).temporal_id == 0


def test_vp9_upper_layer_of_a_picture_starts_no_keyframe() -> None:
    starts = DEPACKETISERS[Codec.VP9].starts_keyframe
    assert starts(bytes([L | B, 0, 0]) + VP9_KEYFRAME)
    assert not starts(bytes([L | B, 0b000_0_001_0, 0]) + VP9_KEYFRAME)
    assert not starts(bytes([L, 0, 0]) + VP9_KEYFRAME)
    assert not any(map(starts, [b"", bytes([B]), bytes([B]) + VP9_DELTA, bytes([ID | B, 0x80])]))


@pytest.mark.parametrize(
    ("payloads", "message"),
    [
        ([b""], "truncated"),
        ([bytes([ID | B])], "truncated"),
        ([bytes([L | B])], "truncated"),
        ([bytes([ID | P | F | B, 1, 1])], "truncated"),
        ([bytes([V | B])], "truncated"),
        ([bytes([V | B, 0b000_0_1_000])], "truncated"),
        ([bytes([V | B, 0b000_0_1_000, 2, 0b0000_1000, 1, 1])], "truncated"),
        ([bytes([V | B, 0b000_1_0_000]) + bytes(4)], "empty"),
        ([bytes([B])], "empty"),
        ([bytes([E]) + VP9_DELTA], "does not begin"),
        ([bytes([B]) + VP9_DELTA, bytes([B]) + VP9_DELTA], "does not begin"),
        ([bytes([B | E]) + VP9_DELTA, bytes([E]) + VP9_DELTA], "does not begin"),
        ([bytes([B]) + VP9_DELTA], "incomplete"),
        ([bytes([B | E]) + VP9_DELTA] * 9, "too many layers"),
    ],
)
def test_vp9_refusals(payloads: list[bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vp9(*payloads)


# ---- AV1 (AV1 RTP 4.3 to 4.5) ------------------------------------------------------------

# An OBU's header (AV1 5.3.2): type in bits 3 to 6, extension flag, size flag.
SEQUENCE, FRAME, METADATA = b"\x08seq", b"\x30\x10key", b"\x28\x06meta"
AV1_DELTA = b"\x30\x30delta"
Z, Y, N = 0x80, 0x40, 0x08


def w(count: int) -> int:
    return count << 4


def av1(*payloads: bytes) -> Assembled:
    return DEPACKETISERS[Codec.AV1].join(payloads)


def stored(*obus: bytes) -> bytes:
    """OBUs without extension, with their sizes (AV1 5.2)."""
    return b"".join(bytes([obu[0] | 2, len(obu) - 1]) + obu[1:] for obu in obus)


def counted(*obus: bytes) -> bytes:
    return b"".join(bytes([len(obu)]) + obu for obu in obus)


@pytest.mark.parametrize(
    "payloads",
    [
        [bytes([N | w(0)]) + counted(SEQUENCE, FRAME)],
        [bytes([N | w(2)]) + counted(SEQUENCE) + FRAME],
        [bytes([N | w(1)]) + SEQUENCE, bytes([w(1)]) + FRAME],
        [bytes([N | Y | w(2)]) + counted(SEQUENCE) + FRAME[:2], bytes([Z | w(1)]) + FRAME[2:]],
        [
            bytes([N | Y | w(0)]) + counted(SEQUENCE, FRAME[:1]),
            bytes([Z | Y | w(1)]) + FRAME[1:2],
            bytes([Z | w(0)]) + counted(FRAME[2:]),
        ],
        # Sizes inside OBUs, delimiters and padding: allowed, and made uniform.
        [bytes([N | w(3)]) + counted(b"\x12\x00", stored(SEQUENCE)) + FRAME],
        [bytes([N | w(3)]) + counted(SEQUENCE, b"\x78pad") + FRAME],
    ],
)
def test_av1_elements_become_a_temporal_unit_with_sizes(payloads: list[bytes]) -> None:
    assert av1(*payloads) == Assembled(stored(SEQUENCE, FRAME), True, 0)
    assert DEPACKETISERS[Codec.AV1].starts_keyframe(payloads[0])
    assert not any(map(DEPACKETISERS[Codec.AV1].starts_keyframe, payloads[1:]))


def test_av1_metadata_stays_and_a_frame_alone_is_no_keyframe() -> None:
    assert av1(bytes([w(2)]) + counted(METADATA) + AV1_DELTA) == Assembled(
        stored(METADATA, AV1_DELTA), False, 0
    )
    assert not av1(bytes([w(1)]) + FRAME).keyframe, "without a sequence header nothing begins"


def test_av1_temporal_id_comes_from_the_extension() -> None:
    # AV1 5.3.3: temporal_id in the upper three bits.
    frame = b"\x34\x40\x30delta"
    assert av1(bytes([w(1)]) + frame) == Assembled(b"\x36\x40\x06\x30delta", False, 2)


@pytest.mark.parametrize(
    ("payloads", "message"),
    [
        ([b""], "empty"),
        ([bytes([w(1)])], "empty"),
        ([bytes([w(0)]) + b"\x05abc"], "truncated"),
        ([bytes([w(2)]) + b"\x05abc"], "truncated"),
        ([bytes([w(0), 0x80])], "without an end"),
        ([bytes([w(3)]) + counted(SEQUENCE)], "fewer OBU elements"),
        ([bytes([w(0), 0])], "within its header"),
        ([bytes([w(1), 0x34])], "within its header"),
        ([bytes([w(1), 0xB0, 1])], "forbidden bit"),
        ([bytes([w(1)]) + b"\x32\x05ab"], "OBU of 5 bytes in 2"),
        ([bytes([Z | w(1)]) + FRAME], "without its beginning"),
        ([bytes([Y | w(1)]) + FRAME, bytes([w(1)]) + FRAME], "without its beginning or end"),
        ([bytes([Y | w(1)]) + FRAME], "incomplete"),
        ([bytes([w(1)]) + b"\x10"], "empty"),
        ([bytes([w(1)]) + AV1_DELTA] * (MAX_UNITS + 1), "too many"),
    ],
)
def test_av1_refusals(payloads: list[bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        av1(*payloads)


# ---- H.264 (RFC 6184 5.6 to 5.8) ---------------------------------------------------------

SPS, PPS, IDR, SLICE = b"\x67\x42\x00\x0a", b"\x68\xce\x38", b"\x65\x88\x84", b"\x41\x9a\x02"


def lengths(*units: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units)


def stap_a(*units: bytes) -> bytes:
    return b"\x78" + b"".join(struct.pack(">H", len(unit)) + unit for unit in units)


def test_h264_single_units_keep_their_order() -> None:
    assert h264(SPS, PPS, IDR) == Assembled(lengths(SPS, PPS, IDR), True, 0)


def test_h264_aggregation_is_taken_apart() -> None:
    assert h264(stap_a(SPS, PPS), IDR).payload == lengths(SPS, PPS, IDR)


def test_h264_fragments_become_the_unit_they_were() -> None:
    # FU indicator: F and NRI of 0x65 with type 28; FU header: S and E bits with type 5.
    out = h264(b"\x7c\x85one", b"\x7c\x05two", b"\x7c\x45three")
    assert out == Assembled(lengths(b"\x65onetwothree"), True, 0)


def test_h264_picture_that_nothing_refers_to_is_above_the_base_layer() -> None:
    assert h264(b"\x01\x9a\x02") == Assembled(lengths(b"\x01\x9a\x02"), False, 1)
    # Whatever nal_ref_idc a reference picture has, others may need it.
    assert h264(b"\x21\x9a\x02").temporal_id == h264(SLICE).temporal_id == 0


def test_h264_parameter_set_starts_a_keyframe_an_idr_slice_alone_does_not() -> None:
    starts = DEPACKETISERS[Codec.H264].starts_keyframe
    assert starts(SPS)
    assert starts(stap_a(SPS, PPS))
    # Parameter sets, or an earlier slice, may be what was lost before these.
    assert not starts(IDR)
    assert not starts(b"\x7c\x85one")
    assert not any(map(starts, [b"", b"\x67", PPS, SLICE, stap_a(PPS), b"\x78\x00\xff", b"\x7c"]))


@pytest.mark.parametrize(
    ("payloads", "message"),
    [
        ([b""], "truncated"),
        ([b"\x65"], "truncated"),
        ([b"\x78\x00"], "truncated"),
        ([b"\x78\x00\x05ab"], "truncated"),
        ([b"\x78\x00\x00"], "truncated"),
        ([b"\x7c\x05two"], "does not begin"),
        ([b"\x7c\x85one", b"\x7c\x85one"], "begins twice"),
        ([b"\x7c\x85one", SLICE], "no end"),
        ([b"\x7c\x85one"], "incomplete"),
        ([b"\x78"], "truncated"),
        ([b"\x79\x00\x00\x00"], "type 25"),
        ([b"\x5d\x80"], "type 29"),
        ([b"\x40\x80"], "type 0"),
        ([stap_a(*[b"\x41"] * 400)] * 3, "too many"),
    ],
)
def test_h264_refusals(payloads: list[bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        h264(*payloads)


# ---- any payload -------------------------------------------------------------------------


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_vp8_descriptor_is_read_as_aiortc_reads_it(payload: bytes) -> None:
    try:
        descriptor, rest = VpxPayloadDescriptor.parse(payload)
    except ValueError:
        with pytest.raises(ValueError, match="VP8"):
            vp8(payload)
        return
    begins = descriptor.partition_start == 1 and descriptor.partition_id & 7 == 0
    if rest and begins:
        assert vp8(payload).payload == rest
    else:
        with pytest.raises(ValueError, match="VP8"):
            vp8(payload)


@settings(deadline=None)
@given(st.binary(min_size=2, max_size=60))
def test_h264_payload_is_read_as_aiortc_reads_it(payload: bytes) -> None:
    try:
        out = h264(payload)
    except ValueError:
        return  # aiortc takes fragments and empty units alone, we take whole access units
    _, rest = H264PayloadDescriptor.parse(payload)
    assert b"".join(b"\0\0\0\1" + unit for unit in nal_units(out.payload)) == rest


@settings(deadline=None)
@given(
    st.sampled_from(list(DEPACKETISERS)), st.lists(st.binary(max_size=60), min_size=1, max_size=20)
)
def test_any_payloads_are_taken_or_refused_as_documented(
    codec: Codec, payloads: list[bytes]
) -> None:
    depacketiser = DEPACKETISERS[codec]
    try:
        for payload in payloads:
            depacketiser.starts_keyframe(payload)
        assert 0 < len(depacketiser.join(payloads).payload) <= sum(map(len, payloads)) * 5
    except ValueError:
        pass
