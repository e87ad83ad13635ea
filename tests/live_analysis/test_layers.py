import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core import vp9
from server.core.frames import Codec, EncodedFrame, TrackName
from server.live_analysis.analysers import VIDEO
from server.live_analysis.layers import (
    ENOUGH_FPS,
    ENOUGH_LINES,
    SHORTEST_S,
    SpatialLayers,
    TemporalLayers,
)
from tests.media.spatial import SIZES, vp9_frame

#: The layers of Chromium's L1T3, in order.
L1T3 = (0, 2, 1, 2)


def frame(at_s: float, temporal_id: int = 0, keyframe: bool = False) -> EncodedFrame:
    return EncodedFrame(TrackName.CAMERA, Codec.VP8, b"", at_s, keyframe, at_s, temporal_id)


def admitted(layers: TemporalLayers, fps: int, start_s: float, span_s: float = 4.0) -> set[int]:
    """The layers let through in a stretch that begins with a keyframe."""
    assert layers.admit(frame(start_s, keyframe=True))
    frames = [frame(start_s + n / fps, L1T3[n % 4]) for n in range(1, round(fps * span_s))]
    return {each.temporal_id for each in frames if layers.admit(each)}


def test_the_base_layer_of_a_usual_camera_is_enough() -> None:
    layers = TemporalLayers()
    assert admitted(layers, 30, 0) == {0, 1, 2}  # its rate is not known yet
    assert admitted(layers, 30, 4) == {0}


def test_a_slow_camera_is_taken_with_more_layers_from_the_next_keyframe_on() -> None:
    layers = TemporalLayers()
    admitted(layers, 30, 0)
    assert admitted(layers, 12, 4) == {0}
    assert admitted(layers, 12, 8) == {0, 1}
    assert admitted(layers, 4, 12) == {0, 1}
    assert admitted(layers, 4, 16) == {0, 1, 2}


def test_keyframes_in_quick_succession_are_counted_together() -> None:
    layers = TemporalLayers()
    for start_s in (0.0, 0.3, 0.6, 0.9):
        assert admitted(layers, 30, start_s, 0.3) == {0, 1, 2}
    assert admitted(layers, 30, SHORTEST_S + 0.2) == {0}


def test_a_stream_without_layers_is_taken_whole() -> None:
    layers = TemporalLayers()
    assert all(layers.admit(frame(n / 30, keyframe=n % 60 == 0)) for n in range(300))


def test_a_keyframe_passes_whatever_layer_it_claims() -> None:
    layers = TemporalLayers()
    admitted(layers, 30, 0)
    admitted(layers, 30, 4)
    assert layers.admit(frame(8, 2, keyframe=True))


def test_a_clock_that_steps_back_begins_anew() -> None:
    layers = TemporalLayers()
    admitted(layers, 30, 100)
    admitted(layers, 30, 50)
    assert admitted(layers, 30, 54) == {0}


def test_what_is_enough_follows_the_fastest_analyser() -> None:
    fastest = max(card.rate_hz for card, _ in VIDEO)
    assert 0.85 * fastest <= ENOUGH_FPS < fastest


def picture(*layers: int, keyframe: bool = False, shrunk: int = 1) -> EncodedFrame:
    """VP9 of these spatial layers, of 180, 360 and 720 lines, or fewer."""
    frames = [
        vp9_frame(each, keyframe=keyframe, octets=100 + each, shrunk=shrunk) for each in layers
    ]
    payload = vp9.join_superframe(frames)
    return EncodedFrame(TrackName.CAMERA, Codec.VP9, payload, 0.0, keyframe, 0.0)


def taken(layers: SpatialLayers, frame: EncodedFrame) -> list[int]:
    """The layers that are decoded."""
    return [len(each) - 100 for each in vp9.split_superframe(layers.lowest(frame))]


def test_of_a_picture_in_several_sizes_the_smallest_that_is_enough_is_taken() -> None:
    layers = SpatialLayers()
    assert SIZES[0][1] == ENOUGH_LINES
    assert taken(layers, picture(0, 1, 2, keyframe=True)) == [0]
    assert taken(layers, picture(0, 1, 2)) == [0]
    assert taken(layers, picture(0)) == [0]


@pytest.mark.parametrize(("shrunk", "count"), [(2, 2), (4, 3), (8, 3)])
def test_sizes_that_are_too_small_are_taken_with_the_next_one(shrunk: int, count: int) -> None:
    layers = SpatialLayers()
    assert taken(layers, picture(0, 1, 2, keyframe=True, shrunk=shrunk)) == list(range(count))
    assert taken(layers, picture(0, 1, 2)) == list(range(count))


def test_sizes_change_at_keyframes_alone() -> None:
    layers = SpatialLayers()
    assert taken(layers, picture(0, 1, 2)) == [0, 1, 2], "nothing is known yet"
    assert taken(layers, picture(0, 1, 2, keyframe=True)) == [0]
    assert taken(layers, picture(0, 1, keyframe=True, shrunk=2)) == [0, 1]
    assert taken(layers, picture(0, 1, 2)) == [0, 1, 2], "one that was not there came with it"
    assert taken(layers, picture(0, keyframe=True)) == [0]


def test_frames_that_are_not_shown_stay() -> None:
    layers = SpatialLayers()
    assert taken(layers, picture(1, 1, keyframe=True)) == [1, 1]
    assert taken(layers, picture(1, 1)) == [1, 1]


@given(st.lists(st.tuples(st.sampled_from(list(Codec)), st.binary(max_size=40), st.booleans())))
def test_any_bytes_are_left_or_shortened(frames: list[tuple[Codec, bytes, bool]]) -> None:
    layers = SpatialLayers()
    layers.lowest(picture(0, 1, keyframe=True))
    for codec, payload, keyframe in frames:
        frame = EncodedFrame(TrackName.CAMERA, codec, payload, 0.0, keyframe, 0.0)
        assert len(layers.lowest(frame)) <= len(payload)
