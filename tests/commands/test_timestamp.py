"""`vivavoce verify` of a recording that an authority has stamped."""

import hashlib
import shutil
from pathlib import Path

import pytest

from server.recorder.catalog.timestamper import Timestamper
from server.recorder.stores.s3 import S3Store
from server.recorder.uploader import Uploader
from tests.commands.conftest import run
from tests.recorder.authority import Authority, authority
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S
from tests.recorder.test_store import bucket


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
        imprint = whole.index(hashlib.sha256((desk.path() / "manifest.json").read_bytes()).digest())
        stamp.write_bytes(whole[:imprint] + bytes([whole[imprint] ^ 1]) + whole[imprint + 1 :])
        status, out, _ = run(capsys, "verify", path)
        assert (status, "manifest.tsr: tampered" in out) == (1, True), "not: of another manifest"
        stamp.write_bytes(whole)
        desk.seal(start_s=START_S + 20)
        status, out, _ = run(capsys, "verify", path)
        assert (status, "of another manifest, perhaps an earlier" in out) == (0, True)


def test_a_time_stamp_is_found_in_the_bucket(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(data)
    desk.seal()
    with authority(tmp_path / "tsa") as tsa, bucket(monkeypatch):
        uploader = Uploader(data, S3Store("recordings", "p"), desk.keys.public_key)
        uploader.round()
        _stamp(desk, tsa)
        uploader.round()
        more = ("--public-key", str(data / "keys" / "signing.pub"), "--timestamp-root")
        for place in ("s3://recordings/p/iv", "s3://recordings/p"):
            status, out, _ = run(capsys, "verify", place, *more, str(tsa.root))
            assert status == 0, out
        status, out, _ = run(capsys, "verify", "s3://recordings/p/iv", *more, str(tsa.root))
        assert "It was sealed by 20" in out
        with authority(tmp_path / "other") as other:
            for place in ("s3://recordings/p/iv", "s3://recordings/p"):
                status, out, _ = run(capsys, "verify", place, *more, str(other.root))
                assert (status, "manifest.tsr: tampered" in out) == (1, True)


def _stamp(desk: Desk, tsa: Authority) -> None:
    Timestamper(desk.data_dir, tsa.url, desk.keys.public_key).round()
