"""The files that Chromium's fake devices play: the simulated candidate's portrait and speech."""

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from loadtest.media import SPEECH
from loadtest.scene import Scene

FPS = 30  # what Chromium assumes of .mjpeg
LOOP_S = 6
#: Small enough for a machine on which two browsers encode and decode at once.
WIDTH, HEIGHT = 640, 360
#: The rate of Opus and of browsers' audio: no resampling on the way.
RATE_HZ = 48_000


def write_camera(path: Path) -> None:
    """A moving, real face as concatenated JPEG pictures (.mjpeg)."""
    encoder = VideoCodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
    encoder.time_base = Fraction(1, FPS)
    scene = Scene()
    with path.open("wb") as file:
        for number in range(FPS * LOOP_S):
            mouth = abs(number % 10 - 5) / 5
            picture = scene.picture(number / (FPS * LOOP_S), mouth)
            small = picture.reformat(WIDTH, HEIGHT, "yuvj420p")
            small.pts = number
            for packet in encoder.encode(small):
                file.write(bytes(packet))


def write_microphone(path: Path) -> None:
    """Read speech with pauses, 16-bit mono (.wav)."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    with av.open(str(SPEECH)) as container, wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(np.dtype(np.int16).itemsize)
        file.setframerate(RATE_HZ)
        for decoded in container.decode(audio=0):
            for resampled in resampler.resample(decoded):
                file.writeframes(resampled.to_ndarray().tobytes())
