"""`vivavoce verify` of a recording that an authority has stamped."""

import shutil
from pathlib import Path

import pytest

from server.recorder.timestamper import Timestamper
from tests.commands.conftest import run
from tests.recorder.authority import Authority, authority
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S


def test_a_time_stamp_is_proved_by_the_authoritys_certificate_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(data)
    desk.seal()
    path = str(desk.path())
    with authority(tmp_path / "tsa") as tsa, authority(tmp_path / "other") as other:
        _stamp(desk, tsa)
        status, out, _ = run(capsys, "verify", path)
        assert (status, "unchecked" in out) == (0, True)
        status, out, _ = run(capsys, "verify", path, "--timestamp-root", str(tsa.root))
        assert (status, "It was sealed by 20" in out) == (0, True)
        status, out, _ = run(capsys, "verify", path, "--timestamp-root", str(other.root))
        assert (status, out.startswith("NOT INTACT: manifest.tsr: tampered")) == (1, True)
        no_certificate = tmp_path / "empty.pem"
        no_certificate.write_bytes(b"")
        assert run(capsys, "verify", path, "--timestamp-root", str(no_certificate))[0] == 2
        shutil.copy(tsa.root, desk.data_dir / "keys" / "timestamp-root.pem")  # pinned
        assert "It was sealed by 20" in run(capsys, "verify", path)[1]
        stamp = desk.path() / "manifest.tsr"
        whole = stamp.read_bytes()
        stamp.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        for place in (path, str(desk.path().parent)):
            status, out, _ = run(capsys, "verify", place)
            assert (status, "manifest.tsr: tampered" in out) == (1, True)
        stamp.write_bytes(whole)
        desk.seal(start_s=START_S + 20)
        status, out, _ = run(capsys, "verify", path)
        assert (status, "the newest has none yet" in out) == (0, True)


def _stamp(desk: Desk, tsa: Authority) -> None:
    Timestamper(desk.data_dir, tsa.url, desk.keys.public_key).round()
