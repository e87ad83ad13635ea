"""What we read of Content Credentials, and which of them we take."""

import importlib
import struct
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import c2pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.credentials.c2pa_manifest import BmffHash
from server.recorder.export.content_credentials import (
    Credentials,
    CredentialsUnavailable,
    Made,
    Source,
)
from server.recorder.export.credentials_check import Checked, check, present_in
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.keys.claim_signer import ClaimSigner
from tests.recorder.encoded import START_S
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


@pytest.mark.parametrize("where", ["signature", "assertion", "cut", "index", "media", "more"])
def test_changed_credentials_are_named(signed: Signed, tmp_path: Path, where: str) -> None:
    data = bytearray(signed.path.read_bytes())
    match where:
        case "signature":
            data[data.index(b"c2pa.signature") + 500] ^= 1
        case "assertion":
            data[data.index(signed.source.root.encode())] ^= 1
        case "cut":
            del data[-1:]
        case "index":
            data[data.index(b"mvhd") + 20] ^= 1
        case "media":
            data[-1] ^= 1
        case "more":
            data += struct.pack(">I4s", 8, b"free")
    path = tmp_path / "out.mp4"
    path.write_bytes(data)
    with pytest.raises(SegmentError) as caught:
        check(path, signed.signer.anchor)
    assert caught.value.kind is FaultKind.TAMPERED


def test_one_that_is_laid_out_otherwise_is_checked_by_the_library_alone(
    signed: Signed, tmp_path: Path
) -> None:
    """What others wrote; here by a box that no hash is of (C2PA 2.4 18.6.2)."""
    path, data = tmp_path / "out.mp4", bytearray(signed.path.read_bytes())
    data += struct.pack(">I4s", 8, b"mfra")
    path.write_bytes(data)
    assert check(path, signed.signer.anchor) == Checked("Vivavoce", True, signed.source)
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(SegmentError):
        check(path, signed.signer.anchor)


def test_its_size_is_not_in_memory(signed: Signed, tmp_path: Path) -> None:
    """Counted by what the system gave to a program that does nothing else: since it is that
    program, not since it was these tests (getrusage counts from there)."""
    path = tmp_path / "out.mp4"
    media = struct.pack(">I4sQ", 1, b"mdat", LARGE)
    with path.open("wb") as file:
        file.truncate(write_signed(file, signed.signer, signed.source, media) + LARGE - len(media))
    (tmp_path / "root.pem").write_bytes(signed.signer.anchor)
    taken = subprocess.run(
        (sys.executable, "-c", _CHECKING, path, tmp_path / "root.pem"),
        capture_output=True,
        text=True,
        check=True,
    )
    name, taken_kb, unit = taken.stdout.split()
    assert (name, unit) == ("VmHWM:", "kB")
    assert int(taken_kb) < 150_000


LARGE = 400 << 20
_CHECKING = """
import sys
from pathlib import Path
from server.recorder.export.credentials_check import check
assert check(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()).trusted
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def write_signed(file: BinaryIO, signer: ClaimSigner, source: Source, media: bytes) -> int:
    """An MP4 of one box that begins with `media` and goes on with zeros; its size so far."""
    credentials = Credentials(Made(source, True, False), signer, START_S)
    ftyp = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)
    found = BmffHash()
    found.leave_out(len(ftyp) + credentials.size)
    zeros = bytes(1 << 20)
    found.add([media, *([zeros] * (LARGE // len(zeros) - 1)), zeros[len(media) :]])
    return file.write(ftyp + credentials.box(found.digest(), encoded=False) + media)


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
