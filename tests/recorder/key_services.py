"""Key services for tests: each provider of root keys, with a way to make its next version."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from server.recorder.keys.root_key import FileRootKey, RootKey
from server.recorder.keys.root_keys import open_root_key
from tests.recorder.open_bao import open_bao
from tests.recorder.soft_token import soft_token


@dataclass
class Provider:
    """``open`` gives the same root key again, as another process has it."""

    name: str
    open: Callable[[], RootKey]
    renew: Callable[[], None] | None  #: None: a new version has another name


REGION = "eu-central-1"


@contextmanager
def moto_server(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """AWS as moto has it, with real AES-GCM and encryption contexts in its KMS."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    requests.post(f"{url}/moto-api/reset", timeout=10)  # its state is the process's
    patch.delenv("AWS_DEFAULT_REGION", raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        patch.setenv(name, value)
    try:
        yield url
    finally:
        server.stop()


@contextmanager
def file_provider(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Provider]:
    root = FileRootKey(folder / "root.key")
    root.make()
    yield Provider("file", lambda: open_root_key("file", folder, {}), root.renew)


@contextmanager
def env_provider(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Provider]:
    env = {"SOME_KEY": secrets.token_hex(32)}
    yield Provider("env:SOME_KEY", lambda: open_root_key("env:SOME_KEY", folder, env), None)


@contextmanager
def vault_provider(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with open_bao(folder) as bao:
        patch.setenv("VAULT_TOKEN", bao.token)
        env, name = {"VAULT_ADDR": bao.address}, "vault:interviews"
        yield Provider(name, lambda: open_root_key(name, folder, env), bao.rotate)


@contextmanager
def kms_provider(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with moto_server(patch):
        kms = boto3.client("kms", REGION)

        def next_key() -> str:
            return str(kms.create_key()["KeyMetadata"]["KeyId"])

        kms.create_alias(AliasName="alias/interviews", TargetKeyId=next_key())
        name = "aws-kms:alias/interviews"
        yield Provider(
            name,
            lambda: open_root_key(name, folder, {}),
            lambda: kms.update_alias(AliasName="alias/interviews", TargetKeyId=next_key()),
        )


@contextmanager
def pkcs11_provider(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with soft_token(folder, patch) as token:
        token.make_key()
        yield Provider(
            token.name, lambda: open_root_key(token.name, folder, token.env), token.make_key
        )


PROVIDERS = [file_provider, env_provider, vault_provider, kms_provider, pkcs11_provider]
