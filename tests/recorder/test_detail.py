"""The detail that is left of a picture is what VMAF itself measures of it."""

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

from server.recorder.detail import detail_left, least_vmaf

Luma = NDArray[np.uint8]


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
    # It calculates in whole numbers: of what is lost it is off by a twentieth at most.
    assert detail_left(source, made) == pytest.approx(theirs, abs=0.001 + abs(1 - theirs) / 20)


def _vmafs(folder: Path, source: Luma, made: Luma) -> float:
    """ADM as libvmaf has it."""
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
    found: float = json.loads(report.read_text())["frames"][0]["metrics"]["integer_adm2"]
    return found


def test_less_of_it_is_less_than_90() -> None:
    assert least_vmaf(1.0) > least_vmaf(0.977) == 90 > least_vmaf(0.976) > least_vmaf(0.5) == 0


def test_the_more_is_lost_the_less_is_left() -> None:
    source = scene(128, 96)
    left = [detail_left(source, soft(source, by)) for by in range(4)]
    assert all(more > less for more, less in pairwise(left))
    assert left[0] == pytest.approx(1.0, abs=1e-6)


def test_a_flat_picture_has_lost_nothing() -> None:
    flat = np.full((64, 64), 90, np.uint8)
    assert detail_left(flat, flat) == pytest.approx(1.0)
