import numpy as np
import pytest

from server.live_analysis.analysers import face
from server.live_analysis.analysers.face import Faces, close, cut, look, whole
from server.live_analysis.blazeface import CLOSE_RANGE, FULL_RANGE, SHORT_RANGE, Detector
from server.live_analysis.port import Face, Measurement
from tests.live_analysis.planted import PORTRAIT_FACE_HEIGHT, noise, picture, scene

Found = dict[str, Measurement]


def see(faces: Faces, *places: tuple[float, float], at_s: float = 0.0, scale: float = 2) -> Found:
    return {it.name: it for it in faces.see(picture(scene(*places, scale=scale), at_s))}


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.2, 0.4), (0.8, 0.6), (0.35, 0.55)])
@pytest.mark.parametrize("scale", [1.5, 2.5])
def test_a_face_is_found_where_it_is(place: tuple[float, float], scale: float) -> None:
    found = see(Faces(), place, scale=scale)
    assert found["face.present"].value == 1
    assert found["face.count"].value == 1
    assert found["face.x"].value == pytest.approx(place[0], abs=0.03)
    assert found["face.y"].value == pytest.approx(place[1], abs=0.04)
    height = PORTRAIT_FACE_HEIGHT * scale / 720
    assert found["face.size"].value == pytest.approx(height, rel=0.15)


def test_a_moving_face_is_followed() -> None:
    faces = Faces()
    for step in range(20):
        x = 0.2 + 0.03 * step
        found = see(faces, (x, 0.5), at_s=0.2 * step)
        assert found["face.x"].value == pytest.approx(x, abs=0.03)
        assert found["face.count"].value == 1


def test_a_followed_face_may_come_nearer_and_go_away() -> None:
    faces = Faces()
    for step, scale in enumerate((1.5, 1.8, 2.1, 2.5, 3, 3.5, 4, 3.5, 3, 2.5, 2, 1.6, 1.4)):
        found = see(faces, (0.5, 0.5), at_s=0.2 * step, scale=scale)
        height = PORTRAIT_FACE_HEIGHT * scale / 720
        assert found["face.size"].value == pytest.approx(height, rel=0.15)
        assert found["face.x"].value == pytest.approx(0.5, abs=0.03)


def test_the_dear_models_look_once_in_a_wide_look_while_a_face_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Detector] = []

    def spy(detector: Detector, view: face.View) -> tuple[list[Face], float]:
        asked.append(detector)
        return look(detector, view)

    monkeypatch.setattr(face, "look", spy)
    faces = Faces()
    for step in range(20):
        see(faces, (0.4 + 0.01 * step, 0.5), at_s=0.2 * step)
    assert asked.count(FULL_RANGE) == 2
    assert asked.count(SHORT_RANGE) == 2
    assert asked.count(CLOSE_RANGE) == 18


def test_a_face_that_jumps_across_is_found_within_a_second() -> None:
    faces = Faces()
    see(faces, (0.12, 0.5), at_s=0.0)
    counts = [see(faces, (0.88, 0.5), at_s=0.2 * n)["face.count"].value for n in range(1, 7)]
    assert counts[-1] == 1
    assert max(count or 0 for count in counts) == 1


def test_two_faces_are_counted() -> None:
    found = see(Faces(), (0.3, 0.5), (0.7, 0.5))
    assert found["face.count"].value == 2


def test_a_second_face_is_seen_within_the_wide_look_and_stays() -> None:
    faces = Faces()
    for step in range(6):
        see(faces, (0.2, 0.5), at_s=0.2 * step)
    counts = [
        see(faces, (0.2, 0.5), (0.8, 0.5), at_s=0.2 * step)["face.count"].value
        for step in range(6, 30)
    ]
    assert counts[-14:] == [2] * 14


def test_no_face_is_said_and_has_no_place() -> None:
    found = see(Faces())
    assert found["face.present"].value == 0
    assert found["face.count"].value == 0
    assert found["face.present"].confidence > 0.5
    assert all(found[name].value is None for name in ("face.x", "face.y", "face.size"))


def test_noise_has_no_face() -> None:
    rgb = np.clip(128 + 50 * noise((720, 1280, 3), 6), 0, 255).astype(np.uint8)
    found = {it.name: it.value for it in Faces().see(picture(rgb))}
    assert found["face.count"] == 0


def test_a_face_that_leaves_is_gone_within_the_wide_look() -> None:
    faces = Faces()
    see(faces, (0.5, 0.5), at_s=0.0)
    found = [see(faces, at_s=0.2 * step)["face.count"].value for step in range(1, 8)]
    assert found[-1] == 0


@pytest.mark.parametrize("brightness", [0.35, 0.7, 1.5])
def test_light_does_not_hide_a_face(brightness: float) -> None:
    rgb = np.clip(scene((0.5, 0.5), scale=2) * brightness, 0, 255).astype(np.uint8)
    found = {it.name: it.value for it in Faces().see(picture(rgb))}
    assert found["face.count"] == 1


def test_a_mirrored_picture_has_its_face_at_the_mirrored_place() -> None:
    rgb = scene((0.3, 0.5), scale=2)[:, ::-1]
    found = {it.name: it.value for it in Faces().see(picture(rgb))}
    assert found["face.x"] == pytest.approx(0.7, abs=0.03)


def test_an_upright_phone_picture_is_understood() -> None:
    upright = scene((0.5, 0.4), scale=1.5, size=(480, 640))
    found = {it.name: it.value for it in Faces().see(picture(upright))}
    assert found["face.y"] == pytest.approx(0.4, abs=0.04)


@pytest.mark.parametrize("size", [(1280, 720), (480, 640), (2, 640), (640, 2), (16, 16)])
def test_views_of_any_shape_are_square_and_lead_back(size: tuple[int, int]) -> None:
    shot = picture(np.full((size[1], size[0], 3), 128, np.uint8))
    for view in (whole(shot, 128), cut(shot, 128, (1.0, 0.0))):
        assert view.square.shape == (128, 128, 3)
        assert -1 <= view.square.min() <= view.square.max() <= 1
        back = view.locate(Face(-view.left / 128, -view.top / 128, 0.5, 0.5, 1))
        assert (back.left, back.top) == pytest.approx((0, 0))
    assert close(shot, Face(0.9, 0.9, 0.2, 0.0, 1)).square.shape == (64, 64, 3)


def test_without_a_new_picture_nothing_is_known() -> None:
    assert all(it.value is None for it in Faces().miss(1.0))
