"""The command as its users run it, in this process."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.cli import main
from server.core.frames import Codec, TrackName
from server.recorder.catalog.recordings import open_for_writing, recording_path
from server.recorder.compression import track_recoder
from server.recorder.compression.recode_job import Quality
from server.recorder.compression.track_recoder import BARS
from server.recorder.keys.key_ring import open_keys
from server.recorder.stores.files import LocalFolder
from server.recorder.writing.writer import Metrics, RecordingWriter
from tests.recorder.conftest import POLICY
from tests.recorder.encoded import camera, microphone


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("VIVAVOCE_PORT", "VIVAVOCE_ROOT_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests record is too shrill to come as near as a face has to."""
    bar = replace(BARS[TrackName.CAMERA], aim=Quality(0.0, 35.0), least=Quality(0.0, 30.0))
    monkeypatch.setitem(track_recoder.BARS, TrackName.CAMERA, bar)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        status = main(argv)
    except SystemExit as stopped:  # argparse
        status = int(stopped.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


def invited(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    status, out, _ = run(capsys, "invite", "--title", "Backend engineer", "--json", *more)
    assert status == 0
    made: dict[str, Any] = json.loads(out)
    return made


def record(data_dir: Path, interview_id: str) -> Path:
    keys = open_keys(data_dir / "keys")
    path = recording_path(data_dir, interview_id)
    manifest, key = open_for_writing(path, "A title", POLICY, keys)
    faults: list[str] = []
    writer = RecordingWriter(
        LocalFolder(path), key, keys.signer, manifest, Metrics(), faults.append
    )
    for frame in sorted(camera(Codec.H264) + microphone(), key=lambda each: each.capture_s):
        writer.write(frame)
    writer.finish()
    assert faults == []
    return path
