"""`vivavoce compress`, as a person types it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from server.commands.text import size
from server.recorder.compression import compression
from server.recorder.compression.compression import Compression
from tests.commands.conftest import record, run

pytestmark = pytest.mark.usefixtures("near")


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
    assert "Compressed: made of recording" in out
    assert "its media destroyed by policy" in out
    exported = tmp_path / "out.mp4"
    assert run(capsys, "export", "interview-1", "-o", str(exported))[0] == 0
    status, _, err = run(capsys, "compress", "interview-1")
    assert (status, "compressed already" in err) == (1, True)
    assert run(capsys, "compress", "--all") == (0, "", "")


def shown(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """What the list and `inspect` say of the recording; the former as a program reads it."""
    (line,) = json.loads(run(capsys, "recordings", "--json")[1])
    out = run(capsys, "inspect", "interview-1")[1]
    return line, " ".join(out.split())


def test_sizes_before_and_after_are_shown(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(data, "interview-1")
    before, _ = shown(capsys)
    assert run(capsys, "compress", "interview-1")[0] == 0
    line, seen = shown(capsys)
    assert line["compressed"]
    assert 0 < line["bytes"] < line["source_bytes"] < before["bytes"]
    assert f"compressed from {size(line['source_bytes'])}" in run(capsys, "recordings")[1]
    assert re.search(rf"Compressed: {size(line['source_bytes'])} to [\d.]+ kB \(\d+%\) on", seen)
    assert "in the worst second; the source is kept" in seen
    (data / "recordings" / "interview-1.vivavoce.json").unlink()
    line, seen = shown(capsys)
    assert (line["compressed"], line["source_bytes"]) == (True, None)
    assert "Compressed: no statement" in seen


def test_why_a_recording_stays_as_it_is_is_shown(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(data, "interview-1")
    monkeypatch.setattr(compression, "MAX_BYTES_PER_HOUR", 1_000_000)
    assert run(capsys, "compress", "interview-1")[0] == 1
    line, seen = shown(capsys)
    assert (line["compressed"], line["left"], line["made"]) == (False, "large", None)
    assert "MB an hour, more than 1, at VMAF 90: camera" in line["reason"]
    assert f"Compressed: no: {line['reason']}" in seen
    assert "not compressed: too large" in run(capsys, "recordings")[1]


def test_how_much_is_made_is_shown(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(data, "interview-1")

    class Stopped(BaseException):
        pass

    def stopped(*_: object) -> None:
        raise Stopped

    monkeypatch.setattr(Compression, "finish", stopped)
    with pytest.raises(Stopped):
        run(capsys, "compress", "interview-1")
    line, seen = shown(capsys)
    assert (line["compressed"], line["left"], line["made"]) == (False, None, 1.0)
    assert "Compressed: not yet: 100% is made" in seen
    assert "compressing: 100%" in run(capsys, "recordings")[1]


def test_a_statement_that_was_changed_or_is_gone_is_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record(data, "interview-1")
    assert run(capsys, "compress", "interview-1")[0] == 0
    statement = path.with_name("interview-1.vivavoce.json")
    statement.write_bytes(
        statement.read_bytes().replace(b'"source_kept":true', b'"source_kept":false')
    )
    status, out, _ = run(capsys, "verify", str(path))
    assert (status, "interview-1.vivavoce.json: tampered" in out) == (1, True)
    statement.unlink()
    for place in (path, path.parent):
        status, out, _ = run(capsys, "verify", str(place))
        assert (status, "interview-1.vivavoce.json: missing" in out) == (1, True)
    copied = shutil.copytree(path, tmp_path / "interview-1")
    status, out, _ = run(capsys, "verify", str(copied))
    assert (status, "no statement of what it was made of" in out) == (0, True)


def test_which_recording_must_be_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(data, "interview-1")
    for wrong in ((), ("interview-1", "--all")):
        status, _, err = run(capsys, "compress", *wrong)
        assert (status, "or --all" in err) == (2, True)
    status, _, err = run(capsys, "compress", "nothing")
    assert (status, "no recording of nothing" in err) == (2, True)
