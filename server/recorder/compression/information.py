"""How much of what a picture tells is left: visual information fidelity (Sheikh and Bovik 2006).

As VMAF has it, whose part it is (VIF, on pixels): around each pixel the other picture is the source
made weaker, and something else added; what can still be told of the source, of what could be told
of it through the noise of the eye. Pure; for processes that have numpy.
"""

from math import exp

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

#: Of each size the window's width: a bell of a fifth of it, which also comes before the halving.
_WIDTHS = (9, 5, 3)
#: Of these sizes, which are a quarter and an eighth of the picture's, is the information told.
_TOLD_FROM = 1
#: The eye's own noise, a variance.
_NOISE = np.float32(2.0)
_SMALLEST = np.float32(1e-10)
#: Where the source is flatter than that noise, it is told by how flat the other one is.
_FLAT = np.float32(4 / 255**2)


def information_left(source: Plane, made: Plane) -> tuple[float, float]:
    """Of two pictures' luma of the same size, 64 by 64 or more: 1 where all of it is.

    At a quarter of the size and at an eighth.
    """
    own, other = source, made
    told = []
    for scale, width in enumerate(_WIDTHS):
        taps = _bell(width)
        own, other = (_around(each, taps, step=2) for each in (own, other))
        if scale >= _TOLD_FROM:
            told.append(_compared(own, other, taps))
    quarter, eighth = told
    return quarter, eighth


def _compared(own: Plane, other: Plane, taps: Plane) -> float:
    mean, its_mean = _around(own, taps), _around(other, taps)
    varies = np.maximum(_around(own * own, taps) - mean * mean, 0)
    its_varies = np.maximum(_around(other * other, taps) - its_mean * its_mean, 0)
    both = _around(own * other, taps) - mean * its_mean
    gain = np.clip(both / (varies + _SMALLEST), 0, 100)
    gain[(varies < _SMALLEST) | (its_varies < _SMALLEST)] = 0
    added = np.maximum(its_varies - np.where(both > 0, gain * both, 0), _SMALLEST)
    told = np.log2(1 + gain * gain * varies / (added + _NOISE))
    there = np.log2(1 + varies / _NOISE)
    flat = varies < _NOISE
    told[flat], there[flat] = 1 - its_varies[flat] * _FLAT, 1
    return float(np.sum(told, dtype=np.float64) / np.sum(there, dtype=np.float64))


def _bell(width: int) -> Plane:
    taps = np.array([exp(-((5 * (at - width // 2) / width) ** 2) / 2) for at in range(width)])
    bell: Plane = (taps / taps.sum()).astype(np.float32)
    return bell


def _around(plane: Plane, taps: Plane, step: int = 1) -> Plane:
    """Each pixel's surroundings, weighed; of every ``step``-th that has a whole step behind it."""
    reach = len(taps) // 2
    for axis in (0, 1):
        ends = [(0, 0), (0, 0)]
        ends[axis] = (reach, reach)
        padded = np.pad(plane, ends, mode="reflect")
        count = step * (plane.shape[axis] // step)
        weighed = np.moveaxis(padded, axis, 0)
        whole = taps[0] * weighed[:count:step]
        for first, tap in enumerate(taps[1:], 1):
            whole += tap * weighed[first : first + count : step]
        plane = np.moveaxis(whole, 0, axis)
    return plane
