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
        "started_s": 1_760_000_000.0,
        "duration_s": pytest.approx(2.0, abs=0.1),
        "state": "finished",
    }
    assert "interview-1" in run(capsys, "recordings")[1]


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
