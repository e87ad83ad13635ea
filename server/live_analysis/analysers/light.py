"""Light on the picture: mean, contrast, and whether it comes from behind."""

from collections.abc import Iterable

import numpy as np

from server.live_analysis.card import EVERYWHERE, Card, Measure, Modality
from server.live_analysis.port import Face, Image, Measurement, Picture

CARD = Card(
    analyser="light",
    modality=Modality.VIDEO,
    measures=(
        Measure("picture.light", "ratio", 0, 1),
        Measure("picture.contrast", "ratio", 0, 1),
        Measure("picture.backlight", "ratio", -1, 1),
    ),
    rate_hz=2,
    cost_ms_per_s=0.5,
    biometric=False,
    policies=EVERYWHERE,
    validated="grey pictures of known level; a portrait darkened and brightened in steps",
)

#: Luma of black and white in video (ITU-R BT.709 4.6: 16 and 235).
BLACK = 16
WHITE = 235
#: Looked at when there is no face: the middle third.
MIDDLE = Face(1 / 3, 1 / 3, 1 / 3, 1 / 3, 0)


def inside(face: Face, luma: Image) -> tuple[slice, slice]:
    """The face's rows and columns that lie in the picture."""
    rows, columns = luma.shape
    top, bottom = (round(y * rows) for y in (face.top, face.top + face.height))
    left, right = (round(x * columns) for x in (face.left, face.left + face.width))
    return slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))


def _share(luma: float) -> float:
    return min(max((luma - BLACK) / (WHITE - BLACK), 0.0), 1.0)


class Light:
    def see(self, picture: Picture) -> Iterable[Measurement]:
        counts = np.bincount(picture.luma.ravel(), minlength=256)
        upto = np.cumsum(counts) / picture.luma.size
        dark, bright = np.searchsorted(upto, (0.05, 0.95))
        mean = float(counts @ np.arange(256)) / picture.luma.size
        yield Measurement("picture.light", _share(mean))
        yield Measurement("picture.contrast", _share(float(bright)) - _share(float(dark)))
        yield Measurement("picture.backlight", _backlight(picture, mean))

    def miss(self, now_s: float) -> Iterable[Measurement]:
        return [Measurement(measure.name, None) for measure in CARD.measures]


def _backlight(picture: Picture, mean: float) -> float | None:
    subject = max(picture.faces, key=lambda face: face.height * face.width, default=MIDDLE)
    area = picture.luma[inside(subject, picture.luma)]
    around = picture.luma.size - area.size
    if not area.size or not around:
        return None
    own = float(area.mean())
    surroundings = (mean * picture.luma.size - own * area.size) / around
    return _share(surroundings) - _share(own)
