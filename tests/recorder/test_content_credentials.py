"""C2PA in an exported MP4, as the C2PA consortium's reader and another one see it."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.core.frames import Codec
from server.recorder.evidence.derivation import origin
from server.recorder.export import content_credentials
from server.recorder.export.content_credentials import (
    Credentials,
    CredentialsUnavailable,
    Made,
    Source,
    source_of,
)
from server.recorder.export.export import export
from server.recorder.keys.claim_signer import ClaimSigner
from tests.recorder.authority import authority
from tests.recorder.c2pa_readers import by_encypher, by_the_consortium, manifest_of
from tests.recorder.conftest import Desk
from tests.recorder.encoded import camera, interview
from tests.recorder.test_claim_signer import PRIVATE_KEYS, bring

NOW_S = 1_760_000_000.0


class Exporting:
    """A recording, and what is said of exports of all of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.desk = Desk(folder / "data")
        self.desk.write(interview(Codec.H264, 2))
        manifest = self.desk.reader().manifest
        tree = manifest.tree_size, manifest.root
        self.source: Source = source_of(origin(manifest), *tree, (0, 2_000_000))
        self.made = Made(self.source, whole=True, screen=False)
        self.signer = self.desk.keys.claim_signer(NOW_S)

    def sign(
        self,
        made: Made | None = None,
        signer: ClaimSigner | None = None,
        url: str = "",
        now: float = NOW_S,
    ) -> Path:
        """An export with these credentials, in a file that only grows more."""
        credentials = Credentials(made or self.made, signer or self.signer, now, url)
        path = self.folder / "out.mp4"
        export(self.desk.reader(), path, lambda share: None, credentials=credentials)
        return path


