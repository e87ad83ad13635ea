import numpy as np
import pytest
from numpy.typing import NDArray

from loadtest.scene import HEIGHT, WIDTH, Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


def luma(scene: Scene, phase: float, mouth: float = 0) -> NDArray[np.int64]:
    return scene.picture(phase, mouth).to_ndarray()[:HEIGHT].astype(np.int64)


def test_the_loop_ends_where_it_begins(scene: Scene) -> None:
    assert (luma(scene, 0) == luma(scene, 1 - 1e-12)).mean() > 0.99


def test_face_and_room_move(scene: Scene) -> None:
    change = np.abs(luma(scene, 0) - luma(scene, 0.08))
    face, room = change[150:450, 400:750], change[50:400, 900:1250]
    assert face.mean() > 2
    assert room.mean() > 0.5


def test_only_the_mouth_region_follows_the_voice(scene: Scene) -> None:
    change = np.abs(luma(scene, 0, mouth=0) - luma(scene, 0, mouth=1))
    assert change[340:470, 450:650].mean() > 3
    assert change[:150].mean() < 0.2
    assert change[:, 900:].mean() < 0.2


def test_the_portrait_is_in_colour_and_fills_the_picture(scene: Scene) -> None:
    picture = scene.picture(0.3, 0.5)
    rgb = picture.to_ndarray(format="rgb24").astype(int)
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    skin = rgb[250:330, 520:600].mean(axis=(0, 1))
    assert skin[0] > skin[1] > skin[2] > 50
