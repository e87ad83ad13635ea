"""Faces in the picture: whether, how many, where, how large. No identity, no expression."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from server.live_analysis.blazeface import (
    CLOSE_RANGE,
    FULL_RANGE,
    SHORT_RANGE,
    Detector,
    overlap,
)
from server.live_analysis.card import EVERYWHERE, Card, Measure, Modality
from server.live_analysis.models import face_model
from server.live_analysis.port import Face, Image, Measurement, Picture, Samples

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
    cost_ms_per_s=6.0,
    biometric=False,
    policies=EVERYWHERE,
    validated="a portrait moved to known places and sizes; two portraits; pictures without one",
)

#: The whole picture is looked at this often while a face is followed, and twice as often while
#: none is: the full-range model, which sees small faces, costs twelve times a close look.
WIDE_LOOK_S = 2.0
#: A face that is followed is cut out so that its height is about this share of the cut. The
#: picture is scaled to one of few sizes for it, by its shorter side in pixels.
CLOSE_SHARE = 0.5
CLOSE_LENGTHS = (64, 80, 100, 128, 160)
#: Boxes that overlap more (intersection over union) are one face.
SAME_FACE = 0.3
#: Longer pictures are not cut to a square: no camera makes them, and scaling them up is dear.
LONGEST_CUT = 2.5


@dataclass(frozen=True, slots=True)
class View:
    """A square of a picture in -1..1 for a network, and how to get back from it."""

    square: Samples
    #: Size of the whole picture and place of the square in it, in the square's pixels.
    width: int
    height: int
    left: int
    top: int

    def locate(self, face: Face) -> Face:
        """A box in shares of the square, in shares of the picture."""
        side = len(self.square)
        return Face(
            (face.left * side + self.left) / self.width,
            (face.top * side + self.top) / self.height,
            face.width * side / self.width,
            face.height * side / self.height,
            face.score,
        )


def whole(picture: Picture, side: int) -> View:
    """All of the picture, in the middle of a black square."""
    rows, columns = picture.luma.shape
    scale = side / max(rows, columns)
    # swscale wants at least two pixels, even of a picture that is a thin line.
    width, height = (max(2, round(length * scale)) for length in (columns, rows))
    left, top = (side - width) // 2, (side - height) // 2
    square = np.full((side, side, 3), -1, np.float32)
    square[top : top + height, left : left + width] = _normal(picture.rgb(width, height))
    return View(square, width, height, -left, -top)


def cut(picture: Picture, side: int, aim: tuple[float, float], shorter: int | None = None) -> View:
    """A square of the picture around a place, once its shorter side is ``shorter`` pixels.

    By default that is ``side``: then the square is the largest, and sharper than the whole.
    """
    rows, columns = picture.luma.shape
    if max(rows, columns) > LONGEST_CUT * min(rows, columns):
        return whole(picture, side)
    scale = (shorter or side) / min(rows, columns)
    width, height = (max(side, round(length * scale)) for length in (columns, rows))
    left, top = (
        min(max(round(place * length - side / 2), 0), length - side)
        for place, length in zip(aim, (width, height), strict=True)
    )
    rgb = picture.rgb(width, height)[top : top + side, left : left + side]
    return View(_normal(rgb), width, height, left, top)


def close(picture: Picture, face: Face) -> View:
    """A square around a face whose place is known, a little old."""
    rows, columns = picture.luma.shape
    wanted = CLOSE_SHARE * CLOSE_RANGE.side * min(rows, columns) / max(face.height * rows, 1)
    shorter = min(CLOSE_LENGTHS, key=lambda length: abs(length - wanted))
    return cut(picture, CLOSE_RANGE.side, middle(face), shorter)


def look(detector: Detector, view: View) -> tuple[list[Face], float]:
    """Faces in shares of the picture, best first, and the best score of all candidates."""
    found, best = detector.faces(*face_model(detector.model, detector.side).run(view.square))
    return [view.locate(face) for face in found], best


class Faces:
    """The largest face is followed closely; the whole picture is looked at now and then."""

    def __init__(self) -> None:
        self._aim = (0.5, 0.5)
        self._looked_wide_s = -np.inf
        #: What the short-range model saw last, the followed face as it is now.
        self._near: list[Face] = []
        #: What only the full-range model saw when it last looked.
        self._far: list[Face] = []

    def see(self, picture: Picture) -> Iterable[Measurement]:
        age_s = picture.capture_s - self._looked_wide_s
        wide = not 0 <= age_s < (WIDE_LOOK_S if self._near else WIDE_LOOK_S / 2)
        best = 0.0 if wide else self._look_closely(picture)
        if wide or not self._near:
            self._near, best = self._look_near(picture)
        if wide:
            self._looked_wide_s = picture.capture_s
            self._far, _ = look(FULL_RANGE, whole(picture, FULL_RANGE.side))
            if self._far and not self._near:
                self._follow(self._far)
                self._near, best = self._look_near(picture)
            self._far = _others(self._far, self._near)
        picture.faces = (*self._near, *_others(self._far, self._near))
        return _measurements(picture.faces, best)

    def _look_closely(self, picture: Picture) -> float:
        """Follow the largest face and leave the others where they were; lost, forget them all."""
        if not self._near:
            return 0.0
        followed = max(self._near, key=area)
        found, best = look(CLOSE_RANGE, close(picture, followed))
        now = sorted(found, key=area)[-1:]
        others = [face for face in self._near if face is not followed]
        self._near = [*now, *_others(others, now)] if now else []
        return best

    def _look_near(self, picture: Picture) -> tuple[list[Face], float]:
        near, best = look(SHORT_RANGE, cut(picture, SHORT_RANGE.side, self._aim))
        self._follow(near)
        return near, best

    def _follow(self, faces: list[Face]) -> None:
        if faces:
            self._aim = middle(max(faces, key=area))

    def miss(self, now_s: float) -> Iterable[Measurement]:
        return [Measurement(measure.name, None) for measure in CARD.measures]


def area(face: Face) -> float:
    return face.width * face.height


def middle(face: Face) -> tuple[float, float]:
    return face.left + face.width / 2, face.top + face.height / 2


def _normal(rgb: Image) -> Samples:
    return np.asarray(rgb * np.float32(1 / 127.5) - np.float32(1), np.float32)


def _others(faces: list[Face], known: list[Face]) -> list[Face]:
    return [face for face in faces if all(overlap(face, it) < SAME_FACE for it in known)]


def _measurements(faces: tuple[Face, ...], best: float) -> Iterable[Measurement]:
    if not faces:
        sure = 1 - best
        yield Measurement("face.present", 0, sure)
        yield Measurement("face.count", 0, sure)
        yield from (Measurement(name, None) for name in ("face.x", "face.y", "face.size"))
        return
    largest = max(faces, key=area)
    middle_x, middle_y = middle(largest)
    yield Measurement("face.present", 1, max(face.score for face in faces))
    yield Measurement("face.count", len(faces), min(face.score for face in faces))
    yield Measurement("face.x", min(max(middle_x, 0), 1), largest.score)
    yield Measurement("face.y", min(max(middle_y, 0), 1), largest.score)
    yield Measurement("face.size", min(largest.height, 1), largest.score)
