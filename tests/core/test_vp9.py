"""VP9 frames of a real encoder, and of nobody."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import vp9
from server.core.frames import Codec
from tests.recorder.encoded import video


@pytest.mark.parametrize(("width", "height"), [(160, 120), (1280, 720), (321, 181)])
def test_a_keyframe_tells_its_size(width: int, height: int) -> None:
    header = vp9.parse_header(video(Codec.VP9, 0.1, width, height)[0][0])
    assert header == vp9.Vp9Header(0, True, True, width, height, vp9.Colour())


def test_an_interframe_is_told_from_a_keyframe() -> None:
    frames = video(Codec.VP9, 1.5)
    for parsed in (
        [vp9.parse_header(payload).keyframe for payload, _ in frames],
        [vp9.begins_keyframe(payload) for payload, _ in frames],
    ):
        assert parsed == [keyframe for _, keyframe in frames]
    assert vp9.parse_header(frames[1][0]).width == 0, "an interframe has its size from another"


def bits(text: str) -> bytes:
    """Binary digits as bytes, filled up with zeros."""
    text = text.replace(" ", "")
    length = -(-len(text) // 8)
    return int("0" + text.ljust(8 * length, "0"), 2).to_bytes(length, "big")


SYNC = f"{0x498342:024b}"
SIZE = f"{639:016b} {359:016b}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # VP9 6.2: marker, profile, show_existing_frame, frame_type, show_frame, error_resilient.
        ("10 00 1 000", vp9.Vp9Header(0, False, True)),
        (f"10 00 0 1 0 1 1 {SYNC} 00000001 {SIZE}", vp9.Vp9Header(0, False, False, 640, 360)),
        # An upper layer's first frame: of another size than any reference.
        (f"10 00 0 1 1 1 00000001 {'0' * 12} 000 {SIZE}", vp9.Vp9Header(0, False, True, 640, 360)),
        (f"10 00 0 1 1 0 00 00000001 {'0' * 12} 001", vp9.Vp9Header(0, False, True)),
        (
            f"10 00 0 0 1 0 {SYNC} 010 1 {SIZE}",
            vp9.Vp9Header(0, True, True, 640, 360, vp9.Colour(8, 2, True)),
        ),
        (
            f"10 10 0 0 1 0 {SYNC} 001 0 1 0 0 {SIZE}",
            vp9.Vp9Header(1, True, True, 640, 360, vp9.Colour(8, 1, False, 1, 0)),
        ),
        (
            f"10 01 0 0 1 0 {SYNC} 1 101 0 {SIZE}",
            vp9.Vp9Header(2, True, True, 640, 360, vp9.Colour(12, 5)),
        ),
        (
            f"10 11 0 0 0 1 0 {SYNC} 0 111 0 {SIZE}",
            vp9.Vp9Header(3, True, True, 640, 360, vp9.Colour(10, 7, True, 0, 0)),
        ),
    ],
)
def test_headers_of_each_kind(text: str, expected: vp9.Vp9Header) -> None:
    assert vp9.parse_header(bits(text)) == expected
    assert vp9.begins_keyframe(bits(text)) == expected.keyframe


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "01 00 0 0 1 0",
        "10 11 1",
        f"10 00 0 0 1 0 {0:024b}",
        f"10 00 0 0 1 0 {SYNC}",
        f"10 00 0 0 1 0 {SYNC} 111",
        f"10 10 0 0 1 0 {SYNC} 001 0 1 1 1",
    ],
)
def test_what_is_no_frame_is_refused(text: str) -> None:
    with pytest.raises(vp9.Vp9Error):
        vp9.parse_header(bits(text))


@pytest.mark.parametrize(
    ("width", "height", "level"),
    [
        (160, 120, 10),
        (320, 240, 20),
        (640, 360, 21),
        (640, 480, 30),
        (1280, 720, 31),
        (720, 1280, 31),
        (1920, 1080, 40),
        (3840, 2160, 50),
        (65_536, 65_536, 62),
    ],
)
def test_the_level_is_the_lowest_for_the_size(width: int, height: int, level: int) -> None:
    assert vp9.level(width, height) == level


def test_the_configuration_is_the_one_another_muxer_writes() -> None:
    frame = video(Codec.VP9, 0.1, 1280, 720)[0][0]
    ivf = b"DKIF\0\0\x20\0VP90" + (1280).to_bytes(2, "little") + (720).to_bytes(2, "little")
    ivf += (30).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(8)
    ivf += len(frame).to_bytes(4, "little") + bytes(8) + frame
    command = ["ffmpeg", "-v", "error", "-f", "ivf", "-i", "-", "-c", "copy", "-f", "mp4"]
    command += ["-movflags", "empty_moov", "-"]
    written = subprocess.run(command, input=ivf, capture_output=True, check=True).stdout
    theirs = written[written.index(b"vpcC") + 8 :][:8]
    ours = vp9.configuration(vp9.parse_header(frame), 1280, 720)
    assert ours == theirs
    assert ours[1] == 31


def test_chroma_formats_of_the_configuration() -> None:
    def chroma(x: int, y: int) -> int:
        header = vp9.Vp9Header(1, True, True, 16, 16, vp9.Colour(8, 0, False, x, y))
        return vp9.configuration(header, 16, 16)[2] >> 1 & 7

    assert [chroma(1, 1), chroma(1, 0), chroma(0, 0)] == [1, 2, 3]


def test_superframes_come_apart_and_join_again() -> None:
    frames = [payload for payload, _ in video(Codec.VP9, 0.2)][:3]
    joined = vp9.join_superframe(frames)
    assert vp9.split_superframe(joined) == frames
    assert vp9.split_superframe(frames[0]) == [frames[0]] == [vp9.join_superframe(frames[:1])]


def test_bytes_between_a_frame_and_the_index_belong_to_no_frame() -> None:
    index = bytes([0b110_00_000, 5, 0b110_00_000])
    assert vp9.split_superframe(b"frame" + b"beyond" + index) == [b"frame"]


@pytest.mark.parametrize("data", [b"", b"ab\xc0\x05\xc0", b"ab\xc0\x00\xc0"])
def test_an_index_that_does_not_add_up_is_refused(data: bytes) -> None:
    with pytest.raises(vp9.Vp9Error):
        vp9.split_superframe(data)


def test_a_superframe_has_at_most_eight_frames() -> None:
    for count in (0, 9):
        with pytest.raises(vp9.Vp9Error):
            vp9.join_superframe([b"\x86"] * count)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=2, max_size=8))
def test_any_frames_join_and_come_apart(frames: list[bytes]) -> None:
    assert vp9.split_superframe(vp9.join_superframe(frames)) == frames


@given(st.binary(max_size=60))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    for candidate in (data, b"\x82" + data, b"\x82\x49\x83\x42" + data):
        vp9.begins_keyframe(candidate)
        try:
            header = vp9.parse_header(candidate)
        except vp9.Vp9Error:
            continue
        assert header.keyframe == vp9.begins_keyframe(candidate)
        assert not header.keyframe or header.width > 0 < header.height
    try:
        frames = vp9.split_superframe(data)
    except vp9.Vp9Error:
        return
    assert sum(map(len, frames)) <= len(data)
