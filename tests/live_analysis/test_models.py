import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from server.live_analysis.models import data_file, face_model, speech_model


def test_the_weights_are_found_without_importing_their_packages() -> None:
    assert data_file("silero-vad", "silero_vad/data/silero_vad_16k_sequence.onnx").is_file()


def test_missing_weights_say_which() -> None:
    with pytest.raises(FileNotFoundError, match=r"silero-vad is installed without nowhere\.onnx"):
        data_file("silero-vad", "nowhere.onnx")


def test_the_speech_model_takes_a_sequence_of_blocks() -> None:
    state = np.zeros((1, 1, 128), np.float32)
    blocks = np.zeros((5, 576), np.float32)
    found, h, c = speech_model().run(None, {"input": blocks, "h": state, "c": state})
    assert found.shape == (5,)
    assert h.shape == c.shape == state.shape


def test_one_model_serves_everybody() -> None:
    assert speech_model() is speech_model()
    name = "face_detection_short_range"
    assert face_model(name, 128) is face_model(name, 128)


def test_nobody_is_told_that_a_model_runs(tmp_path: Path) -> None:
    """ONNX Runtime's reports on its use begin with a file that identifies the machine."""
    load = "from server.live_analysis.models import speech_model; speech_model()"
    home = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", load], env=home, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []
