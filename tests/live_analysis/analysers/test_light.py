import numpy as np
import pytest

from server.live_analysis.analysers.light import Light, inside
from server.live_analysis.port import Face, Image
from tests.live_analysis.planted import picture, scene


def measure(rgb: Image, *faces: Face) -> dict[str, float | None]:
    shot = picture(rgb)
    shot.faces = faces
    return {it.name: it.value for it in Light().see(shot)}


def grey(level: int) -> Image:
    return np.full((360, 640, 3), level, np.uint8)


@pytest.mark.parametrize("level", [0, 64, 128, 255])
def test_a_grey_picture_has_its_level(level: int) -> None:
    found = measure(grey(level))
    assert found["picture.light"] == pytest.approx(level / 255, abs=0.01)
    assert found["picture.contrast"] == 0
    assert found["picture.backlight"] == pytest.approx(0, abs=0.01)


def test_darkening_a_scene_lowers_its_light_step_by_step() -> None:
    rgb = scene((0.5, 0.5))
    steps = [
        measure((rgb * factor).astype(np.uint8))["picture.light"] or 0
        for factor in (1.0, 0.7, 0.4, 0.1)
    ]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < 0.12 < steps[0]


def test_black_beside_white_is_full_contrast() -> None:
    rgb = grey(0)
    rgb[:, 320:] = 255
    assert measure(rgb)["picture.contrast"] == pytest.approx(1, abs=0.02)


def test_light_from_behind_is_positive_and_on_the_face_negative() -> None:
    face = Face(0.4, 0.3, 0.2, 0.4, 1)
    window = grey(250)
    window[108:252, 256:384] = 30
    assert (measure(window, face)["picture.backlight"] or 0) > 0.7
    assert (measure(255 - window, face)["picture.backlight"] or 0) < -0.7


def test_without_a_face_the_middle_stands_for_it() -> None:
    rgb = grey(250)
    rgb[120:240, 213:427] = 30
    assert (measure(rgb)["picture.backlight"] or 0) > 0.7


@pytest.mark.parametrize("face", [Face(-1, -1, 3, 3, 1), Face(2, 2, 1, 1, 1)])
def test_a_face_that_is_everything_or_outside_has_no_backlight(face: Face) -> None:
    assert measure(grey(100), face)["picture.backlight"] is None


def test_a_box_is_cut_to_the_picture() -> None:
    luma = np.zeros((100, 200), np.uint8)
    assert luma[inside(Face(-0.5, 0.5, 1, 2, 1), luma)].shape == (50, 100)


def test_without_a_new_picture_nothing_is_known() -> None:
    assert all(it.value is None for it in Light().miss(1.0))
