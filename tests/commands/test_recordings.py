"""`vivavoce recordings` and `vivavoce viewings`, as a person types them."""

import json
import re
from pathlib import Path

import pytest

from tests.commands.conftest import record, run


def test_recordings_are_listed_for_programs_and_for_people(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.mkdir()
    assert run(capsys, "recordings") == (0, "There are no recordings yet.\n", "")
    path = record(data, "interview-1")
    status, out, _ = run(capsys, "recordings", "--json")
    (line,) = json.loads(out)
    assert status == 0
    assert line == {
        "interview_id": "interview-1",
        "path": str(path),
        "title": "A title",
        "started_s": 1_760_000_000.0,
        "duration_s": pytest.approx(2.0, abs=0.1),
        "tracks": ["camera", "microphone"],
        "bytes": sum(file.stat().st_size for file in path.iterdir()),
        "state": "finished",
        "gaps": 0,
        "compressed": False,
        "source_bytes": None,
        "left": None,
        "reason": "",
        "made": None,
    }


def test_a_person_sees_a_table_or_where_it_is_too_wide_a_block_for_each(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(data, "interview-1")
    monkeypatch.setenv("COLUMNS", "160")
    header, row = run(capsys, "recordings")[1].splitlines()
    assert header.split() == [
        "Title",
        "Interview",
        "Began",
        "Length",
        "State",
        "Gaps",
        "Size",
        "Tracks",
    ]
    assert row.startswith("A title  interview-1  2025-10-0")
    assert re.search(r"  0:00:02  finished  none  [\d.]+ kB  camera, microphone$", row)
    assert row.index("0:00:02") == header.index("Length")
    monkeypatch.setenv("COLUMNS", "40")
    head, *lines = run(capsys, "recordings")[1].splitlines()
    assert head == "A title"
    assert "  Tracks: camera, microphone" in lines
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("wrong", ["interview-2", "../interview-1"])
def test_of_no_recording_there_is_nobody_to_tell_of(
    data: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    record(data, "interview-1")
    run(capsys, "viewings", "interview-1")
    status, out, err = run(capsys, "viewings", wrong)
    assert (status, out, "There is no recording of" in err) == (2, "", True)


def test_viewings_tells_of_each_export(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    assert run(capsys, "viewings", "interview-1")[:2] == (0, "Nobody has read this recording.\n")
    run(capsys, "export", "interview-1", "-o", str(tmp_path / "out.mp4"))
    (line,) = run(capsys, "viewings", "interview-1")[1].splitlines()
    assert re.search(r"export +0\.0 to +\d+\.\d s +operator$", line)
    (item,) = json.loads(run(capsys, "viewings", "interview-1", "--json")[1])
    assert (item["role"], item["way"], item["start_s"]) == (None, "export", 0.0)
