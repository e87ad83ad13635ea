import av
import pytest
from aiortc.codecs import depayload
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av.codec.context import Flags
from hypothesis import example, given
from hypothesis import strategies as st

from loadtest.media import VIDEO_CODECS, Clip, VideoCodec
from loadtest.packets import (
    DESCRIPTORS,
    MAX_PAYLOAD,
    Frame,
    no_descriptor,
    packetise,
    packetise_av1,
    packetise_h264,
    packetise_opus,
    packetise_vp8,
    packetise_vp9,
    split_annex_b,
    starts_frame,
    starts_keyframe,
    vp8_descriptor,
    vp9_descriptor,
)
from loadtest.stamp import find_stamp, pack_numbers, pack_source
from server.core import av1, vp9
from server.core.frames import Codec
from server.media.receiving.depacketise import DEPACKETISERS
from tests.loadtest.conftest import short_clip

NUMBERS = pack_numbers(pack_source(7), 8, 9.0)
nals = st.builds(
    # Header bytes of a slice; no zero bytes, so that nothing needs emulation prevention.
    lambda kind, body: bytes([0x60 | kind]) + body,
    st.sampled_from([1, 5]),
    st.integers(1, 5000).map(lambda size: b"\xab" * size),
)


@pytest.fixture(scope="module", params=VIDEO_CODECS)
def clip(request: pytest.FixtureRequest) -> Clip:
    codec: VideoCodec = request.param
    return short_clip(codec)


def payloads(frame: Frame, codec: str, number: int = 0) -> list[bytes]:
    describe = DESCRIPTORS.get(codec, no_descriptor)
    return [packet.payload(describe(packet, number, 0), NUMBERS) for packet in frame]


def joined_by_others(frame: Frame, codec: str) -> bytes:
    """An independent implementation puts the frame together again: aiortc, or our server."""
    parts = payloads(frame, codec)
    if codec in ("h264", "vp8"):
        parameters = RTCRtpCodecParameters(f"video/{codec.upper()}", 90_000)
        return b"".join(depayload(parameters, part) for part in parts)
    return DEPACKETISERS[Codec(codec.upper())].join(parts).payload


def decoder_of(codec: str) -> av.VideoCodecContext:
    decoder = av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count, decoder.flags = 1, Flags.low_delay
    return decoder


def test_a_decoder_reads_every_frame_that_another_implementation_put_together(clip: Clip) -> None:
    decoder = decoder_of(clip.codec)
    pictures = []
    for frame in packetise(clip).video:
        pictures += decoder.decode(av.Packet(joined_by_others(frame, clip.codec)))
    assert len(pictures) == len(clip.video)
    assert all((picture.width, picture.height) == (1280, 720) for picture in pictures)


def test_the_stamp_changes_no_pixel(clip: Clip) -> None:
    stamped, plain = (decoder_of(clip.codec) for _ in range(2))
    for frame, original in zip(packetise(clip).video, clip.video, strict=True):
        (with_stamp,) = stamped.decode(av.Packet(joined_by_others(frame, clip.codec)))
        (without,) = plain.decode(av.Packet(original))
        assert (with_stamp.to_ndarray() == without.to_ndarray()).all()


def test_every_frame_has_one_stamp_one_start_and_one_marker(clip: Clip) -> None:
    packetised = packetise(clip)
    for frame in packetised.video + packetised.audio:
        assert [packet.start for packet in frame] == [True] + [False] * (len(frame) - 1)
        assert [packet.marker for packet in frame] == [False] * (len(frame) - 1) + [True]
        assert sum(packet.stamped for packet in frame) == 1


def test_no_payload_is_larger_than_a_browsers(clip: Clip) -> None:
    for frame in packetise(clip).video:
        assert max(map(len, payloads(frame, clip.codec))) <= MAX_PAYLOAD + 6


def test_a_receiver_recognises_first_packets_and_keyframes(clip: Clip) -> None:
    for index, frame in enumerate(packetise(clip).video):
        parts = payloads(frame, clip.codec, index)
        starts = [starts_frame(clip.codec, part) for part in parts]
        assert starts == [True] + [False] * (len(parts) - 1)
        assert starts_keyframe(clip.codec, parts[0]) == (index in clip.keyframes)
        assert [find_stamp(part) is not None for part in parts].count(True) == 1


def test_sound_survives_the_stamp_in_its_padding() -> None:
    clip = short_clip("vp8")
    stamped, plain = (av.CodecContext.create("libopus", "r") for _ in range(2))
    for frame, original in zip(packetise(clip).audio, clip.audio, strict=True):
        (payload,) = payloads(frame, "opus")
        (with_stamp,) = stamped.decode(av.Packet(payload))
        (without,) = plain.decode(av.Packet(original))
        assert with_stamp.samples == 960
        assert (with_stamp.to_ndarray() == without.to_ndarray()).all()


@given(st.lists(nals, min_size=1, max_size=3))
def test_h264_units_of_any_size_come_out_as_they_went_in(units: list[bytes]) -> None:
    frame = packetise_h264(b"".join(b"\0\0\0\1" + unit for unit in units))
    out = split_annex_b(joined_by_others(frame, "h264"))
    assert [unit for unit in out if unit[0] & 0x1F != 6] == units


