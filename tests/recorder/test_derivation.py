"""What was made of a recording says so, signed; whatever is changed shows."""

import json
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.evidence import derivation
from server.recorder.evidence.derivation import (
    Derivation,
    check,
    describe,
    origin,
    sign,
    statement_of,
)
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import alone
from server.recorder.keys.key_ring import KeyRing
from tests.recorder.conftest import Desk
from tests.recorder.encoded import camera

KEY = alone(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())
MADE_US = 1_760_000_100_000_000


@pytest.fixture
def made(desk: Desk, tmp_path: Path) -> Path:
    desk.write(camera())
    path = tmp_path / "out.mp4"
    path.write_bytes(b"pictures and sound")
    source = origin(desk.reader().manifest)
    sign(path, describe(path, source, (0, 2_000_000), MADE_US, transcoded=False), desk.keys.signer)
    return path


def fault(path: Path, keys: KeyRing) -> FaultKind:
    with pytest.raises(SegmentError) as caught:
        check(path, keys.public_key)
    return caught.value.kind


def test_it_says_what_the_file_was_made_of(made: Path, desk: Desk) -> None:
    manifest = desk.reader().manifest
    found = check(made, desk.keys.public_key)
    assert found == Derivation(
        "vivavoce-derivation",
        1,
        "export",
        origin(manifest),
        0,
        2_000_000,
        False,
        MADE_US,
        18,
        found.sha256,
    )
    assert (found.source.recording, found.source.interview) == (manifest.recording, "iv")


def test_another_state_of_the_recording_is_another_origin(desk: Desk) -> None:
    desk.write(camera())
    manifest = desk.reader().manifest
    assert origin(manifest) != origin(msgspec.structs.replace(manifest, title="00"))


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"pictures and soun", FaultKind.TRUNCATED), (b"pictures and mound", FaultKind.TAMPERED)],
)
def test_another_file_is_named(made: Path, desk: Desk, content: bytes, kind: FaultKind) -> None:
    made.write_bytes(content)
    assert fault(made, desk.keys) is kind


def test_a_later_version_is_not_guessed_at(made: Path, desk: Desk) -> None:
    statement = json.loads(statement_of(made).read_bytes())
    statement["derivation"]["version"] = 2
    statement_of(made).write_text(json.dumps(statement))
    assert fault(made, desk.keys) is FaultKind.UNKNOWN_VERSION


def test_another_servers_key_does_not_fit(made: Path, tmp_path: Path) -> None:
    assert fault(made, Desk(tmp_path / "other").keys) is FaultKind.TAMPERED


def test_each_flipped_bit_of_the_statement_is_found(made: Path, desk: Desk) -> None:
    path = statement_of(made)
    signed = path.read_bytes()
    for place in range(len(signed)):
        path.write_bytes(
            signed[:place] + bytes([signed[place] ^ 1 << place % 8]) + signed[place + 1 :]
        )
        assert fault(made, desk.keys) in (FaultKind.TAMPERED, FaultKind.UNKNOWN_VERSION)


@given(st.binary(max_size=200))
def test_no_statement_at_all_is_a_fault(data: bytes) -> None:
    with pytest.raises(SegmentError):
        derivation.decode_statement(data, msgspec.json.Decoder(Derivation), derivation.VERSION, KEY)
