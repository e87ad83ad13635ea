"""What is told of pictures' VMAF is what libvmaf says of them."""

import json
import subprocess
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from server.core.frames import Codec, TrackName
from server.recorder.compression import likeness
from server.recorder.compression.recode import Decoding, Recoding
from server.recorder.compression.recode_job import Begin, Made, Pictures
from server.recorder.compression.vmaf import Parts, vmaf
from server.recorder.decoders import picture_decoder
from server.recorder.format.tracks import VideoConfig
from tests.recorder.encoded import video

WIDTH, HEIGHT, FRAGMENTS, FPS = 320, 192, 2, 30
VIDEO = VideoConfig(Codec.VP8, WIDTH, HEIGHT, b"")
#: From VMAF 75 to 99.
TOLERANCE = 0.5


def face(index: int, width: int, height: int) -> np.ndarray:
    """Soft shapes that sway before a wall of fine texture that moves by a pixel a picture."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    texture = np.random.default_rng(1).normal(0, 5, (height, width + FRAGMENTS * FPS))
    shapes = 110 + 50 * np.sin((x + 3 * np.sin(index / 9)) / 23) * np.cos(y / 17)
    shapes += texture[:, index : index + width]
    return np.repeat(np.clip(shapes, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def recoded(crf: int) -> tuple[list[bytes], Made]:
    """The source's pictures, and what became of them."""
    frames = video(Codec.VP8, FRAGMENTS, WIDTH, HEIGHT, draw=face)
    data = [payload for payload, _ in frames]
    recoding = Recoding(
        Begin(TrackName.CAMERA, WIDTH, HEIGHT, crf, thorough=False, anew=True), Decoding()
    )
    for first in range(0, len(data), FPS):
        fragment = tuple(data[first : first + FPS])
        recoding.add(Pictures(VIDEO, fragment, shown=True, keyframe=first == 0))
    return data, recoding.finish()


def libvmaf(folder: Path, source: list[bytes], made: Made) -> float:
    """The mean over all pictures."""
    streams = {
        "source": (picture_decoder(VIDEO), source),
        "made": (av.CodecContext.create("libdav1d", "r"), [each.data for each in made.pictures]),
    }
    for name, (decoder, data) in streams.items():
        assert isinstance(decoder, av.VideoCodecContext)
        with (folder / name).open("wb") as file:
            for packet in [*map(av.Packet, data), None]:
                for frame in decoder.decode(packet):
                    file.write(frame.reformat(format="yuv420p10le").to_ndarray().tobytes())
    raw = ("-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", f"{WIDTH}x{HEIGHT}")
    report = folder / "report.json"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    for name in ("made", "source"):
        command += [*raw, "-i", str(folder / name)]
    graph = f"libvmaf=log_fmt=json:log_path={report}"
    subprocess.run([*command, "-lavfi", graph, "-f", "null", "-"], check=True)
    mean: float = json.loads(report.read_text())["pooled_metrics"]["vmaf"]["mean"]
    return mean


@pytest.mark.parametrize("crf", [10, 18])
def test_it_is_what_libvmaf_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crf: int) -> None:
    monkeypatch.setattr(likeness, "CLOSELY_EVERY", 1)  # two seconds are few to choose from
    source, made = recoded(crf)
    assert len(made.quality) == FRAGMENTS
    told = sum(each.vmaf for each in made.quality) / FRAGMENTS
    assert told == pytest.approx(libvmaf(tmp_path, source, made), abs=TOLERANCE)


def test_each_part_counts_and_no_more_than_all() -> None:
    whole = Parts(1.0, 1.0, 1.0, 0.0)
    assert 97 < vmaf(whole) < 98, "of what stands still libvmaf gives no more"
    assert vmaf(whole._replace(motion=10.0)) == 100.0
    for name in ("detail", "quarter", "eighth"):
        less = [vmaf(whole._replace(**{name: left})) for left in (1.0, 0.99, 0.95)]
        assert all(more > fewer for more, fewer in pairwise(less))
    assert vmaf(Parts(0.0, 0.0, 0.0, 0.0)) == 0.0
