import av
import pytest
from aiortc.codecs import depayload
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from hypothesis import given
from hypothesis import strategies as st

from loadtest.media import Clip, VideoCodec
from loadtest.packets import (
    MAX_PAYLOAD,
    Frame,
    packetise,
    packetise_h264,
    packetise_opus,
    packetise_vp8,
    split_annex_b,
    starts_frame,
    starts_keyframe,
    vp8_descriptor,
)
from loadtest.stamp import find_stamp, pack_numbers, pack_source
from tests.loadtest.conftest import short_clip

NUMBERS = pack_numbers(pack_source(7), 8, 9.0)
nals = st.builds(
    # Header bytes of a slice; no zero bytes, so that nothing needs emulation prevention.
    lambda kind, body: bytes([0x60 | kind]) + body,
    st.sampled_from([1, 5]),
    st.integers(1, 5000).map(lambda size: b"\xab" * size),
)


@pytest.fixture(scope="module", params=["h264", "vp8"])
def clip(request: pytest.FixtureRequest) -> Clip:
    codec: VideoCodec = request.param
    return short_clip(codec)


def payloads(frame: Frame, vp8: bool, number: int = 0) -> list[bytes]:
    return [
        packet.payload(vp8_descriptor(packet, number, 0) if vp8 else b"", NUMBERS)
        for packet in frame
    ]


def joined_by_aiortc(frame: Frame, codec: str) -> bytes:
    """An independent implementation puts the frame together again."""
    parameters = RTCRtpCodecParameters(f"video/{'H264' if codec == 'h264' else 'VP8'}", 90_000)
    return b"".join(depayload(parameters, part) for part in payloads(frame, codec == "vp8"))


def test_a_decoder_reads_every_frame_that_another_implementation_put_together(clip: Clip) -> None:
    decoder = av.CodecContext.create(clip.codec, "r")
    pictures = []
    for frame in packetise(clip).video:
        pictures += decoder.decode(av.Packet(joined_by_aiortc(frame, clip.codec)))
    assert len(pictures) == len(clip.video)
    assert all((picture.width, picture.height) == (1280, 720) for picture in pictures)


def test_the_stamp_changes_no_pixel(clip: Clip) -> None:
    stamped, plain = (av.CodecContext.create(clip.codec, "r") for _ in range(2))
    for frame, original in zip(packetise(clip).video, clip.video, strict=True):
        (with_stamp,) = stamped.decode(av.Packet(joined_by_aiortc(frame, clip.codec)))
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
        assert max(map(len, payloads(frame, clip.codec == "vp8"))) <= MAX_PAYLOAD + 6


def test_a_receiver_recognises_first_packets_and_keyframes(clip: Clip) -> None:
    vp8 = clip.codec == "vp8"
    for index, frame in enumerate(packetise(clip).video):
        parts = payloads(frame, vp8, index)
        starts = [starts_frame(clip.codec, part) for part in parts]
        assert starts == [True] + [False] * (len(parts) - 1)
        assert starts_keyframe(clip.codec, parts[0]) == (index in clip.keyframes)
        assert [find_stamp(part) is not None for part in parts].count(True) == 1


def test_sound_survives_the_stamp_in_its_padding() -> None:
    clip = short_clip("vp8")
    stamped, plain = (av.CodecContext.create("libopus", "r") for _ in range(2))
    for frame, original in zip(packetise(clip).audio, clip.audio, strict=True):
        (payload,) = payloads(frame, False)
        (with_stamp,) = stamped.decode(av.Packet(payload))
        (without,) = plain.decode(av.Packet(original))
        assert with_stamp.samples == 960
        assert (with_stamp.to_ndarray() == without.to_ndarray()).all()


@given(st.lists(nals, min_size=1, max_size=3))
def test_h264_units_of_any_size_come_out_as_they_went_in(units: list[bytes]) -> None:
    frame = packetise_h264(b"".join(b"\0\0\0\1" + unit for unit in units))
    out = split_annex_b(joined_by_aiortc(frame, "h264"))
    assert [unit for unit in out if unit[0] & 0x1F != 6] == units


@given(st.binary(min_size=1, max_size=10_000))
def test_vp8_frames_of_any_size_come_out_as_they_went_in(frame: bytes) -> None:
    assert joined_by_aiortc(packetise_vp8(frame), "vp8").startswith(frame)


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


@pytest.mark.parametrize("layers", [{0}, {0, 1}], ids=str)
def test_vp8_lower_layers_decode_to_the_same_pictures_without_the_upper(layers: set[int]) -> None:
    clip = short_clip("vp8", seconds=3)
    whole, lower = (av.CodecContext.create("vp8", "r") for _ in range(2))
    for frame, original in zip(packetise(clip).video, clip.video, strict=True):
        (picture,) = whole.decode(av.Packet(original))
        if frame[0].layer >> 6 in layers:
            (same,) = lower.decode(av.Packet(original))
            assert (same.to_ndarray() == picture.to_ndarray()).all()


def test_an_opus_packet_of_several_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="one frame"):
        packetise_opus(b"\x03\x02")


@given(st.sampled_from(["h264", "vp8", "opus"]), st.binary(min_size=1, max_size=60))
def test_any_payload_can_be_asked_whether_it_starts_something(codec: str, payload: bytes) -> None:
    if starts_keyframe(codec, payload) and codec == "vp8":
        assert starts_frame(codec, payload)
