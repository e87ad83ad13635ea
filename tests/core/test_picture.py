import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core import vp9
from server.core.frames import VIDEO_CODECS, Codec
from server.core.picture import Size, picture_size, picture_sizes
from tests.media.spatial import SIZES, vp9_frame
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


def test_spatial_layers_are_told_apart_from_frames_that_are_not_shown() -> None:
    layers = [vp9_frame(each, keyframe=True, octets=100) for each in range(3)]
    assert picture_sizes(Codec.VP9, vp9.join_superframe(layers)) == list(SIZES)
    assert picture_size(Codec.VP9, vp9.join_superframe(layers)) == SIZES[-1]
    twice = vp9.join_superframe([layers[0], layers[0]])
    assert picture_sizes(Codec.VP9, twice) == [SIZES[0]]


def test_a_picture_held_upright_has_as_many_lines_as_one_that_lies() -> None:
    assert (Size(1280, 720).lines, Size(720, 1280).lines) == (720, 720)
