"""`vivavoce verify`, as a person types it."""

from pathlib import Path

import pytest

from server.recorder.keys import open_keys
from server.recorder.s3 import S3Store
from server.recorder.uploader import Uploader
from tests.commands.conftest import record, run
from tests.recorder.test_stores import bucket


def test_verify_says_intact_or_names_the_fault(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record(data, "interview-1")
    status, out, _ = run(capsys, "verify", str(path))
    assert (status, out.startswith("Intact")) == (0, True)
    segment = next(path.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)
    status, out, _ = run(capsys, "verify", str(path))
    assert (status, segment.name in out) == (1, True)


def test_verify_of_nothing_is_wrong_use(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "verify", str(data / "none"))[0] == 2
    assert run(capsys, "verify")[0] == 2


def test_a_recording_in_a_store_is_verified_and_exported_from_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / "data"
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(data_dir))
    path = record(data_dir, "iv")
    public_key = str(data_dir / "keys" / "signing.pub")
    with bucket(monkeypatch):
        monkeypatch.setenv("VIVAVOCE_STORE", "s3://recordings/p")
        signer = open_keys(data_dir / "keys").signer
        Uploader(data_dir, S3Store("recordings", "p"), signer.public_key()).round()
        assert [file.name for file in path.iterdir()] == ["manifest.json"]
        for place in ("s3://recordings/p/iv", str(path)):
            status, out, _ = run(capsys, "verify", place, "--public-key", public_key)
            assert (status, out.split(":")[0]) == (0, "Intact")
        assert run(capsys, "export", "iv", "-o", str(tmp_path / "iv.mp4"))[0] == 0
        status, out, _ = run(capsys, "verify", "s3://recordings/p/no", "--public-key", public_key)
        assert (status, "there is no manifest" in out) == (1, True)
    monkeypatch.delenv("VIVAVOCE_STORE")
    assert run(capsys, "verify", str(path))[0] == 1, "without the store the segment is missing"
