"""`vivavoce compress`, as a person types it."""

from pathlib import Path

import pytest

from tests.commands.conftest import record, run


def test_a_recording_is_compressed_verified_and_exported(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = record(data, "interview-1")
    manifest = (path / "manifest.json").read_bytes()
    status, out, err = run(capsys, "compress", "interview-1", "--replace-source")
    assert (status, err) == (0, "")
    assert "camera: 60 pictures" in out
    source = data / "sources" / "interview-1"
    assert [each.name for each in source.iterdir()] == ["manifest.json"]
    assert (source / "manifest.json").read_bytes() == manifest
    status, out, _ = run(capsys, "verify", str(path))
    assert (status, "The log" in out) == (0, True)
    exported = tmp_path / "out.mp4"
    assert run(capsys, "export", "interview-1", "-o", str(exported))[0] == 0
    status, _, err = run(capsys, "compress", "interview-1")
    assert (status, "compressed already" in err) == (1, True)
    assert run(capsys, "compress", "--all") == (0, "", "")
