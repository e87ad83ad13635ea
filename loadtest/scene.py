"""A moving portrait: what the camera of a simulated candidate sees.

The portrait is warped, not filmed: the head and shoulders sway, turn and come nearer, the jaw
drops with the voice, and the room drifts against them. All motions have whole periods in the
loop, so that its end meets its beginning.
"""

from math import pi, sin
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 1280, 720
PORTRAIT = Path(__file__).parent / "assets" / "astronaut.jpg"

# The part of the 512 x 512 portrait that becomes the picture, with room to sway at its edges.
_CROP = (512, 288)
_MARGIN = (16, 9)
_SCALE = WIDTH / (_CROP[0] - 2 * _MARGIN[0])
_FACE = (224.0, 115.0)  # centre, in portrait pixels
_CHIN = (224.0, 158.0)
_TEXELS = 2  # texture pixels per picture pixel: motion in half pixels looks smooth

_Field = NDArray[np.float32]
_Plane = NDArray[np.uint8]


class Scene:
    """Draws pictures in YUV 4:2:0; one per loop of media, not per candidate."""

    def __init__(self, portrait: Path = PORTRAIT) -> None:
        self._luma, self._blue, self._red = _texture(portrait)
        # Everything below is at chroma resolution: one source position for 2 x 2 pixels.
        row, column = np.mgrid[0:HEIGHT:2, 0:WIDTH:2].astype(np.float32)
        self._column = (column + _MARGIN[0] * _SCALE) * _TEXELS
        self._row = (row + _MARGIN[1] * _SCALE) * _TEXELS
        x, y = column - _picture_x(_FACE[0]), row - _picture_y(_FACE[1])
        # The person: a wide bell around the head that also takes the shoulders along.
        self._person = np.exp(-((x / 300) ** 2) - (np.maximum(np.abs(y) - 60, 0) / 260) ** 2)
        self._person_x, self._person_y = self._person * x, self._person * y
        below = row - _picture_y(_CHIN[1])
        self._jaw = np.exp(-((x / 75) ** 2) - (below / 48) ** 2)
        self._out = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)

    def picture(self, phase: float, mouth: float) -> av.VideoFrame:
        """The picture at `phase` (0..1) of the loop with the mouth open by `mouth` (0..1)."""
        column, row = self._sources(phase, mouth)
        x = column.astype(np.int32)
        y = row.astype(np.int32)
        self._draw_luma(y * self._luma.shape[1] + x)
        self._draw_chroma((y >> 1) * self._blue.shape[1] + (x >> 1))
        return av.VideoFrame.from_ndarray(self._out, format="yuv420p")

    def _sources(self, phase: float, mouth: float) -> tuple[_Field, _Field]:
        """Where in the texture each 2 x 2 block comes from."""
        turn = 2 * pi * phase
        room_x, room_y = 14 * sin(turn), 6 * sin(2 * turn + 1)  # picture pixels
        sway_x, sway_y = 26 * sin(3 * turn) + 8 * sin(7 * turn), 10 * sin(4 * turn)
        nearer, tilt = 0.05 * sin(2 * turn), 0.06 * sin(3 * turn + 0.7)
        column = self._column - _TEXELS * (
            room_x + sway_x * self._person + nearer * self._person_x - tilt * self._person_y
        )
        row = self._row - _TEXELS * (
            room_y
            + sway_y * self._person
            + nearer * self._person_y
            + tilt * self._person_x
            + (16 * mouth) * self._jaw
        )
        height, width = self._luma.shape
        return column.clip(0, width - 3), row.clip(0, height - 3)

    def _draw_luma(self, index: NDArray[np.int32]) -> None:
        texture, stride = self._luma.ravel(), self._luma.shape[1]
        for dy in (0, 1):
            for dx in (0, 1):
                source = index + (dy * stride + dx) * _TEXELS
                self._out[dy:HEIGHT:2, dx::2] = texture.take(source, mode="clip")

    def _draw_chroma(self, index: NDArray[np.int32]) -> None:
        quarter = HEIGHT // 4
        for place, texture in enumerate((self._blue, self._red)):
            top = HEIGHT + place * quarter
            plane = texture.ravel().take(index, mode="clip")
            self._out[top : top + quarter] = plane.reshape(quarter, WIDTH)


def _picture_x(portrait_x: float) -> float:
    return (portrait_x - _MARGIN[0]) * _SCALE


def _picture_y(portrait_y: float) -> float:
    return (portrait_y - _MARGIN[1]) * _SCALE


def _texture(portrait: Path) -> tuple[_Plane, _Plane, _Plane]:
    """The portrait's upper part, smoothly enlarged, as Y, U and V planes."""
    with av.open(str(portrait)) as container:
        decoded = next(container.decode(video=0))
    part = decoded.to_ndarray(format="rgb24").astype(np.uint8)[: _CROP[1], : _CROP[0]]
    width, height = (int(side * _SCALE * _TEXELS) // 2 * 2 for side in _CROP)
    enlarged = av.VideoFrame.from_ndarray(np.ascontiguousarray(part), format="rgb24").reformat(
        width, height, "yuv420p", interpolation="BICUBIC"
    )
    planes = enlarged.to_ndarray().astype(np.uint8)
    half = (height // 2, width // 2)
    blue, red = planes[height:].reshape(2, *half)
    return planes[:height].copy(), blue.copy(), red.copy()
