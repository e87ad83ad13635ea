"""What holds for every provider of root keys; then what each says when it fails."""

import re
import secrets
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from server.recorder.keys.key_services import AwsKmsRootKey, VaultRootKey
from server.recorder.keys.root_key import FileRootKey, KeyProblem, KeyUnavailable
from server.recorder.keys.root_keys import open_root_key
from tests.recorder.key_services import PROVIDERS, REGION, Provider, moto_server
from tests.recorder.open_bao import OpenBao, open_bao

KEY = bytes(range(32))


@pytest.fixture(params=PROVIDERS, ids=lambda make: make.__name__.removesuffix("_provider"))
def provider(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Provider]:
    with request.param(tmp_path, monkeypatch) as made:
        yield made


def test_what_is_wrapped_unwraps_in_another_process(provider: Provider) -> None:
    wrapped = provider.open().wrap(KEY, "a")
    assert provider.open().unwrap(wrapped, "a") == KEY
    assert KEY not in wrapped.data
    assert KEY.hex().encode() not in wrapped.data


def test_a_root_key_goes_by_the_name_it_was_chosen_by(provider: Provider) -> None:
    assert provider.open().name == provider.name


def test_the_same_key_is_never_wrapped_to_the_same_bytes(provider: Provider) -> None:
    root = provider.open()
    assert root.wrap(KEY, "a").data != root.wrap(KEY, "a").data


def test_another_context_unwraps_nothing(provider: Provider) -> None:
    wrapped = provider.open().wrap(KEY, "a")
    with pytest.raises(KeyProblem):
        provider.open().unwrap(wrapped, "b")


@pytest.mark.parametrize("place", [0, 20, -1])
def test_a_changed_byte_unwraps_nothing(provider: Provider, place: int) -> None:
    wrapped = provider.open().wrap(KEY, "a")
    data = bytearray(wrapped.data)
    data[place] ^= 1
    with pytest.raises(KeyProblem):
        provider.open().unwrap(replace(wrapped, data=bytes(data)), "a")


@pytest.mark.parametrize("data", [b"", b"vault:", b"x" * 11, bytes(60)])
def test_what_nobody_wrapped_is_a_problem(provider: Provider, data: bytes) -> None:
    root = provider.open()
    with pytest.raises(KeyProblem):
        root.unwrap(replace(root.wrap(KEY, "a"), data=data), "a")


def test_the_version_is_that_of_the_next_wrapping(provider: Provider) -> None:
    assert provider.open().version() == provider.open().wrap(KEY, "a").version


def test_a_new_version_wraps_and_the_former_still_unwraps(provider: Provider) -> None:
    if provider.renew is None:
        pytest.skip("a new key has a name of its own")
    root = provider.open()
    before = root.wrap(KEY, "a")
    provider.renew()
    after = root.wrap(KEY, "a")
    assert before.version != after.version == root.version()
    for wrapped in (before, after):
        assert root.unwrap(wrapped, "a") == KEY


# ---- files and variables ----------------------------------------------------------------


def test_a_retired_version_unwraps_nothing_and_leaves_no_byte(tmp_path: Path) -> None:
    root = FileRootKey(tmp_path / "root.key")
    root.make()
    text = root.path.read_text().strip()
    wrapped = root.wrap(KEY, "a")
    root.renew()
    (tmp_path / "linked").hardlink_to(root.path)  # the former file's blocks, still to be seen
    root.retire()
    with pytest.raises(KeyProblem, match=wrapped.version):
        root.unwrap(wrapped, "a")
    assert text not in root.path.read_text()
    assert set((tmp_path / "linked").read_bytes()) == {0}


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 33, "\xff"])
def test_what_is_no_key_is_refused_without_being_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "root.key").write_text(text, "latin-1")
    with pytest.raises(KeyProblem) as in_file:
        FileRootKey(tmp_path / "root.key").version()
    with pytest.raises(KeyProblem, match="SOME_KEY") as in_variable:
        open_root_key("env:SOME_KEY", tmp_path, {"SOME_KEY": text})
    assert len(text) < 8 or text not in f"{in_file.value}{in_variable.value}"


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match=re.escape(f"{tmp_path}/other.key is missing")):
        open_root_key(f"file:{tmp_path}/other.key", tmp_path, {}).version()
    with pytest.raises(KeyProblem, match="SOME_KEY is not set"):
        open_root_key("env:SOME_KEY", tmp_path, {})
    with pytest.raises(KeyProblem, match="VAULT_ADDR"):
        open_root_key("vault:some", tmp_path, {})


