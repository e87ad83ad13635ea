"""What VMAF says of pictures, told from its own parts without its library.

Model v0.6.1 (Netflix) is a support vector machine over six numbers; between 75 and 99, where
recordings are, a plane through four of them is the same within a tenth of a point. How it was
found and how near it comes: docs/decisions/recorder-compression.md. Pure.
"""

from typing import NamedTuple


class Parts(NamedTuple):
    """Of one picture or of several, their mean."""

    detail: float  #: left of the source's (`detail_left`), 0 to 1
    quarter: float  #: information left at a quarter of the size (`information_left`), 0 to 1
    eighth: float  #: and at an eighth
    motion: float  #: of the source: from picture to picture, in levels of grey


_BASE = -246.32
_WORTH = Parts(217.84, 47.44, 78.39, 1.29)


def vmaf(parts: Parts) -> float:
    """0 to 100."""
    points = _BASE + sum(part * worth for part, worth in zip(parts, _WORTH, strict=True))
    return max(0.0, min(100.0, points))
