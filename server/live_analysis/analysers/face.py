"""Faces in the picture: whether, how many, where, how large. No identity, no expression."""

from collections.abc import Iterable

import numpy as np

from server.live_analysis.blazeface import FULL_RANGE, SHORT_RANGE, Detector, overlap
from server.live_analysis.models import face_model
from server.live_analysis.port import (
    EVERYWHERE,
    Card,
    Face,
    Measure,
    Measurement,
    Modality,
    Picture,
    Samples,
)

CARD = Card(
    analyser="face",
    modality=Modality.VIDEO,
    measures=(
        Measure("face.present", "ratio", 0, 1),
        Measure("face.count", "count", 0, None),
        Measure("face.x", "ratio", 0, 1),
        Measure("face.y", "ratio", 0, 1),
        Measure("face.size", "ratio", 0, 1),
    ),
    rate_hz=5,
    cost_ms_per_s=12.0,
    biometric=False,
    policies=EVERYWHERE,
    validated="a portrait moved to known places and sizes; two portraits; pictures without one",
)

#: The full-range model, which sees small faces, costs three times the other: it looks this often
#: while a face is near, and twice as often while none is.
WIDE_LOOK_S = 2.0
#: Boxes that overlap more (intersection over union) are one face.
SAME_FACE = 0.3


def letterbox(picture: Picture, side: int) -> tuple[Samples, float, float]:
    """The picture in the middle of a black square in -1..1, and its width and height there."""
    rows, columns = picture.luma.shape
    scale = side / max(rows, columns)
    # swscale wants at least two pixels, even for a picture that is a thin line.
    height, width = (max(2, round(length * scale)) for length in (rows, columns))
    square = np.full((side, side, 3), -1, np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    rgb = picture.rgb(width, height)
    np.multiply(rgb, 1 / 127.5, out=square[top : top + height, left : left + width])
    square[top : top + height, left : left + width] -= 1
    return square, width / side, height / side


def look(detector: Detector, picture: Picture) -> tuple[list[Face], float]:
    """Faces in shares of the picture, best first, and the best score of all candidates."""
    square, wide, high = letterbox(picture, detector.side)
    found, best = detector.faces(*face_model(detector.model).run(square))
    left, top = (1 - wide) / 2, (1 - high) / 2
    return [
        Face(
            (face.left - left) / wide,
            (face.top - top) / high,
            face.width / wide,
            face.height / high,
            face.score,
        )
        for face in found
    ], best


class Faces:
    def __init__(self) -> None:
        self._looked_wide_s = -np.inf
        #: What only the full-range model saw when it last looked.
        self._far: list[Face] = []

    def see(self, picture: Picture) -> Iterable[Measurement]:
        near, best = look(SHORT_RANGE, picture)
        due_s = WIDE_LOOK_S if near else WIDE_LOOK_S / 2
        if not 0 <= picture.capture_s - self._looked_wide_s < due_s:
            self._looked_wide_s = picture.capture_s
            self._far, _ = look(FULL_RANGE, picture)
        far = [face for face in self._far if all(overlap(face, it) < SAME_FACE for it in near)]
        picture.faces = (*near, *far)
        return _measurements(picture.faces, best)

    def miss(self, now_s: float) -> Iterable[Measurement]:
        return [Measurement(measure.name, None) for measure in CARD.measures]


def _measurements(faces: tuple[Face, ...], best: float) -> Iterable[Measurement]:
    if not faces:
        sure = 1 - best
        yield Measurement("face.present", 0, sure)
        yield Measurement("face.count", 0, sure)
        yield from (Measurement(name, None) for name in ("face.x", "face.y", "face.size"))
        return
    largest = max(faces, key=lambda face: face.height * face.width)
    middle_x, middle_y = largest.left + largest.width / 2, largest.top + largest.height / 2
    yield Measurement("face.present", 1, max(face.score for face in faces))
    yield Measurement("face.count", len(faces), min(face.score for face in faces))
    yield Measurement("face.x", min(max(middle_x, 0), 1), largest.score)
    yield Measurement("face.y", min(max(middle_y, 0), 1), largest.score)
    yield Measurement("face.size", min(largest.height, 1), largest.score)
