"""Parameter sets of real encoders, and of nobody."""

from fractions import Fraction

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import h264
from server.core.frames import Codec
from tests.recorder.encoded import video


def _sps(width: int, height: int) -> bytes:
    payload, keyframe = video(Codec.H264, 0.1, width, height)[0]
    assert keyframe
    return next(nal for nal in h264.nal_units(payload) if h264.nal_type(nal) == h264.NAL_TYPE_SPS)


@pytest.mark.parametrize(("width", "height"), [(160, 120), (640, 360), (1280, 720), (322, 182)])
def test_the_size_is_the_encoders_cropping_included(width: int, height: int) -> None:
    parsed = h264.parse_sps(_sps(width, height))
    assert (parsed.width, parsed.height) == (width, height)
    assert parsed.profile_idc == 66


@pytest.mark.parametrize(
    ("profile", "pix_fmt", "chroma", "depth"),
    [("High", "yuv420p", 1, 8), ("High 10", "yuv420p10le", 1, 10), ("High 4:2:2", "yuv422p", 2, 8)],
)
def test_high_profiles_tell_chroma_and_depth(
    profile: str, pix_fmt: str, chroma: int, depth: int
) -> None:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 176, 144, pix_fmt
    encoder.options = {"profile": profile.lower().replace(" ", "").replace(":", "")}
    encoder.time_base = Fraction(1, 30)
    encoder.flags |= 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER
    encoder.open()
    assert encoder.extradata is not None
    nals = encoder.extradata.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    parsed = h264.parse_sps(next(nal for nal in nals if nal and nal[0] & 31 == 7))
    assert (parsed.width, parsed.height) == (176, 144)
    assert (parsed.chroma_format_idc, parsed.bit_depth_luma) == (chroma, depth)


def test_nal_units_come_apart_and_join_again() -> None:
    payload = video(Codec.H264, 0.1)[0][0]
    assert h264.join_nal_units(list(h264.nal_units(payload))) == payload


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\0", b"\0\0\0\5abc", b"\0\0\0\1a\0"])
def test_lengths_that_do_not_add_up_are_refused(data: bytes) -> None:
    with pytest.raises(h264.H264Error):
        list(h264.nal_units(data))


def test_the_configuration_of_a_high_profile_carries_chroma_and_depth() -> None:
    # H.264 7.3.2.1.1: profile 100, level 30, then 4:2:0 with 8 bits, 160x128.
    sps = bytes.fromhex("6764001eacd94141fb0110000003001000000303c0f162d960")
    record = h264.configuration((sps,), (b"\x68\xeb",))
    assert record[:6] == bytes([1, 100, 0, 30, 0xFF, 0xE1])
    assert record[-4:] == bytes([0xFD, 0xF8, 0xF8, 0])


@pytest.mark.parametrize(("sps", "pps"), [(0, 1), (1, 0), (32, 1), (1, 256)])
def test_a_configuration_has_some_parameter_sets_and_not_too_many(sps: int, pps: int) -> None:
    with pytest.raises(h264.H264Error):
        h264.configuration((_sps(160, 120),) * sps, (b"\x68\xeb",) * pps)


def test_a_parameter_set_too_long_for_a_configuration_is_refused() -> None:
    with pytest.raises(h264.H264Error):
        h264.configuration((_sps(160, 120),), (b"\x68" * 65_536,))


@settings(deadline=None)  # the first example encodes
@given(st.binary(max_size=80))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    for parse in (h264.parse_sps, lambda d: list(h264.nal_units(d))):
        for candidate in (data, b"\x67" + data):
            try:
                parse(candidate)
            except h264.H264Error:
                continue


@settings(deadline=None)  # the first example encodes
@given(st.data())
def test_a_damaged_sps_parses_or_is_refused(data: st.DataObject) -> None:
    sps = bytearray(_sps(160, 120))
    at = data.draw(st.integers(1, len(sps) - 1))
    sps[at] = data.draw(st.integers(0, 255))
    try:
        parsed = h264.parse_sps(bytes(sps[: data.draw(st.integers(1, len(sps)))]))
    except h264.H264Error:
        return
    assert 0 < parsed.width <= 16 * h264.MAX_MACROBLOCKS_PER_SIDE
    assert parsed.height > 0