@pytest.fixture(scope="module")
def exporting(tmp_path_factory: pytest.TempPathFactory) -> Exporting:
    return Exporting(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def other_root(tmp_path: Path) -> bytes:
    return Desk(tmp_path / "other").keys.claim_signer(NOW_S).anchor


def consortium(path: Path, roots: bytes) -> tuple[str, set[str]]:
    with path.open("rb") as file:
        return by_the_consortium(file, roots)


def manifest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return manifest_of(file)


def test_both_readers_find_it_valid_and_trusted(exporting: Exporting) -> None:
    path = exporting.sign()
    assert consortium(path, exporting.signer.anchor) == ("Trusted", set())
    report = by_encypher(path, exporting.signer.anchor)
    assert (report["integrity"], report["hard_binding"]) == ("valid", "match")
    assert report["trust"]["status"] == "valid_for_supplied_material"
    assert report["validation_results"]["failure"] == []


@pytest.mark.parametrize("box", [b"moov", b"mdat"])
def test_both_readers_find_a_flipped_byte(exporting: Exporting, tmp_path: Path, box: bytes) -> None:
    data = bytearray(exporting.sign().read_bytes())
    data[data.index(box) + 150] ^= 1
    path = tmp_path / "out.mp4"
    path.write_bytes(data)
    verdict, found = consortium(path, exporting.signer.anchor)
    assert (verdict, found) == ("Invalid", {"assertion.bmffHash.mismatch"})
    assert by_encypher(path, exporting.signer.anchor)["integrity"] == "invalid"


def test_by_another_servers_root_it_is_intact_but_untrusted(
    exporting: Exporting, other_root: bytes
) -> None:
    path = exporting.sign()
    untrusted = {"signingCredential.untrusted"}
    assert consortium(path, other_root) == ("Valid", untrusted)
    report = by_encypher(path, other_root)
    assert (report["integrity"], report["trust"]["status"]) == (
        "valid",
        "not_valid_for_supplied_material",
    )


def test_it_says_what_was_done_and_names_nobody(exporting: Exporting, desk: Desk) -> None:
    desk.write(camera(Codec.H264, 1))
    path = exporting.folder / "pictures.mp4"
    credentials = Credentials(replace(exporting.made, whole=False), exporting.signer, NOW_S)
    export(desk.reader(), path, lambda share: None, credentials=credentials)
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
    assert consortium(path, exporting.signer.anchor) == ("Trusted", set())


def test_what_was_encoded_says_so(exporting: Exporting) -> None:
    actions = manifest(exporting.sign())["assertions"][0]["data"]["actions"]
    assert [each["action"] for each in actions] == ["c2pa.created", "c2pa.transcoded"]


def test_a_screen_is_no_capture_of_the_world(exporting: Exporting) -> None:
    path = exporting.sign(replace(exporting.made, screen=True))
    created = manifest(path)["assertions"][0]["data"]["actions"][0]
    assert created["digitalSourceType"].endswith("/composite")
    assert consortium(path, exporting.signer.anchor) == ("Trusted", set())
    assert by_encypher(path, exporting.signer.anchor)["integrity"] == "valid"


def test_an_authority_stamps_them_with_the_time(exporting: Exporting, tmp_path: Path) -> None:
    with authority(tmp_path / "tsa") as stamping:
        path = exporting.sign(url=stamping.url)
        assert stamping.asked == 1
        roots = stamping.root.read_bytes()
        assert "time" in manifest(path)["signature_info"]
        assert consortium(path, exporting.signer.anchor) == ("Trusted", set())
        found = by_encypher(path, exporting.signer.anchor, roots)["validation_results"]["success"]
        codes = {each["code"] for each in found}
        assert {"timeStamp.validated", "timeStamp.trusted"} <= codes
        stamping.away = True
        before = path.read_bytes()
        with pytest.raises(CredentialsUnavailable, match="503"):
            exporting.sign(url=stamping.url)
    assert path.read_bytes() == before, "nothing takes its place"


def test_an_answer_that_is_too_long_is_refused(
    exporting: Exporting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_credentials, "_STAMP_BYTES", 1000)
    with (
        authority(tmp_path / "tsa") as stamping,
        pytest.raises(CredentialsUnavailable, match="longer than 1000 bytes"),
    ):
        exporting.sign(url=stamping.url)


def test_while_it_is_made_nothing_lies_anywhere_but_where_it_was_asked_for(
    exporting: Exporting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    credentials = Credentials(exporting.made, exporting.signer, NOW_S)
    names: set[str] = set()

    def look(share: float) -> None:
        names.update(each.name for each in tmp_path.iterdir())

    export(exporting.desk.reader(), tmp_path / "out.mp4", look, credentials=credentials)
    assert all(name.startswith(".out.mp4.") for name in names)
    assert len(names) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["out.mp4"]


def test_the_media_are_those_of_a_file_without(exporting: Exporting, tmp_path: Path) -> None:
    """Only what points into it has moved."""
    export(exporting.desk.reader(), tmp_path / "out.mp4", lambda share: None)
    without, signed = (tmp_path / "out.mp4").read_bytes(), exporting.sign().read_bytes()
    assert signed.endswith(without[without.index(b"mdat") :])
    assert io.BytesIO(signed).read(32) == without[:32]


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
def test_ones_own_certificate_of_each_kind_signs(
    exporting: Exporting, algorithm: str, tmp_path: Path
) -> None:
    signer, root = bring(tmp_path, PRIVATE_KEYS[algorithm])
    path = exporting.sign(signer=signer)
    assert consortium(path, root) == ("Trusted", set())
    assert by_encypher(path, root)["trust"]["status"] == "valid_for_supplied_material"


@pytest.mark.parametrize("years", [-60, 60])
def test_a_certificate_that_is_not_valid_signs_nothing(
    exporting: Exporting, tmp_path: Path, years: int
) -> None:
    expired, _ = bring(tmp_path, PRIVATE_KEYS["es256"], now=NOW_S + years * 365 * 86_400)
    with pytest.raises(CredentialsUnavailable, match="not valid at 2025-10-09"):
        Credentials(exporting.made, expired, NOW_S)
