"""The start of VP8 frames of a real encoder, and of nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core import vp8
from server.core.frames import Codec
from tests.recorder.encoded import video


@pytest.mark.parametrize(("width", "height"), [(160, 120), (1280, 720), (321, 181)])
def test_a_keyframe_tells_its_size(width: int, height: int) -> None:
    payload, _ = video(Codec.VP8, 0.1, width, height)[0]
    assert vp8.parse_header(payload) == vp8.Vp8Header(True, 0, True, width, height)


def test_an_interframe_is_told_from_a_keyframe() -> None:
    assert [vp8.parse_header(payload).keyframe for payload, _ in video(Codec.VP8, 1.5)] == [
        keyframe for _, keyframe in video(Codec.VP8, 1.5)
    ]


@pytest.mark.parametrize(
    "frame", [b"", b"\0\0", b"\0\0\0", b"\0" * 10, b"\0\0\0\x9d\x01\x2a" + b"\0" * 4]
)
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(vp8.Vp8Error):
        vp8.parse_header(frame)


@given(st.binary(max_size=20))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    try:
        header = vp8.parse_header(data)
    except vp8.Vp8Error:
        return
    assert header.keyframe == bool(header.width)
