from server.core.frames import Codec, EncodedFrame, TrackName
from server.live_analysis.analysers import VIDEO
from server.live_analysis.layers import ENOUGH_FPS, SHORTEST_S, TemporalLayers

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
