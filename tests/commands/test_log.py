"""`vivavoce log`, and what `vivavoce verify` says by the log."""

import shutil
import time
from pathlib import Path

import pytest

from server.core.frames import Codec
from server.recorder.catalog.spool import Spool
from server.recorder.evidence.tlog import EntryKind
from server.recorder.evidence.verify import TOLD_S
from tests.commands.conftest import run
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, interview


@pytest.fixture
def desk(data: Path) -> Desk:
    desk = Desk(data)
    desk.seal("one")
    return desk


def start_server(desk: Desk) -> None:
    """What a start does for the log."""
    witness = desk.witness()
    witness.catch_up(desk.data_dir, (), START_S + 500)


def test_the_checkpoint_is_printed_and_one_that_was_kept_is_held_against_it(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, checkpoint, err = run(capsys, "log")
    assert (status, checkpoint, err) == (0, (desk.log / "checkpoint").read_text(), "")
    kept = tmp_path / "kept"
    kept.write_text(checkpoint)
    desk.seal("two", START_S + 30)
    assert run(capsys, "log", "--since", str(kept))[0] == 0
    newest = run(capsys, "log")[1]
    shutil.rmtree(desk.log)
    desk.seal("three", START_S + 60)
    status, out, err = run(capsys, "log", "--since", str(kept))
    assert (status, out.startswith("vivavoce/")) == (1, True)
    assert "another log" in err
    assert newest != checkpoint


def test_a_log_that_was_changed_is_named(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle,) = (desk.log / "tile" / "entries").glob("*/*")
    bundle.write_bytes(bundle.read_bytes().replace(b'"one"', b'"two"'))
    for more in ((), ("--entries",)):
        status, _, err = run(capsys, "log", *more)
        assert status == 1
        assert err.startswith("NOT INTACT: log/tile/entries/000.p/2: tampered")


def test_a_checkpoint_that_is_none_or_is_gone_is_named(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk.log / "checkpoint").write_bytes(b"\xff\n")
    assert run(capsys, "log")[2].startswith("NOT INTACT: log/checkpoint: tampered")
    (desk.log / "checkpoint").unlink()
    assert run(capsys, "log")[2].startswith("NOT INTACT: log/checkpoint: missing")
    status, out, _ = run(capsys, "verify", str(desk.path("one")))
    assert (status, "log/checkpoint: missing" in out) == (1, True)


def test_without_a_log_or_a_key_it_is_wrong_use(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "log")[0] == 2
    Desk(data)
    assert run(capsys, "log")[0] == 2


def test_exports_and_erasures_are_in_the_log_and_an_export_names_its_entry(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_file = tmp_path / "out.mp4"
    assert run(capsys, "export", "one", "-o", str(out_file), "--transcode")[0] == 0
    status, out, _ = run(capsys, "verify", str(out_file))
    assert (status, "It waits for the log" in out) == (0, True)
    assert run(capsys, "keys", "destroy", "one", "--yes")[0] == 0
    lines = run(capsys, "log", "--entries")[1].splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "waits", "waits"]
    start_server(desk)
    lines = run(capsys, "log", "--entries")[1].splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2", "3"]
    told = [line.split()[4] for line in lines]
    assert told == [
        EntryKind.BEGUN,
        EntryKind.CLOSED,
        EntryKind.DERIVED,
        EntryKind.ERASED,
    ]
    status, out, _ = run(capsys, "verify", str(out_file))
    assert (status, "Entry 2 of the log vivavoce/" in out) == (0, True)


def test_an_export_that_the_log_does_not_know_is_named(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_file = tmp_path / "out.mp4"
    assert run(capsys, "export", "one", "-o", str(out_file), "--transcode")[0] == 0
    Spool(desk.log).remove(Spool(desk.log).waiting(desk.keys.public_key))
    status, out, _ = run(capsys, "verify", str(out_file))
    assert (status, "missing: the log does not know this export" in out) == (1, True)


def test_a_log_that_is_told_of_an_end_a_moment_later_is_waited_for(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server that closes a recording writes its manifest first."""
    witness = desk.witness()
    writer = desk.write(interview(Codec.VP8, 1), "new")
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    assert (run(capsys, "verify", "new")[0], waited) == (1, []), "that was long ago"
    monkeypatch.setattr(time, "time", lambda: START_S + 20)
    status, out, _ = run(capsys, "verify", "new")
    assert (status, waited) == (1, [TOLD_S])
    assert "the log does not know this recording" in out

    def tell(seconds: float) -> None:
        witness.closed(writer, START_S + 40)
        witness.tell((), START_S + 40)

    monkeypatch.setattr(time, "sleep", tell)
    assert run(capsys, "verify", "new")[0] == 0


def test_all_recordings_are_verified_and_one_that_is_gone_is_named(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.seal("two", START_S + 30)
    recordings = desk.data_dir / "recordings"
    status, out, _ = run(capsys, "verify", str(recordings))
    assert (status, out.startswith("Intact: 2 recordings.")) == (0, True)
    (segment,) = (recordings / "two").glob("*.seg")
    segment.write_bytes(segment.read_bytes()[:-1])
    shutil.rmtree(recordings / "one")
    for path, expected in ((recordings, 2), (recordings / "one", 1)):
        status, out, _ = run(capsys, "verify", str(path))
        assert (status, out.count("NOT INTACT")) == (1, expected)
    status, out, _ = run(capsys, "verify", str(recordings))
    assert "two/00000.seg" in out
    assert "one, 0.000 s to" in out, "with the time that is lost"
