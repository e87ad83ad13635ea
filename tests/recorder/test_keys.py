"""The keys of a data directory: made once, wrapped, and missed loudly."""

import stat
from pathlib import Path

import pytest

from server.recorder.keys import KeyProblem, load_public_key, open_keys, parse_master_key


def test_keys_are_made_at_first_use_and_found_again(tmp_path: Path) -> None:
    first, second = open_keys(tmp_path), open_keys(tmp_path)
    assert (first.master, first.public_key) == (second.master, second.public_key)
    assert load_public_key(tmp_path / "signing.pub") == first.public_key


def test_secret_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    open_keys(tmp_path).create_recording_key("iv", bytes(16))
    for name in ("master.key", "signing.key", "recordings/iv.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE((tmp_path / "signing.pub").stat().st_mode) == 0o644


def test_a_recording_key_unwraps_for_its_own_recording_alone(tmp_path: Path) -> None:
    keys = open_keys(tmp_path)
    key = keys.create_recording_key("iv", b"i" * 16)
    assert keys.recording_key("iv", b"i" * 16) == key
    assert key not in (tmp_path / "recordings" / "iv.key").read_bytes()
    with pytest.raises(KeyProblem, match="does not open"):
        keys.recording_key("iv", b"j" * 16)


def test_another_master_key_unwraps_nothing(tmp_path: Path) -> None:
    open_keys(tmp_path, bytes(32)).create_recording_key("iv", bytes(16))
    with pytest.raises(KeyProblem, match="does not open"):
        open_keys(tmp_path, b"x" * 32).recording_key("iv", bytes(16))
    assert not (tmp_path / "master.key").exists(), "one from outside is not stored"


def test_a_destroyed_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="does not exist"):
        open_keys(tmp_path).recording_key("iv", bytes(16))


def test_a_lost_master_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    open_keys(tmp_path).create_recording_key("iv", bytes(16))
    (tmp_path / "master.key").unlink()
    with pytest.raises(KeyProblem, match="missing"):
        open_keys(tmp_path)


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 33])
def test_what_is_no_master_key_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(KeyProblem):
        parse_master_key(text)
    (tmp_path / "master.key").write_text(text)
    with pytest.raises(KeyProblem):
        open_keys(tmp_path)


def test_what_is_no_signing_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "signing.key").write_text("nothing")
    with pytest.raises(KeyProblem):
        open_keys(tmp_path)
    (tmp_path / "signing.pub").write_text("nothing")
    with pytest.raises(KeyProblem):
        load_public_key(tmp_path / "signing.pub")
