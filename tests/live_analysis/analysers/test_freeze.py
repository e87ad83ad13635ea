import itertools

import numpy as np
import pytest

from server.core.frames import Codec, TrackName
from server.live_analysis.analysers.freeze import Freeze
from server.live_analysis.port import Image
from server.live_analysis.sight import Sight
from server.live_analysis.wire import Frame
from tests.live_analysis.planted import FPS, noise, picture, scene, video


def see(freeze: Freeze, rgb: Image, at_s: float, keyframe: bool = False) -> float | None:
    shot = picture(rgb, at_s)
    shot.keyframe = keyframe
    (found,) = freeze.see(shot)
    return found.value


def test_a_moving_picture_is_not_frozen() -> None:
    freeze = Freeze()
    for step in range(10):
        assert see(freeze, scene((0.4 + 0.005 * step, 0.5)), step * 0.2) == 0


def test_an_equal_picture_is_frozen_since_it_came() -> None:
    freeze, still = Freeze(), scene((0.5, 0.5))
    for step in range(10):
        assert see(freeze, still, step * 0.2) == pytest.approx(step * 0.2)
    assert see(freeze, scene((0.51, 0.5)), 3.0) == 0


def test_what_encoders_change_in_a_still_picture_is_not_motion() -> None:
    freeze, still = Freeze(), scene((0.5, 0.5))
    see(freeze, still, 0.0)
    shimmer = np.clip(still + np.round(0.6 * noise(still.shape, 8)), 0, 255).astype(np.uint8)
    assert see(freeze, shimmer, 1.0) == 1.0


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264])
def test_keyframes_of_a_still_picture_are_not_motion(codec: Codec) -> None:
    sight, freeze, still = Sight(), Freeze(), scene((0.5, 0.5))
    stream, values = video(codec, itertools.repeat(still, 9 * FPS), gop=3 * FPS), []
    for n, (payload, keyframe) in enumerate(stream):
        at_s = n / FPS
        sight.add(Frame(1, TrackName.CAMERA, codec, payload, at_s, at_s, keyframe))
        if n % 6 == 5 and (shot := sight.picture(at_s)) is not None:
            values += [found.value or 0 for found in freeze.see(shot)]
    assert sum(keyframe for _, keyframe in stream) == 3
    assert values[-1] > 6


def test_motion_goes_on_through_a_keyframe_and_begins_soon_after_one() -> None:
    freeze = Freeze()
    moving = [scene((0.4 + 0.01 * step, 0.5)) for step in range(10)]
    for step, rgb in enumerate(moving):
        assert see(freeze, rgb, step * 0.2, keyframe=step == 4) == 0
    assert see(freeze, moving[-1], 2.0) == pytest.approx(0.2)
    assert see(freeze, moving[0], 2.2, keyframe=True) == pytest.approx(0.4)
    assert see(freeze, moving[1], 2.7) == 0


def test_slow_motion_is_motion() -> None:
    freeze = Freeze()
    values = [see(freeze, scene((0.5 + 0.0004 * step, 0.5)), step * 0.2) for step in range(20)]
    assert max(value or 0 for value in values) < 1.0


def test_without_new_pictures_it_grows() -> None:
    freeze = Freeze()
    see(freeze, scene((0.5, 0.5)), 1.0)
    (found,) = freeze.miss(4.5)
    assert found.value == 3.5


def test_without_any_picture_it_counts_from_when_one_was_missed() -> None:
    freeze = Freeze()
    values = [next(iter(freeze.miss(at_s))).value for at_s in (10.0, 12.0)]
    assert values == [0, 2]


def test_a_change_of_size_is_motion() -> None:
    freeze = Freeze()
    see(freeze, scene((0.5, 0.5)), 0.0)
    assert see(freeze, scene((0.5, 0.5), size=(480, 640)), 1.0) == 0
