"""Sharpness: the variance of the Laplacian (Pech-Pacheco et al. 2000), of the face if there is
one, else of the picture. Of keyframes only: in the others, edges of blocks would count."""

from collections.abc import Iterable

import numpy as np

from server.live_analysis.analysers.light import inside
from server.live_analysis.card import EVERYWHERE, Card, Measure, Modality
from server.live_analysis.port import Measurement, Picture

CARD = Card(
    analyser="sharpness",
    modality=Modality.VIDEO,
    measures=(Measure("picture.sharpness", "luma²", 0, None),),
    rate_hz=0.25,
    cost_ms_per_s=0.1,
    biometric=False,
    policies=EVERYWHERE,
    validated="falls with each step of blur of a portrait; zero for a flat picture",
)

#: Pixels on a side below which an area is too small to say anything.
SMALLEST = 8


class Sharpness:
    def see(self, picture: Picture) -> Iterable[Measurement]:
        if not picture.keyframe:
            return
        luma = picture.luma
        largest = max(picture.faces, key=lambda face: face.height * face.width, default=None)
        area = luma if largest is None else luma[inside(largest, luma)]
        if min(area.shape) < SMALLEST:
            area = luma
        y = area.astype(np.int16)
        neighbours = y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:]
        yield Measurement("picture.sharpness", float(np.var(4 * y[1:-1, 1:-1] - neighbours)))

    def miss(self, now_s: float) -> Iterable[Measurement]:
        return [Measurement("picture.sharpness", None)]
