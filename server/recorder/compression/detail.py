"""How much of a picture's detail is left: the detail loss measure of Li, Zhang, Ma and Ngan (2011).

As VMAF has it, whose part it is (ADM): wavelets of both pictures are compared in four sizes; what
is not the source's own detail, only weaker, is set apart as added, and hides some of the rest; each
band counts as much as the eye sees of it from three times a screen's height of 1080 lines (Watson
et al. 1997). Pure; for processes that have numpy.
"""

from math import log10, pi
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

#: Daubechies' wavelet of four taps.
_LOW = (0.482962913144690, 0.836516303737469, 0.224143868041857, -0.129409522550921)
_HIGH = (-0.129409522550921, -0.224143868041857, 0.836516303737469, -0.482962913144690)
SCALES = 4
#: Of each side so much is not looked at.
_BORDER = 0.1
#: Detail that is stronger than the source's is still its own within a degree.
_COS_2 = np.float32(np.cos(pi / 180) ** 2)
#: Added detail hides what lies within a pixel of it, by so much of it.
_MASKING = 1 / 30
_SMALLEST = np.float32(1e-30)
#: Watson et al., table 1: luma's threshold by frequency, and the amplitude of a wavelet's basis
#: functions by scale, of bands that lie along an axis, and across.
_A, _K, _F0, _ALONG, _ACROSS = 0.495, 0.466, 0.401, 1.0, 0.534
_AMPLITUDES = ((0.67234, 0.72709), (0.41317, 0.49428), (0.22727, 0.28688), (0.11792, 0.15214))
_PIXELS_PER_DEGREE = 3.0 * 1080 * pi / 180


class _Bands(NamedTuple):
    """Of one size: what is left for the next one, and details, horizontal, vertical, across."""

    rest: Plane
    details: tuple[Plane, Plane, Plane]


def detail_left(source: Plane, made: Plane) -> float:
    """Of two pictures' luma of the same size, 64 by 64 or more: 1 where all of it is."""
    planes = [source - 128, made - 128]
    left = there = 0.0
    for scale in range(SCALES):
        own, other = (_bands(each) for each in planes)
        planes = [own.rest, other.rest]
        more, of = _compared(own.details, other.details, _weights(scale))
        left, there = left + more, there + of
    return left / there if there else 1.0


def _compared(
    own: tuple[Plane, ...], other: tuple[Plane, ...], weights: tuple[float, ...]
) -> tuple[float, float]:
    """How much of the source's detail there is in this size, and how much there was."""
    kept = _kept(own, other)
    added = [weight * (each - its) for each, its, weight in zip(other, kept, weights, strict=True)]
    hidden = _MASKING * sum(_around(np.abs(each)) for each in added)
    seen = [
        np.maximum(np.abs(weight * each) - hidden, 0)
        for each, weight in zip(kept, weights, strict=True)
    ]
    return (
        sum(map(_pooled, seen)),
        sum(_pooled(np.abs(weight * each)) for each, weight in zip(own, weights, strict=True)),
    )


def _kept(own: tuple[Plane, ...], other: tuple[Plane, ...]) -> list[Plane]:
    """What of each band of the other picture is the source's own detail."""
    dot = own[0] * other[0] + own[1] * other[1]
    lengths = (own[0] ** 2 + own[1] ** 2) * (other[0] ** 2 + other[1] ** 2)
    same_way = (dot >= 0) & (dot * dot >= _COS_2 * lengths)
    kept = []
    for its, theirs in zip(own, other, strict=True):
        share = np.clip(theirs / np.where(np.abs(its) < _SMALLEST, _SMALLEST, its), 0, 1)
        # Stronger, but in its direction: all of it is the source's.
        kept.append(np.where(same_way & (share > 0), theirs, share * its))
    return kept


def _around(plane: Plane) -> Plane:
    """The sum over each pixel's neighbours, itself twice."""
    padded = np.pad(plane, 1, mode="reflect")
    height, width = plane.shape
    rows = padded[:height] + padded[1 : height + 1] + padded[2:]
    around: Plane = rows[:, :width] + rows[:, 1 : width + 1] + rows[:, 2:] + plane
    return around


def _pooled(plane: Plane) -> float:
    height, width = plane.shape
    top, left = (max(0, int(side * _BORDER - 0.5)) for side in (height, width))
    inner = plane[top : height - top, left : width - left]
    return float(np.cbrt(np.sum(inner**3, dtype=np.float64)) + np.cbrt(inner.size / 32))


def _weights(scale: int) -> tuple[float, float, float]:
    """One over the smallest detail that is seen, by band."""
    along, across = _AMPLITUDES[scale]
    horizontal = along / _threshold(scale, _ALONG)
    return horizontal, horizontal, across / _threshold(scale, _ACROSS)


def _threshold(scale: int, orientation: float) -> float:
    octaves = log10(2 ** (scale + 1) * _F0 * orientation / _PIXELS_PER_DEGREE)
    threshold: float = 2 * _A * 10 ** (_K * octaves**2)
    return threshold


def _bands(plane: Plane) -> _Bands:
    low, high = (_filtered(plane, taps, 0) for taps in (_LOW, _HIGH))
    (rest, vertical), (horizontal, diagonal) = (
        tuple(_filtered(each, taps, 1) for taps in (_LOW, _HIGH)) for each in (low, high)
    )
    return _Bands(rest, (horizontal, vertical, diagonal))


def _filtered(plane: Plane, taps: tuple[float, ...], axis: int) -> Plane:
    """Every second row or column of it, the first one from the pixel before the edge on."""
    ends = [(0, 0), (0, 0)]
    ends[axis] = (1, 2)
    padded = np.pad(plane, ends, mode="symmetric")
    count = 2 * ((plane.shape[axis] + 1) // 2)
    weighed = np.moveaxis(padded, axis, 0)
    whole = taps[0] * weighed[:count:2]
    for first, tap in enumerate(taps[1:], 1):
        whole += tap * weighed[first : first + count : 2]
    return np.moveaxis(whole, 0, axis)
