"""An export is what both that vouch for it say, and they say the same."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from server.core.frames import Codec
from server.recorder.evidence import derivation
from server.recorder.evidence.derivation import statement_of
from server.recorder.export import content_credentials
from server.recorder.export.check import NothingSigned, check_export
from server.recorder.export.content_credentials import Credentials, Made, Source, source_of
from server.recorder.export.export import export
from server.recorder.format.manifest import Manifest
from tests.recorder.conftest import Desk
from tests.recorder.encoded import interview

NOW_S = 1_760_000_000.0
SPAN_US = 0, 2_000_000


@dataclass
class Exported:
    desk: Desk
    path: Path
    roots: bytes

    @property
    def manifest(self) -> Manifest:
        return self.desk.reader().manifest

    @property
    def source(self) -> Source:
        manifest = self.manifest
        origin = derivation.origin(manifest)
        return source_of(origin, manifest.tree_size, manifest.root, SPAN_US)

    def faults(self) -> tuple[str, ...]:
        return check_export(self.path, self.desk.keys.public_key, self.roots).faults

    def sign(self, source: Source) -> None:
        signer = self.desk.keys.claim_signer(NOW_S)
        credentials = Credentials(Made(source, whole=True, screen=False), signer, NOW_S)
        export(self.desk.reader(), self.path, lambda share: None, credentials=credentials)

    def state(self) -> None:
        origin = derivation.origin(self.manifest)
        made = derivation.describe(self.path, origin, SPAN_US, 1, transcoded=False)
        derivation.sign(self.path, made, self.desk.keys.signer)


@pytest.fixture
def exported(desk: Desk, tmp_path: Path) -> Exported:
    desk.write(interview(Codec.H264, 2))
    made = Exported(desk, tmp_path / "out.mp4", desk.keys.claim_signer(NOW_S).anchor)
    export(desk.reader(), made.path, lambda share: None)
    return made


def test_both_say_what_it_was_made_of(exported: Exported) -> None:
    exported.sign(exported.source)
    exported.state()
    report = check_export(exported.path, exported.desk.keys.public_key, exported.roots)
    assert report.faults == ()
    assert report.statement is not None
    assert report.statement.source.interview == "iv"
    assert report.credentials is not None
    assert report.credentials.source == exported.source


def test_either_is_enough_and_one_is_needed(exported: Exported) -> None:
    with pytest.raises(NothingSigned, match="no Content Credentials in it"):
        exported.faults()
    exported.state()
    assert exported.faults() == ()
    statement_of(exported.path).unlink()
    exported.sign(exported.source)
    assert exported.faults() == ()


def test_a_changed_file_is_what_both_say(exported: Exported) -> None:
    exported.sign(exported.source)
    exported.state()
    data = bytearray(exported.path.read_bytes())
    data[-1] ^= 1
    exported.path.write_bytes(data)
    statement, credentials = exported.faults()
    assert "not the one that was signed" in statement
    assert "BMFF" in credentials


def test_another_signer_is_not_believed(exported: Exported, tmp_path: Path) -> None:
    """Anybody can sign anything with a certificate of their own."""
    exported.sign(exported.source)
    others = Desk(tmp_path / "other").keys.claim_signer(NOW_S).anchor
    for roots in (others, b""):
        exported.roots = roots
        (fault,) = exported.faults()
        assert "vouches for its signer, 'Vivavoce'" in fault


def test_credentials_of_another_recording_do_not_fit_the_statement(exported: Exported) -> None:
    exported.sign(msgspec.structs.replace(exported.source, recording="00" * 16))
    exported.state()
    (fault,) = exported.faults()
    assert "different sources" in fault


def test_credentials_of_another_program_say_too_little(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_credentials, "LABEL", "com.example.other")
    exported.sign(exported.source)
    monkeypatch.undo()
    (fault,) = exported.faults()
    assert "say nothing of a recording" in fault
