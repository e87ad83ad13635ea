"""What we read of Content Credentials, and which of them we take."""

import importlib
import sys
from pathlib import Path

import c2pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.content_credentials import CredentialsUnavailable
from server.recorder.credentials_check import Checked, check, present_in
from server.recorder.sealing import FaultKind, SegmentError
from tests.recorder.test_content_credentials import Exporting


class Signed(Exporting):
    """An export with credentials."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = self.sign()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return Signed(tmp_path_factory.mktemp("signed"))


def test_we_read_of_what_it_was_made(signed: Signed) -> None:
    assert present_in(signed.path)
    assert check(signed.path, signed.signer.anchor) == Checked("Vivavoce", True, signed.source)
    recorded = signed.desk.reader().manifest
    assert signed.source.root == recorded.root
    assert signed.source.recording == recorded.recording


def test_by_another_servers_root_it_is_untrusted(signed: Signed, tmp_path: Path) -> None:
    other = Exporting(tmp_path).signer.anchor
    assert check(signed.path, other) == Checked("Vivavoce", False, signed.source)


@pytest.mark.parametrize("where", ["signature", "assertion", "cut"])
def test_changed_credentials_are_named(signed: Signed, tmp_path: Path, where: str) -> None:
    data = bytearray(signed.path.read_bytes())
    match where:
        case "signature":
            data[data.index(b"c2pa.signature") + 500] ^= 1
        case "assertion":
            data[data.index(signed.source.root.encode())] ^= 1
        case "cut":
            del data[-1:]
    path = tmp_path / "out.mp4"
    path.write_bytes(data)
    with pytest.raises(SegmentError) as caught:
        check(path, signed.signer.anchor)
    assert caught.value.kind is FaultKind.TAMPERED


def test_a_file_without_credentials_is_told_apart(signed: Signed, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    data = signed.path.read_bytes()
    for content in (data[:32], b"", b"\0\0\0\1uuid", b"no MP4 at all"):
        path.write_bytes(content)
        assert not present_in(path)


@given(data=st.binary(max_size=300))
def test_any_file_has_credentials_or_has_none(signed: Signed, data: bytes) -> None:
    path = signed.path.with_name("any")
    path.write_bytes(data)
    assert present_in(path) in (True, False)


def test_without_the_package_it_says_what_to_do(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(CredentialsUnavailable, match="`make install`"):
        check(signed.path, signed.signer.anchor)
    monkeypatch.undo()
    assert importlib.import_module("c2pa") is c2pa
