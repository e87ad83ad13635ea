"""What VMAF pictures have at least, told from what FFmpeg's filters measure.

VMAF itself needs a library that no package of ours brings.
"""

from typing import NamedTuple


class Measures(NamedTuple):
    """Means over some pictures, of their luma against their source's."""

    xpsnr_db: float
    ssim: float
    vif_0: float  #: in full size; the next ones in half of it, a quarter, an eighth
    vif_1: float
    vif_2: float
    vif_3: float


def least_vmaf(measures: Measures) -> float:
    """0 to 100."""
    return max(0.0, min(100.0, 90.0 + 120.0 * (measures.vif_1 - 0.955)))
