"""`vivavoce export`, as a person types it."""

import re
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from server.commands.terminal import Progress
from server.core.frames import Codec
from server.recorder.catalog.erasure import erase
from server.recorder.catalog.recordings import lock_recordings
from server.recorder.export.content_credentials import Credentials
from server.recorder.keys.key_ring import open_keys
from server.recorder.stores.store import LocalStore
from server.recorder.uploader import Uploader
from tests.commands.conftest import record, run
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, camera, interview
from tests.recorder.test_claim_signer import bring


def test_export_writes_one_file_that_plays(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    out = tmp_path / "out.mp4"
    assert run(capsys, "export", "interview-1", "-o", str(out))[0] == 0
    assert out.read_bytes()[4:8] == b"ftyp"


def test_of_an_interview_that_went_on_the_next_day_it_tells_when_each_part_was_recorded(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(data)
    for start_s in (START_S, START_S + 86_400):
        desk.write(interview(Codec.H264, 2, start_s))
    status, out, _ = run(capsys, "export", "iv", "-o", str(tmp_path / "iv.mp4"))
    assert status == 0
    assert out.splitlines()[1:3] == [
        "  from 0:00:00.000 on: recorded 2025-10-09 08:53:20 UTC",
        "  from 0:00:12.000 on: recorded 2025-10-10 08:53:20 UTC",
    ]


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
        assert ("--to has to come after --from" in err) is ("--to" in times)
    nowhere = str(tmp_path / "nowhere" / "out.mp4")
    status, _, err = run(capsys, "export", "interview-1", "-o", nowhere)
    assert (status, "There is no folder" in err) == (2, True)
    among = str(data / "recordings" / "out.mp4")
    status, _, err = run(capsys, "export", "interview-1", "-o", among)
    assert (status, "may lie among the recordings" in err) == (2, True)
    assert run(capsys, "viewings", "interview-1")[1] == "Nobody has read this recording.\n"
    status, _, err = run(capsys, "export", "interview-1", "-o", str(out), "--from", "1:2:3:4")
    assert (status, "as 90, 1:30" in err) == (2, True)
    assert not out.exists()


def test_export_of_what_is_not_there_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    for interview_id in ("nothing", "../keys"):
        status, _, err = run(capsys, "export", interview_id, "-o", str(tmp_path / "out.mp4"))
        assert (status, "no recording" in err) == (2, True)


def test_what_is_there_is_replaced_only_when_asked(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    out = tmp_path / "out.mp4"
    out.write_text("somebody's")
    status, _, err = run(capsys, "export", "interview-1", "-o", str(out))
    assert (status, "--overwrite replaces it" in err) == (2, True)
    assert out.read_text() == "somebody's"
    assert run(capsys, "export", "interview-1", "-o", str(out), "--overwrite")[0] == 0
    assert out.read_bytes()[4:8] == b"ftyp"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Whoever runs the tests in the background has them started without."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("there", [True, False])
def test_cancelled_it_leaves_what_was_there(
    data: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    there: bool,
) -> None:
    record(data, "interview-1")
    out = tmp_path / "target" / "out.mp4"
    out.parent.mkdir()
    if there:
        out.write_text("somebody's")

    def interrupted(progress: object, done: float) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr(Progress, "__call__", interrupted)
    former = signal.getsignal(signal.SIGTERM)
    status, said, err = run(capsys, "export", "interview-1", "-o", str(out), "--overwrite")
    assert (status, said, "cancelled: nothing was written" in err) == (130, "", True)
    assert [each.name for each in out.parent.iterdir()] == (["out.mp4"] if there else [])
    assert signal.getsignal(signal.SIGTERM) is former


@pytest.mark.usefixtures("interruptible")
def test_cancelled_while_it_is_signed_it_leaves_nothing(
    data: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record(data, "interview-1")
    out = tmp_path / "target" / "out.mp4"
    out.parent.mkdir()
    box = Credentials.box

    def interrupted(*args: Any, **kwargs: Any) -> bytes:
        signal.raise_signal(signal.SIGINT)
        return box(*args, **kwargs)

    monkeypatch.setattr(Credentials, "box", interrupted)
    assert run(capsys, "export", "interview-1", "--c2pa", "-o", str(out))[0] == 130
    assert list(out.parent.iterdir()) == []


def test_content_credentials_are_signed_and_checked(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    out = tmp_path / "out.mp4"
    times = ("--from", "0.5", "--to", "1.5")
    assert run(capsys, "export", "interview-1", "--c2pa", "-o", str(out), *times)[0] == 0
    status, said, _ = run(capsys, "verify", str(out))
    assert (status, "(C2PA) say so; signed by Vivavoce" in said) == (0, True)
    out.with_name("out.mp4.vivavoce.json").unlink()
    status, said, _ = run(capsys, "verify", str(out))
    assert (status, "0.5 to 1.5 s" in said) == (0, True)
    content = bytearray(out.read_bytes())
    content[-1] ^= 1
    out.write_bytes(content)
    status, said, _ = run(capsys, "verify", str(out))
    assert (status, "NOT INTACT: out.mp4: tampered" in said) == (1, True)


def test_whoever_has_the_root_checks_a_file_alone(
    data: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record(data, "interview-1")
    out, root = tmp_path / "elsewhere" / "out.mp4", tmp_path / "elsewhere" / "root.pem"
    out.parent.mkdir()
    assert run(capsys, "export", "interview-1", "--c2pa", "-o", str(out))[0] == 0
    out.with_name("out.mp4.vivavoce.json").unlink()
    root.write_text(run(capsys, "keys", "c2pa-root")[1])
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(tmp_path / "none"))
    status, said, _ = run(capsys, "verify", str(out))
    assert (status, "no trusted root vouches for its signer, 'Vivavoce'" in said) == (1, True)
    assert run(capsys, "verify", str(out), "--c2pa-root", str(root))[0] == 0
    status, _, err = run(capsys, "verify", str(out), "--c2pa-root", str(out))
    assert (status, "no certificates in PEM" in err) == (2, True)


def test_a_certificate_of_ones_own_signs(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    out, root = tmp_path / "out.mp4", tmp_path / "root.pem"
    root.write_bytes(bring(tmp_path, ec.derive_private_key(7, ec.SECP384R1()))[1])
    own = ("--c2pa-cert", str(tmp_path / "chain.pem"), "--c2pa-key", str(tmp_path / "key.pem"))
    assert run(capsys, "export", "interview-1", "-o", str(out), *own)[0] == 0
    assert run(capsys, "verify", str(out))[0] == 1, "the server's own root has not signed it"
    assert run(capsys, "verify", str(out), "--c2pa-root", str(root))[0] == 0


def test_a_certificate_that_can_not_sign_is_said_before_anything_is_done(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    bring(tmp_path, ec.derive_private_key(7, ec.SECP384R1()))
    (tmp_path / "key.pem").write_text("no key")
    out = tmp_path / "out.mp4"
    own = ("--c2pa-cert", str(tmp_path / "chain.pem"), "--c2pa-key", str(tmp_path / "key.pem"))
    status, _, err = run(capsys, "export", "interview-1", "-o", str(out), *own)
    assert (status, "Content Credentials can't be signed: " in err) == (2, True)
    assert run(capsys, "viewings", "interview-1")[1] == "Nobody has read this recording.\n"


# ---- evidence ---------------------------------------------------------------------------


def members(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return {name.removeprefix("vivavoce-iv/") for name in archive.namelist()}


def test_evidence_holds_no_key_unless_it_is_asked_for(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "iv")
    out = tmp_path / "out.zip"
    status, said, _ = run(capsys, "export", "iv", "--evidence", "-o", str(out))
    assert (status, "no proofs" in said) == (0, True)
    assert members(out) == {
        *("README.txt", "signing.pub", "read_recording.py"),
        *("recording/manifest.json", "recording/00000.seg"),
    }
    assert run(capsys, "viewings", "iv")[1] == "Nobody has read this recording.\n"
    status, said, _ = run(
        capsys, "export", "iv", "--evidence", "--with-key", "--overwrite", "-o", str(out)
    )
    assert (status, "can see and hear everything" in said) == (0, True)
    assert "recording.key" in members(out)
    assert re.search(r"export +0\.0 to +2\.0 s +operator", run(capsys, "viewings", "iv")[1])


def test_evidence_can_be_given_when_nobody_can_open_the_recording_any_more(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "iv")
    erase(data, "iv", 1)
    out = tmp_path / "out.zip"
    status, _, err = run(capsys, "export", "iv", "--evidence", "--with-key", "-o", str(out))
    assert (status, "was destroyed" in err, out.exists()) == (1, True, False)
    assert run(capsys, "export", "iv", "--evidence", "-o", str(out))[0] == 0
    assert run(capsys, "verify", str(out))[0] == 0


def test_evidence_of_what_is_not_there_or_not_over_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Desk(data).write(camera(), "running", finish=False)
    out = tmp_path / "out.zip"
    wanted = ("--evidence", "--overwrite", "-o", str(out))
    with lock_recordings(data):
        status, _, err = run(capsys, "export", "running", *wanted)
        assert (status, "is being recorded: end it first" in err) == (2, True)
    assert run(capsys, "export", "running", *wanted)[0] == 0, "a crash has ended it"
    for argv in (
        ("export", "none", *wanted),
        ("export", "../running", *wanted),
        ("export", "running", "--with-key", "--overwrite", "-o", str(out)),
        ("export", "running", "--c2pa", *wanted),
        ("export", "running", "--from", "1", *wanted),
        ("export", "running", "--transcode", *wanted),
    ):
        assert run(capsys, *argv)[0] == 2


def test_evidence_comes_from_a_store_too(
    data: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record(data, "iv")
    monkeypatch.setenv("VIVAVOCE_STORE", str(tmp_path / "store"))
    public_key = open_keys(data / "keys").public_key
    Uploader(data, LocalStore(tmp_path / "store"), public_key).round()
    out = tmp_path / "out.zip"
    assert run(capsys, "export", "iv", "--evidence", "-o", str(out))[0] == 0
    assert run(capsys, "verify", str(out))[0] == 0
