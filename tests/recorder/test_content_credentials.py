"""C2PA in an exported MP4, as the C2PA consortium's reader and another one see it."""

import importlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import c2pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Codec
from server.recorder import content_credentials
from server.recorder.content_credentials import (
    Checked,
    CredentialsUnavailable,
    Done,
    check,
    present_in,
    sign,
    source_of,
)
from server.recorder.derivation import origin
from server.recorder.export import export
from server.recorder.sealing import FaultKind, SegmentError
from tests.recorder.authority import authority
from tests.recorder.c2pa_readers import by_encypher, by_the_consortium, manifest_of
from tests.recorder.conftest import Desk
from tests.recorder.encoded import interview
from tests.recorder.test_claim_signer import PRIVATE_KEYS, bring

NOW_S = 1_760_000_000.0
ALL = Done(encoded=True, whole=True, screen=False)


class Signed:
    """An export with credentials, and what was said of it."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder / "data")
        self.desk.write(interview(Codec.H264, 2))
        self.path = folder / "out.mp4"
        reader = self.desk.reader()
        tree = reader.manifest.tree_size, reader.manifest.root
        self.source = source_of(origin(reader.manifest), *tree, (0, 2_000_000))
        self.signer = self.desk.keys.claim_signer(NOW_S)
        export(reader, self.path, lambda share: None, seal=self._seal)

    def _seal(self, whole: Path, encoded: bool) -> None:
        self.clear = whole.read_bytes()
        sign(whole, self.source, Done(encoded, whole=True, screen=False), self.signer)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return Signed(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def other_root(tmp_path: Path) -> bytes:
    return Desk(tmp_path / "other").keys.claim_signer(NOW_S).anchor


def consortium(path: Path, roots: bytes) -> tuple[str, set[str]]:
    with path.open("rb") as file:
        return by_the_consortium(file, roots)


def manifest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return manifest_of(file)


def test_both_readers_find_it_valid_and_trusted(signed: Signed) -> None:
    assert consortium(signed.path, signed.signer.anchor) == ("Trusted", set())
    report = by_encypher(signed.path, signed.signer.anchor)
    assert (report["integrity"], report["hard_binding"]) == ("valid", "match")
    assert report["trust"]["status"] == "valid_for_supplied_material"
    assert report["validation_results"]["failure"] == []


def test_both_readers_find_a_flipped_byte_of_the_media(signed: Signed, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    data = bytearray(signed.path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    verdict, found = consortium(path, signed.signer.anchor)
    assert (verdict, found) == ("Invalid", {"assertion.bmffHash.mismatch"})
    assert by_encypher(path, signed.signer.anchor)["integrity"] == "invalid"


def test_by_another_servers_root_it_is_intact_but_untrusted(
    signed: Signed, other_root: bytes
) -> None:
    untrusted = {"signingCredential.untrusted"}
    assert consortium(signed.path, other_root) == ("Valid", untrusted)
    report = by_encypher(signed.path, other_root)
    assert (report["integrity"], report["trust"]["status"]) == (
        "valid",
        "not_valid_for_supplied_material",
    )
    assert check(signed.path, other_root) == Checked("Vivavoce", False, signed.source)


def test_we_read_of_what_it_was_made(signed: Signed) -> None:
    assert present_in(signed.path)
    assert check(signed.path, signed.signer.anchor) == Checked("Vivavoce", True, signed.source)
    recorded = signed.desk.reader().manifest
    assert signed.source.root == recorded.root
    assert signed.source.recording == recorded.recording


def test_it_says_what_was_done_and_names_nobody(signed: Signed, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(signed.clear)
    sign(path, signed.source, Done(encoded=False, whole=False, screen=False), signed.signer)
    found = manifest(path)
    actions = found["assertions"][0]["data"]["actions"]
    assert [each["action"] for each in actions] == [
        "c2pa.created",
        "c2pa.trimmed",
        "c2pa.repackaged",
    ]
    assert actions[0]["digitalSourceType"].endswith("/digitalCapture")
    assert all(set(each) <= {"action", "digitalSourceType"} for each in actions), "no times"
    technical = {"claim_generator_info", "instance_id", "signature_info", "label", "claim_version"}
    assert set(found) == technical | {"assertions"}
    labels = [each["label"] for each in found["assertions"]]
    assert labels == ["c2pa.actions.v2", "org.vivavoce.recording", "c2pa.hash.bmff.v3"]


def test_a_screen_is_no_capture_of_the_world(signed: Signed, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(signed.clear)
    sign(path, signed.source, replace(ALL, screen=True), signed.signer)
    created = manifest(path)["assertions"][0]["data"]["actions"][0]
    assert created["digitalSourceType"].endswith("/composite")
    assert consortium(path, signed.signer.anchor) == ("Trusted", set())
    assert by_encypher(path, signed.signer.anchor)["integrity"] == "valid"


def test_an_authority_stamps_them_with_the_time(signed: Signed, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(signed.clear)
    with authority(tmp_path / "tsa") as stamping:
        sign(path, signed.source, ALL, signed.signer, stamping.url)
        assert stamping.asked == 1
        stamping.away = True
        with pytest.raises(CredentialsUnavailable, match="503"):
            sign(path, signed.source, ALL, signed.signer, stamping.url)
        roots = stamping.root.read_bytes()
    assert "time" in manifest(path)["signature_info"]
    assert consortium(path, signed.signer.anchor) == ("Trusted", set())
    found = by_encypher(path, signed.signer.anchor, roots)["validation_results"]["success"]
    assert {"timeStamp.validated", "timeStamp.trusted"} <= {each["code"] for each in found}


def test_nothing_in_the_clear_lies_in_the_systems_temporary_folder(
    signed: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library writes there what is too long for its memory: beside the file it may."""
    monkeypatch.setattr(content_credentials, "_IN_MEMORY_MB", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    path = tmp_path / "out.mp4"
    path.write_bytes(signed.clear)
    sign(path, signed.source, ALL, signed.signer)
    assert check(path, signed.signer.anchor).trusted
    assert os.environ["TMPDIR"] == str(tmp_path / "nowhere")
    assert [each.name for each in tmp_path.iterdir()] == ["out.mp4"]


def test_it_still_plays(signed: Signed) -> None:
    """The media is the same; only what points into it has moved."""
    after = signed.path.read_bytes()
    assert signed.clear[signed.clear.index(b"mdat") :] in after


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
def test_ones_own_certificate_of_each_kind_signs(
    signed: Signed, algorithm: str, tmp_path: Path
) -> None:
    signer, root = bring(tmp_path, PRIVATE_KEYS[algorithm])
    path = tmp_path / "out.mp4"
    path.write_bytes(signed.clear)
    sign(path, signed.source, ALL, signer)
    assert consortium(path, root) == ("Trusted", set())
    assert by_encypher(path, root)["trust"]["status"] == "valid_for_supplied_material"


def test_a_certificate_that_is_not_for_this_leaves_the_file_alone(
    signed: Signed, tmp_path: Path
) -> None:
    expired, _ = bring(tmp_path, PRIVATE_KEYS["es256"], now=NOW_S - 60 * 365 * 86_400)
    path = tmp_path / "out.mp4"
    path.write_bytes(signed.clear)
    with pytest.raises(CredentialsUnavailable, match="not valid at"):
        sign(path, signed.source, ALL, expired)
    assert path.read_bytes() == signed.clear
    assert sorted(each.name for each in tmp_path.iterdir()) == ["chain.pem", "key.pem", "out.mp4"]


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
    for content in (signed.clear, b"", b"\0\0\0\1uuid", b"no MP4 at all"):
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