def test_another_key_in_the_variable_says_which_it_should_be(tmp_path: Path) -> None:
    def holding(text: str) -> dict[str, str]:
        return {"SOME_KEY": text}

    wrapped = open_root_key("env:SOME_KEY", tmp_path, holding("0f" * 32)).wrap(KEY, "a")
    with pytest.raises(KeyProblem, match=wrapped.version):
        open_root_key("env:SOME_KEY", tmp_path, holding(secrets.token_hex(32))).unwrap(wrapped, "a")


# ---- services ---------------------------------------------------------------------------


@pytest.fixture
def bao(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenBao]:
    with open_bao(tmp_path) as made:
        monkeypatch.setenv("VAULT_TOKEN", made.token)
        yield made


def test_a_token_that_may_not_is_named(bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "another")
    with pytest.raises(KeyProblem, match="VAULT_TOKEN") as refused:
        VaultRootKey("interviews", bao.address).version()
    assert not isinstance(refused.value, KeyUnavailable), "trying again will not help"


def test_a_mistyped_key_is_a_problem_and_makes_none(bao: OpenBao) -> None:
    with pytest.raises(KeyProblem, match="transit/encrypt/interview"):
        VaultRootKey("interview", bao.address).version()
    with pytest.raises(KeyProblem):
        VaultRootKey("other/interviews", bao.address).version()
    assert bao.keys() == ["interviews"]


def test_a_version_that_vault_forbids_is_a_problem(bao: OpenBao) -> None:
    root = VaultRootKey("interviews", bao.address)
    wrapped = root.wrap(KEY, "a")
    bao.rotate()
    assert root.unwrap(wrapped, "a") == KEY
    bao.forbid_before(2)
    with pytest.raises(KeyProblem, match="too old"):
        root.unwrap(wrapped, "a")


def test_a_sealed_or_absent_vault_may_answer_later(bao: OpenBao) -> None:
    root = VaultRootKey("interviews", bao.address)
    bao.seal()
    with pytest.raises(KeyUnavailable, match="VAULT_ADDR"):
        root.version()
    bao.unseal()
    assert root.version() == "v1"
    with pytest.raises(KeyUnavailable, match="VAULT_ADDR"):
        VaultRootKey("interviews", f"http://127.0.0.1:{_closed_port()}").version()


def test_kms_without_the_key_region_or_credentials_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with moto_server(monkeypatch):
        for key in ("alias/nobody", "00000000-0000-0000-0000-000000000000"):
            with pytest.raises(KeyProblem, match="refuses") as refused:
                AwsKmsRootKey(key).version()
            assert not isinstance(refused.value, KeyUnavailable)
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with monkeypatch.context() as nowhere:
            nowhere.delenv("AWS_REGION")
            with pytest.raises(KeyProblem, match="AWS_REGION"):
                AwsKmsRootKey("alias/some").version()
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers credentials
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(KeyProblem, match="AWS_PROFILE, or give the machine a role"):
            AwsKmsRootKey("alias/some").version()


def test_kms_refuses_what_another_key_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto_server(monkeypatch):
        kms = boto3.client("kms", REGION)
        one, two = (AwsKmsRootKey(kms.create_key()["KeyMetadata"]["KeyId"]) for _ in range(2))
        wrapped = one.wrap(KEY, "a")
        with pytest.raises(KeyProblem):
            two.unwrap(replace(wrapped, version=two.version()), "a")


def test_a_kms_that_does_not_answer_may_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto_server(monkeypatch):
        pass
    with pytest.raises(KeyUnavailable):
        AwsKmsRootKey("alias/some").version()


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
