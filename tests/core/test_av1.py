"""AV1 temporal units of a real encoder, and of nobody."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import av1
from server.core.frames import Codec
from tests.recorder.encoded import video


def header(width: int = 640, height: int = 360) -> bytes:
    found = av1.sequence_header(video(Codec.AV1, 0.1, width, height)[0][0])
    assert found is not None
    return found


@pytest.mark.parametrize(("width", "height"), [(160, 120), (640, 360), (1280, 720), (322, 182)])
def test_a_sequence_header_tells_size_and_level(width: int, height: int) -> None:
    parsed = av1.parse_sequence_header(header(width, height))
    assert (parsed.width, parsed.height) == (width, height)
    assert (parsed.profile, parsed.tier, parsed.bit_depth) == (0, 0, 8)
    assert (parsed.subsampling_x, parsed.subsampling_y, parsed.monochrome) == (1, 1, False)


def test_keyframes_are_told_from_others() -> None:
    units = video(Codec.AV1, 1.5)
    assert [av1.is_keyframe(unit) for unit, _ in units] == [keyframe for _, keyframe in units]
    assert [av1.sequence_header(unit) is not None for unit, _ in units] == [
        keyframe for _, keyframe in units
    ]


def test_obus_come_with_their_layers_and_sizes() -> None:
    unit = b"\x0a\x01s" + b"\x36\x48\x02fr" + b"\x2a\x00"
    assert list(av1.obus(unit)) == [
        av1.Obu(av1.OBU_SEQUENCE_HEADER, 0, b"s"),
        av1.Obu(av1.OBU_FRAME, 2, b"fr", 1),
        av1.Obu(av1.OBU_METADATA, 0, b""),
    ]


@pytest.mark.parametrize(
    "unit", [b"\x0a", b"\x0a\x02s", b"\x08s", b"\x8a\x00", b"\x0e", b"\x0e\x00", b"\x0a\xff\xff"]
)
def test_units_that_do_not_add_up_are_refused(unit: bytes) -> None:
    with pytest.raises(av1.Av1Error):
        list(av1.obus(unit))


def test_an_obu_is_given_its_size_once() -> None:
    assert av1.sized(b"\x30frame") == b"\x32\x05frame" == av1.sized(b"\x32\x05frame")
    assert av1.sized(b"\x34\x20frame") == b"\x36\x20\x05frame"
    for wrong in (b"", b"\x32\x04frame", b"\x34"):
        with pytest.raises(av1.Av1Error):
            av1.sized(wrong)


@pytest.mark.parametrize(
    ("value", "data"), [(0, "00"), (127, "7f"), (128, "8001"), (2**32 - 1, "ffffffff0f")]
)  # AV1 4.10.5
def test_leb128(value: int, data: str) -> None:
    assert av1.write_leb128(value) == bytes.fromhex(data)
    assert av1.read_leb128(bytes.fromhex("aa" + data + "bb"), 1) == (value, 1 + len(data) // 2)


@pytest.mark.parametrize("data", ["", "80", "8080808080808080", "808080808080808000", "ffffffff1f"])
def test_a_leb128_that_is_too_long_is_refused(data: str) -> None:
    with pytest.raises(av1.Av1Error):
        av1.read_leb128(bytes.fromhex(data), 0)


def bits(text: str) -> bytes:
    """Binary digits as bytes, filled up with zeros."""
    text = text.replace(" ", "")
    length = -(-len(text) // 8)
    return int("0" + text.ljust(8 * length, "0"), 2).to_bytes(length, "big")


#: AV1 5.5.1 behind the operating points: 16 bits for each side, 640x360, no frame ids.
SIZE = f"1111 1111 {639:016b} {359:016b}"
TOOLS = "000 0000 1 00 1 1 111 000"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # A still picture's reduced header, level 3.1, monochrome.
        (f"000 1 1 00101 {SIZE} 000 000 0 1 0 0", (0, 5, 0, 8, True, 1, 1, 0)),
        # Timing and decoder model, two operating points; the first counts: level 5.1, high tier.
        (
            f"000 0 0 1 {1:032b} {30:032b} 1 1 1 00011 {1:032b} 00000 00000 1 00001"
            f" 000100000001 01101 1 1 0000 0000 0 1 0101 000100000011 00001 0 0"
            f" {SIZE} 1 0000 000 {TOOLS} 1 0 1 {2:08b} {2:08b} {2:08b} 0 10",
            (0, 13, 1, 10, False, 1, 1, 2),
        ),
        # 4:4:4 sRGB; a screen's tools chosen for the whole sequence.
        (
            f"001 0 0 0 0 00000 {0:012b} 00000 {SIZE} 0 000 0000 0 0 1 1 000 "
            f"0 1 {1:08b} {13:08b} {0:08b}",
            (1, 0, 0, 8, False, 0, 0, 0),
        ),
        (
            f"001 0 0 0 0 00000 {0:012b} 00000 {SIZE} 0 000 0000 0 0 0 000 0 0 0",
            (1, 0, 0, 8, False, 0, 0, 0),
        ),
        # The professional profile: 12 bits 4:2:0, 12 bits 4:4:4, 10 bits 4:2:2.
        (f"010 1 1 00101 {SIZE} 000 000 1 1 0 0 0 1 1 01", (2, 5, 0, 12, False, 1, 1, 1)),
        (f"010 1 1 00101 {SIZE} 000 000 1 1 0 0 0 0", (2, 5, 0, 12, False, 0, 0, 0)),
        (f"010 1 1 00101 {SIZE} 000 000 1 0 0 0 0", (2, 5, 0, 10, False, 1, 0, 0)),
    ],
)
def test_sequence_headers_of_each_kind(
    text: str, expected: tuple[int, int, int, int, bool, int, int, int]
) -> None:
    assert av1.parse_sequence_header(bits(text)) == av1.SequenceHeader(*expected, 640, 360)


def test_a_reserved_profile_is_refused() -> None:
    with pytest.raises(av1.Av1Error):
        av1.parse_sequence_header(b"\x60" + bytes(20))


def test_the_configuration_is_the_one_another_muxer_writes() -> None:
    unit = video(Codec.AV1, 0.1, 640, 360)[0][0]
    command = ["ffmpeg", "-v", "error", "-f", "obu", "-i", "-", "-c", "copy", "-f", "mp4"]
    command += ["-movflags", "empty_moov", "-"]
    stream = b"\x12\0" + unit
    written = subprocess.run(command, input=stream, capture_output=True, check=True).stdout
    at = written.index(b"av1C")
    theirs = written[at + 4 : at - 4 + int.from_bytes(written[at - 4 : at], "big")]
    assert av1.configuration(header(640, 360)) == theirs


@given(st.integers(0, 2**32 - 1))
def test_any_number_is_written_and_read(value: int) -> None:
    data = av1.write_leb128(value)
    assert av1.read_leb128(data, 0) == (value, len(data))


@given(st.binary(max_size=120))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    for parse in (
        lambda d: list(av1.obus(d)),
        av1.is_keyframe,
        av1.sequence_header,
        av1.sized,
        av1.parse_sequence_header,
        av1.configuration,
    ):
        for candidate in (data, b"\0\0\0\0" + data, b"\x0a\x0b" + data):
            try:
                parse(candidate)
            except av1.Av1Error:
                continue


@settings(deadline=None)  # the first example encodes
@given(st.data())
def test_a_damaged_sequence_header_parses_or_is_refused(data: st.DataObject) -> None:
    damaged = bytearray(header())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = av1.parse_sequence_header(bytes(damaged[: data.draw(st.integers(1, 12))]))
    except av1.Av1Error:
        return
    assert 0 < parsed.width <= 65_536 >= parsed.height > 0
