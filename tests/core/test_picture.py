import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import VIDEO_CODECS, Codec
from server.core.picture import Size, picture_size
from tests.media.streams import pictures


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_keyframes_of_others_encoders_tell_their_size(codec: Codec) -> None:
    for picture in pictures(codec):
        if picture.keyframe:
            assert picture_size(codec, picture.frame) == (320, 240)


@pytest.mark.parametrize("codec", list(Codec))
@given(st.binary(max_size=60))
def test_any_bytes_have_a_size_or_none(codec: Codec, payload: bytes) -> None:
    size = picture_size(codec, payload)
    assert size is None or size.pixels >= 0


def test_a_picture_held_upright_has_as_many_lines_as_one_that_lies() -> None:
    assert (Size(1280, 720).lines, Size(720, 1280).lines) == (720, 720)
