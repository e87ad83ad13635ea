"""`vivavoce verify RECEIPT`: alone with the public key, and beside what it is of."""

import shutil
from pathlib import Path

import pytest

from server.recorder.catalog.receipt import check_receipt, issue
from tests.commands.conftest import run
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S


def issued(desk: Desk) -> bytes:
    return issue(desk.data_dir, "iv", desk.keys.signer, desk.keys.public_key)


@pytest.fixture
def desk(data: Path) -> Desk:
    desk = Desk(data)
    desk.seal()
    return desk


@pytest.fixture
def kept(desk: Desk, tmp_path: Path) -> Path:
    """Where a candidate has put it, with the key that was told to them."""
    (tmp_path / "kept").mkdir()
    shutil.copy(desk.data_dir / "keys" / "signing.pub", tmp_path / "kept" / "server.pub")
    path = tmp_path / "kept" / "receipt.json"
    path.write_bytes(issued(desk))
    return path


def test_it_is_checked_with_the_public_key_alone(
    kept: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(desk.data_dir)
    key = str(kept.with_name("server.pub"))
    status, out, _ = run(capsys, "verify", str(kept), "--public-key", key)
    assert status == 0
    assert "of camera, microphone" in out
    assert "under the notice 1/en" in out
    assert "not checked" in out
    status, _, err = run(capsys, "verify", str(kept))
    assert (status, "There is no public key" in err) == (2, True), "without any key"
    kept.write_bytes(kept.read_bytes().replace(b"1/en", b"1/zh"))
    status, out, _ = run(capsys, "verify", str(kept), "--public-key", key)
    assert status == 1
    assert out == "NOT INTACT: receipt.json: tampered: the receipt's signature does not fit\n"


def test_the_log_and_the_recording_have_to_bear_it_out(
    kept: Path, desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = [tmp_path / "first"]
    shutil.copytree(desk.path(), states[0])
    desk.seal(start_s=START_S + 20)
    kept.write_bytes(issued(desk))
    status, out, _ = run(capsys, "verify", str(kept))
    assert (status, "The log in" in out, "is the one that was sealed" in out) == (0, True, True)
    shutil.copytree(states[0], kept.parent / "iv")  # beside it counts first
    status, out, _ = run(capsys, "verify", str(kept))
    assert (status, "rolled back" in out, "while the receipt knows" in out) == (1, True, True)


def test_a_recording_that_is_gone_from_its_data_directory_does_not_bear_it_out(
    kept: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(desk.path())
    status, out, _ = run(capsys, "verify", str(kept))
    assert (status, out.splitlines()[-1].endswith("the whole recording is gone")) == (1, True)


def test_a_log_that_does_not_go_on_from_the_receipts_is_named(
    kept: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(desk.log)
    shutil.rmtree(desk.path())
    desk.seal("other")
    status, out, _ = run(capsys, "verify", str(kept))
    assert (status, "another log" in out) == (1, True)


@pytest.mark.usefixtures("near")
def test_a_receipt_outlasts_the_compression_of_its_recording(
    kept: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    before = check_receipt(kept.read_bytes(), desk.keys.public_key)
    assert run(capsys, "compress", "iv", "--replace-source")[0] == 0
    status, out, _ = run(capsys, "verify", str(kept))
    assert (status, "compressed since" in out) == (0, True)
    after = check_receipt(issued(desk), desk.keys.public_key)
    assert after.entry == before.entry
    desk.seal(start_s=START_S + 20)  # the interview goes on in what was made
    later = check_receipt(issued(desk), desk.keys.public_key)
    assert later.entry.recording != before.entry.recording
    (desk.data_dir / "recordings" / "iv.vivavoce.json").unlink()
    status, out, _ = run(capsys, "verify", str(kept))
    assert (status, "foreign" in out) == (1, True)
