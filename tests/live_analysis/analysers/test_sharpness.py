import numpy as np
import pytest

from server.live_analysis.analysers.sharpness import Sharpness
from server.live_analysis.port import Face, Image
from tests.live_analysis.planted import noise, picture, scaled, scene


def measure(rgb: Image, *faces: Face) -> float:
    shot = picture(rgb)
    shot.faces = faces
    (found,) = Sharpness().see(shot)
    assert found.value is not None
    return found.value


def blurred(rgb: Image, factor: int) -> Image:
    return scaled(scaled(rgb, 1 / factor), factor)


def test_blur_lowers_sharpness_step_by_step() -> None:
    rgb = scene((0.5, 0.5), scale=2.5)
    steps = [measure(rgb), *(measure(blurred(rgb, factor)) for factor in (8, 16, 40))]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < steps[0] / 4


def test_a_flat_picture_has_none() -> None:
    assert measure(np.full((360, 640, 3), 90, np.uint8)) == 0


def test_the_face_counts_and_not_what_is_behind_it() -> None:
    rgb = np.clip(128 + 60 * noise((360, 640, 3), 7), 0, 255).astype(np.uint8)
    rgb[100:260, 250:390] = 128
    assert measure(rgb, Face(260 / 640, 120 / 360, 120 / 640, 130 / 360, 1)) < measure(rgb) / 10


@pytest.mark.parametrize("face", [Face(0.5, 0.5, 0.001, 0.001, 1), Face(3, 3, 1, 1, 1)])
def test_a_face_too_small_to_tell_leaves_the_picture(face: Face) -> None:
    rgb = scene((0.5, 0.5))
    assert measure(rgb, face) == measure(rgb)


def test_of_pictures_without_their_loop_filter_nothing_is_said() -> None:
    shot = picture(scene((0.5, 0.5)))
    shot.keyframe = False
    assert list(Sharpness().see(shot)) == []


def test_without_a_new_picture_nothing_is_known() -> None:
    assert all(it.value is None for it in Sharpness().miss(1.0))
