"""Detail and information that are left of a picture are what VMAF itself measures of it."""

import json
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from server.recorder.compression.detail import detail_left
from server.recorder.compression.information import information_left

Luma = NDArray[np.uint8]
Plane = NDArray[np.float32]


def scene(width: int, height: int) -> Luma:
    """Soft shapes with fine texture, as a face before a wall has them."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    shapes = 110 + 60 * np.sin(x / 23) * np.cos(y / 17) + 30 * (np.hypot(x - 90, y - 70) < 40)
    texture = np.random.default_rng(1).normal(0, 6, shapes.shape)
    return _clipped(shapes + texture)


def soft(luma: Luma, by: int) -> Luma:
    """Each pixel the mean of its surroundings."""
    mean: NDArray[np.float64] = luma.astype(np.float64)
    for axis in (0, 1):
        shifted = [np.roll(mean, each, axis) for each in range(-by, by + 1)]
        mean = np.asarray(np.mean(shifted, axis=0), np.float64)
    return _clipped(mean.round())


def noisy(luma: Luma, sigma: float) -> Luma:
    noise = np.random.default_rng(2).normal(0, sigma, luma.shape)
    return _clipped(luma + noise)


def _clipped(values: NDArray[np.floating[Any]]) -> Luma:
    luma: Luma = np.clip(values, 0, 255).astype(np.uint8)
    return luma


HARMS: dict[str, Callable[[Luma], Luma]] = {
    "same": lambda luma: luma,
    "hardly": lambda luma: noisy(luma, 1.0),
    "soft": lambda luma: soft(luma, 1),
    "softer": lambda luma: soft(luma, 3),
    "noisy": lambda luma: noisy(luma, 8.0),
    "stronger": lambda luma: _clipped(luma * 1.2 - 20),
    "coarse": lambda luma: luma // 16 * 16 + 8,
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("size", [(320, 180), (323, 181)], ids=["even", "odd"])
def test_it_is_what_vmaf_measures(tmp_path: Path, size: tuple[int, int], harm: str) -> None:
    source = scene(*size)
    made = HARMS[harm](source)
    theirs = _vmafs(tmp_path, source, made)
    own, other = planes(source), planes(made)
    ours = (detail_left(own, other), *information_left(own, other))
    for each, its in zip(ours, theirs, strict=True):
        # It calculates in whole numbers: of what is lost it is off by a twentieth at most.
        assert each == pytest.approx(its, abs=0.001 + abs(1 - its) / 20)


def planes(luma: Luma) -> Plane:
    return luma.astype(np.float32)


def _vmafs(folder: Path, source: Luma, made: Luma) -> tuple[float, float, float]:
    """ADM, and VIF at two sizes, as libvmaf has them."""
    for name, luma in (("source", source), ("made", made)):
        chroma = ((luma.shape[0] + 1) // 2) * ((luma.shape[1] + 1) // 2)
        (folder / name).write_bytes(luma.tobytes() + 2 * chroma * b"\x80")
    size = f"{source.shape[1]}x{source.shape[0]}"
    raw = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size)
    report = folder / "report.json"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    for name in ("made", "source"):
        command += [*raw, "-i", str(folder / name)]
    graph = f"libvmaf=log_fmt=json:log_path={report}"
    subprocess.run([*command, "-lavfi", graph, "-f", "null", "-"], check=True)
    found = json.loads(report.read_text())["frames"][0]["metrics"]
    return found["integer_adm2"], found["integer_vif_scale2"], found["integer_vif_scale3"]


def test_the_more_is_lost_the_less_is_left() -> None:
    source = scene(128, 96)
    harmed = [planes(soft(source, by)) for by in range(4)]
    details = [detail_left(planes(source), each) for each in harmed]
    told = [information_left(planes(source), each) for each in harmed]
    for left in (details, *zip(*told, strict=True)):
        assert all(more > less for more, less in pairwise(left))
        assert left[0] == pytest.approx(1.0, abs=1e-5)


def test_a_flat_picture_has_lost_nothing() -> None:
    flat = np.full((64, 64), 90, np.float32)
    assert detail_left(flat, flat) == pytest.approx(1.0)
    assert information_left(flat, flat) == pytest.approx((1.0, 1.0))
