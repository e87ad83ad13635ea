import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.live_analysis.blazeface import (
    CLOSE_RANGE,
    FULL_RANGE,
    MOST_FACES,
    SHORT_RANGE,
    Detector,
    anchors,
    overlap,
)
from server.live_analysis.models import face_model
from server.live_analysis.port import Face, Samples

LOW = -50.0


def raw(detector: Detector, count: int) -> tuple[Samples, Samples]:
    return np.zeros((count, 16), np.float32), np.full(count, LOW, np.float32)


@pytest.mark.parametrize(
    "detector", [CLOSE_RANGE, SHORT_RANGE, FULL_RANGE], ids=lambda d: str(d.side)
)
def test_the_anchors_fit_the_model(detector: Detector) -> None:
    model = face_model(detector.model, detector.side)
    boxes, scores = model.run(np.zeros((detector.side, detector.side, 3), np.float32))
    assert boxes.shape == (len(scores), 16)
    assert len(scores) == len(anchors(detector.side, detector.layers))
    detector.faces(boxes, scores)


def test_anchors_are_the_middles_of_cells_row_by_row() -> None:
    found = anchors(128, ((8, 2), (16, 6)))
    assert len(found) == 896
    assert found[0].tolist() == found[1].tolist() == [0.5 / 16, 0.5 / 16]
    assert found[2].tolist() == [1.5 / 16, 0.5 / 16]
    assert found[512].tolist() == [0.5 / 8, 0.5 / 8]


def test_a_box_is_relative_to_its_anchor() -> None:
    boxes, scores = raw(SHORT_RANGE, 896)
    boxes[2, :4] = [12.8, 25.6, 32, 64]
    scores[2] = 50
    (face,), best = SHORT_RANGE.faces(boxes, scores)
    assert face.left + face.width / 2 == pytest.approx(1.5 / 16 + 0.1)
    assert face.top + face.height / 2 == pytest.approx(0.5 / 16 + 0.2)
    assert (face.width, face.height) == pytest.approx((0.25, 0.5))
    assert best == pytest.approx(1)


def test_candidates_of_one_face_are_blended_and_those_apart_are_kept() -> None:
    boxes, scores = raw(SHORT_RANGE, 896)
    for at, shift in ((0, 0.0), (1, 2.0), (30, 0.0)):
        boxes[at, :4] = [shift, 0, 12, 12]
        scores[at] = 3
    faces, _ = SHORT_RANGE.faces(boxes, scores)
    assert len(faces) == 2
    lefts = sorted(face.left for face in faces)
    assert lefts[0] == pytest.approx(0.5 / 16 + 1 / 128 - 6 / 128)


def test_candidates_under_the_threshold_are_none() -> None:
    faces, best = SHORT_RANGE.faces(*raw(SHORT_RANGE, 896))
    assert faces == []
    assert best == pytest.approx(0, abs=1e-9)


def test_a_picture_full_of_faces_is_bounded() -> None:
    boxes, scores = raw(FULL_RANGE, 2304)
    boxes[:, 2:4] = 0.5
    scores[:] = 5
    assert len(FULL_RANGE.faces(boxes, scores)[0]) == MOST_FACES


@given(*[st.floats(-2, 2)] * 4, st.floats(0.01, 2), st.floats(0.01, 2))
def test_overlap_is_symmetric_and_one_only_with_itself(
    left: float, top: float, right: float, bottom: float, width: float, height: float
) -> None:
    one = Face(left, top, width, height, 1)
    other = Face(right, bottom, height, width, 1)
    assert overlap(one, other) == pytest.approx(overlap(other, one))
    assert 0 <= overlap(one, other) <= 1 + 1e-9
    assert overlap(one, one) == pytest.approx(1)
