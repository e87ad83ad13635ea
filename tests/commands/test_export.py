"""`vivavoce export`, as a person types it."""

from pathlib import Path

import pytest

from tests.commands.conftest import record, run


def test_export_writes_one_file_that_plays(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    out = tmp_path / "out.mp4"
    assert run(capsys, "export", "interview-1", "-o", str(out))[0] == 0
    assert out.read_bytes()[4:8] == b"ftyp"


def test_an_export_is_signed_and_checked(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    out = tmp_path / "out.mp4"
    times = ("--from", "0.5", "--to", "0:01.5")
    assert run(capsys, "export", "interview-1", "-o", str(out), *times)[0] == 0
    status, said, _ = run(capsys, "verify", str(out))
    assert (status, "recording interview-1, 0.5 to 1.5 s" in said) == (0, True)
    out.write_bytes(out.read_bytes()[:-1])
    status, said, _ = run(capsys, "verify", str(out))
    assert (status, "NOT INTACT: out.mp4: truncated: 1 bytes are cut off" in said) == (1, True)
    out.with_name("out.mp4.vivavoce.json").unlink()
    assert run(capsys, "verify", str(out))[0] == 2


def test_a_clip_of_nothing_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    out = tmp_path / "out.mp4"
    for times in (("--from", "1:00"), ("--to", "0"), ("--from", "1", "--to", "0.5")):
        status, _, err = run(capsys, "export", "interview-1", "-o", str(out), *times)
        assert (status, "the recording lasts 2.0 s" in err) == (2, True)
    status, _, err = run(capsys, "export", "interview-1", "-o", str(out), "--from", "1:2:3:4")
    assert (status, "as 90, 1:30" in err) == (2, True)
    assert not out.exists()


def test_export_of_what_is_not_there_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    for interview in ("nothing", "../keys"):
        status, _, err = run(capsys, "export", interview, "-o", str(tmp_path / "out.mp4"))
        assert (status, "no recording" in err) == (2, True)