@given(st.binary(min_size=1, max_size=10_000))
def test_vp8_frames_of_any_size_come_out_as_they_went_in(frame: bytes) -> None:
    assert joined_by_others(packetise_vp8(frame), "vp8").startswith(frame)


@pytest.mark.parametrize("number", [0, 127, 128, 0x7FFF, 0x8000])
def test_picture_ids_have_fifteen_bits(number: int) -> None:
    from aiortc.codecs.vpx import VpxPayloadDescriptor

    (packet,) = packetise_vp8(b"x")
    descriptor, rest = VpxPayloadDescriptor.parse(vp8_descriptor(packet, number, 0) + b"x")
    assert (descriptor.picture_id, descriptor.partition_start) == (number & 0x7FFF, 1)
    assert rest == b"x"


def test_vp8_frames_tell_their_temporal_layer_as_chromium_does() -> None:
    frames = packetise(short_clip("vp8")).video
    descriptors = [vp8_descriptor(frame[0], 0x1138, 0x1E4).hex() for frame in frames[:5]]
    # Captured from Chromium 156 sending L1T3, but for the Y bit of its later cycles.
    assert descriptors == [
        "90e09138e400",
        "b0e09138e4a0",
        "90e09138e460",
        "b0e09138e480",
        "90e09138e400",
    ]


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
@pytest.mark.parametrize("layers", [{0}, {0, 1}], ids=str)
def test_lower_layers_decode_to_the_same_pictures_without_the_upper(
    codec: VideoCodec, layers: set[int]
) -> None:
    clip = short_clip(codec, seconds=3)
    whole, lower = decoder_of(codec), decoder_of(codec)
    for frame, original in zip(packetise(clip).video, clip.video, strict=True):
        (picture,) = whole.decode(av.Packet(original))
        temporal_id = frame[0].layer >> 6 if codec == "vp8" else frame[0].vp9[0] >> 5
        if temporal_id in layers:
            (same,) = lower.decode(av.Packet(original))
            assert (same.to_ndarray() == picture.to_ndarray()).all()


def test_vp9_frames_tell_what_they_refer_to_and_nothing_before_the_keyframe() -> None:
    clip = short_clip("vp9", seconds=3)
    since = 0
    for index, frame in enumerate(packetise(clip).video):
        since = 0 if index in clip.keyframes else since + 1
        layer, *diffs = frame[0].vp9
        assert layer >> 5 == (0, 2, 1, 2)[since % 4]
        assert [diff & 1 for diff in diffs] == [1] * (len(diffs) - 1) + [0] * bool(diffs)
        steps = [diff >> 1 for diff in diffs]
        assert bool(steps) == (since > 0)
        assert all(0 < step <= since for step in steps)
        # A frame needs none of a higher layer than its own.
        referred = [(0, 2, 1, 2)[(since - step) % 4] for step in steps]
        assert all(temporal_id <= layer >> 5 for temporal_id in referred)


def test_vp9_descriptors_of_flexible_mode() -> None:
    first, last = packetise_vp9(bytes(1500), 5)
    # RFC 9628 4.2: I P L F B E, a picture id of 15 bits, TID, then P_DIFF 1 and 3.
    assert vp9_descriptor(first, 0x1138, 0).hex() == "f8913840" + "0306"
    assert vp9_descriptor(last, 0x1138, 0).hex() == "f4913840" + "0306"
    (keyframe,) = packetise_vp9(b"x", 0)
    assert vp9_descriptor(keyframe, 0x8001, 0).hex() == "bc800100"


def av1_unit(*payload_sizes: int) -> bytes:
    """A temporal unit with a frame (AV1 5.3.2: type 6) of each size."""
    frames = (b"\x32" + av1.write_leb128(size) + b"\xab" * size for size in payload_sizes)
    return b"\x12\0" + b"".join(frames)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=4))
@example([1088, 1, 1])  # elements that end where a packet does
@example([1089, 1])
@example([1090, 1])
def test_av1_units_of_any_size_come_out_as_they_went_in(sizes: list[int]) -> None:
    unit = av1_unit(*sizes)
    frame = packetise_av1(unit)
    assert max(map(len, payloads(frame, "av1"))) <= MAX_PAYLOAD
    out = list(av1.obus(joined_by_others(frame, "av1")))
    assert [each.type for each in out] == [5] + [6] * len(sizes)
    assert out[1:] == [each for each in av1.obus(unit) if each.type == 6]


@given(st.binary(min_size=1, max_size=10_000), st.integers(0, 200))
def test_vp9_frames_of_any_size_come_out_as_they_went_in(frame: bytes, since: int) -> None:
    out = joined_by_others(packetise_vp9(frame, since), "vp9")
    assert vp9.split_superframe(out) == [frame]


def test_an_opus_packet_of_several_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="one frame"):
        packetise_opus(b"\x03\x02")


@given(st.sampled_from([*VIDEO_CODECS, "opus"]), st.binary(min_size=1, max_size=60))
def test_any_payload_can_be_asked_whether_it_starts_something(codec: str, payload: bytes) -> None:
    if starts_keyframe(codec, payload) and codec in ("vp8", "vp9"):
        assert starts_frame(codec, payload)
