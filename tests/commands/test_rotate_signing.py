"""`vivavoce keys rotate-signing`, and what the other commands say of several signing keys."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.recorder.catalog.receipt import issue
from server.recorder.catalog.recordings import lock_recordings
from server.recorder.evidence.tlog import open_log
from server.recorder.format.server_key import fingerprint
from server.recorder.keys import succession
from server.recorder.keys.key_ring import load_public_key
from tests.commands.conftest import run
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S


@pytest.fixture
def desk(data: Path) -> Desk:
    desk = Desk(data)
    desk.seal("old")
    return desk


@pytest.fixture
def former(desk: Desk, tmp_path: Path) -> Path:
    """The public key of before, where somebody has kept it."""
    kept = tmp_path / "kept" / "signing.pub"
    kept.parent.mkdir()
    shutil.copy(desk.data_dir / "keys" / "signing.pub", kept)
    return kept


def rotated(desk: Desk, capsys: pytest.CaptureFixture[str]) -> Desk:
    """And a recording since."""
    status, out, err = run(capsys, "keys", "rotate-signing")
    assert (status, err) == (0, "")
    after = Desk(desk.data_dir)
    assert fingerprint(after.keys.public_key.known) in out
    after.seal("new", START_S + 100)
    return after


def test_verify_says_which_key_has_signed(
    desk: Desk, former: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = fingerprint(desk.keys.public_key.known)
    after = rotated(desk, capsys)
    newer = fingerprint(after.keys.public_key.known)
    for interview_id, more, said in (
        ("new", (), None),
        ("old", (), f"Signed with a former key (SHA-256 {older}), in use until"),
        ("old", ("--public-key", str(former)), None),
        ("new", ("--public-key", str(former)), f"Signed with a later key (SHA-256 {newer})"),
    ):
        status, out, _ = run(capsys, "verify", str(after.path(interview_id)), *more)
        assert status == 0, out
        known = older if more else newer
        assert f"(SHA-256 {known})." in out.splitlines()[-1]
        assert (said or "") in out
        assert ("Signed with a" in out) == (said is not None), out
    status, out, _ = run(capsys, "verify", str(desk.data_dir / "recordings"))
    assert (status, out.count("Signed with a former key")) == (0, 1)


def test_a_receipt_of_before_is_held_by_the_new_key(
    desk: Desk, former: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(issue(desk.data_dir, "old", desk.keys.signer, desk.keys.public_key))
    rotated(desk, capsys)
    status, out, _ = run(capsys, "verify", str(receipt))
    assert (status, "Signed with a former key" in out, "goes on from" in out) == (0, True, True)
    status, out, _ = run(capsys, "verify", str(receipt), "--public-key", str(former))
    assert (status, "Signed with a" in out) == (0, False)


def test_the_log_tells_of_it_and_goes_on_from_what_was_kept(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "checkpoint"
    kept.write_text(run(capsys, "log")[1])
    rotated(desk, capsys)
    assert run(capsys, "log", "--since", str(kept))[0] == 0
    out = run(capsys, "log", "--entries")[1]
    kinds = [line.split()[4] for line in out.splitlines()]
    assert kinds == ["begun", "closed", "rotated", "begun", "closed"]
    assert "another key signs" in out


def test_evidence_has_what_leads_from_one_key_to_the_other(
    desk: Desk, former: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rotated(desk, capsys)
    out_file = tmp_path / "out.zip"
    for interview_id in ("old", "new"):
        out_file.unlink(missing_ok=True)
        assert run(capsys, "export", interview_id, "--evidence", "-o", str(out_file))[0] == 0
        shutil.move(desk.data_dir / "keys", tmp_path / "away")  # as on another machine
        status, out, _ = run(capsys, "verify", str(out_file), "--public-key", str(former))
        shutil.move(tmp_path / "away", desk.data_dir / "keys")
        assert (status, "Signed with a later key" in out) == (0, interview_id == "new"), out
    subprocess.run([sys.executable, "-m", "zipfile", "-e", out_file, tmp_path / "x"], check=True)
    folder = tmp_path / "x" / "vivavoce-new"
    shutil.copy(former, folder / "signing.pub")
    done = subprocess.run(
        [sys.executable, "-I", "read_recording.py", "recording", "--public-key", "signing.pub"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "another key of the same server" in done.stdout) == (0, True)


def test_a_forged_list_is_named(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    after = rotated(desk, capsys)
    path = after.data_dir / "keys" / succession.FILE
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":2'))
    status, out, _ = run(capsys, "verify", str(after.path("old")))
    assert (status, out.startswith(f"NOT INTACT: {succession.FILE}: tampered")) == (1, True)


def test_without_the_list_the_log_says_that_it_is_missing(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    after = rotated(desk, capsys)
    (after.data_dir / "keys" / succession.FILE).unlink()
    status, out, _ = run(capsys, "verify", str(after.path("new")))
    assert (status, f"{succession.FILE} has to lie beside the public key" in out) == (1, True)


def test_inspect_says_that_a_former_key_has_signed(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    older = fingerprint(desk.keys.public_key.known)
    rotated(desk, capsys)
    status, out, _ = run(capsys, "inspect", "old", "--json")
    assert status == 0
    said = json.loads(out)["signature"]["said"]
    assert f"by the key with the SHA-256 {older}, of the same server" in said


def test_a_running_server_is_not_taken_its_key_from(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_public_key(desk.data_dir / "keys" / "signing.pub")
    with lock_recordings(desk.data_dir):
        status, _, err = run(capsys, "keys", "rotate-signing")
    assert (status, "stop it first" in err) == (2, True)
    assert load_public_key(desk.data_dir / "keys" / "signing.pub") == before


def test_a_log_of_another_key_is_said_and_nothing_is_changed(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(desk.log)
    open_log(desk.log, Desk(tmp_path / "other").keys.signer)
    status, _, err = run(capsys, "keys", "rotate-signing")
    assert (status, "signed by another key" in err) == (2, True)
    assert not (desk.data_dir / "keys" / succession.FILE).exists()
