"""Root keys that never leave a key service: HashiCorp Vault (or OpenBao) transit, and AWS KMS.

Where and as whom the services are reached is said as their own tools have it: VAULT_ADDR,
VAULT_TOKEN or ~/.vault-token, VAULT_NAMESPACE, VAULT_CACERT; AWS_REGION, AWS_ENDPOINT_URL_KMS and
the standard chain of AWS credentials.
"""

import base64
import binascii
import os
from collections.abc import Callable
from typing import Any, TypeVar

import boto3
import hvac
import requests
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
)

from server.recorder.keys.root_key import KeyProblem, KeyUnavailable, Wrapped

#: A wrapped key is awaited by one interview's recording, whose queue holds a minute.
CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 5.0
DEFAULT_MOUNT = "transit"
#: What is wrapped to learn the newest version.
_PROBE = "vivavoce/probe/v1"

_T = TypeVar("_T")


class VaultRootKey:
    """A key of Vault's transit engine (type aes256-gcm96): ``KEY``, or ``MOUNT/KEY``.

    https://developer.hashicorp.com/vault/api-docs/secret/transit: the token needs ``update`` on
    ``encrypt/KEY`` and ``decrypt/KEY``, and must not have ``create``, by which a mistyped name
    would become a new key.
    """

    def __init__(self, place: str, address: str, namespace: str | None = None) -> None:
        mount, _, self._key = place.rpartition("/")
        self._mount = mount or DEFAULT_MOUNT
        self.name = f"vault:{place}"
        self._address = address
        self._client = hvac.Client(
            address, namespace=namespace, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        )

    def wrap(self, key: bytes, context: str) -> Wrapped:
        data = self._ask(self._client.secrets.transit.encrypt_data, context, plaintext=_text(key))
        ciphertext = str(data["ciphertext"])
        return Wrapped(ciphertext.split(":")[1], ciphertext.encode())

    def unwrap(self, wrapped: Wrapped, context: str) -> bytes:
        ciphertext = wrapped.data.decode(errors="replace")
        ask = self._client.secrets.transit.decrypt_data
        return base64.b64decode(self._ask(ask, context, ciphertext=ciphertext)["plaintext"])

    def version(self) -> str:
        return self.wrap(b"", _PROBE).version

    def _ask(self, call: Callable[..., Any], context: str, **arguments: str) -> dict[str, Any]:
        try:
            answer = call(
                self._key,
                mount_point=self._mount,
                associated_data=_text(context.encode()),
                **arguments,
            )
            data: dict[str, Any] = answer["data"]
            return data
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.InvalidPath) as error:
            raise KeyProblem(f"{self.name} refuses: {error}") from error
        except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized) as error:
            raise KeyProblem(
                f"{self.name}: Vault at {self._address} does not allow it: is the token "
                f"(VAULT_TOKEN) valid, and may it update {self._mount}/encrypt/{self._key} and "
                f"{self._mount}/decrypt/{self._key}?"
            ) from error
        except (hvac.exceptions.VaultError, requests.RequestException) as error:
            raise KeyUnavailable(
                f"{self.name}: Vault at {self._address} (VAULT_ADDR) does not answer: {error}"
            ) from error


class AwsKmsRootKey:
    """A symmetric key of AWS KMS: its id, ARN, or ``alias/NAME``. A version is a key's ARN.

    https://docs.aws.amazon.com/kms/latest/APIReference/: needs kms:Encrypt and kms:Decrypt.
    """

    def __init__(self, key_id: str) -> None:
        self.name = f"aws-kms:{key_id}"
        self._key_id = key_id
        try:
            self._client = boto3.client(
                "kms",
                # boto3 itself knows AWS_DEFAULT_REGION alone.
                region_name=os.environ.get("AWS_REGION") or None,
                config=Config(
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=READ_TIMEOUT_S,
                    retries={"total_max_attempts": 2},
                ),
            )
        except NoRegionError as error:
            raise KeyProblem(
                f"{self.name}: set the key's region in AWS_REGION, or in the profile of AWS_PROFILE"
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise KeyProblem(f"{self.name}: {error}") from error

    def wrap(self, key: bytes, context: str) -> Wrapped:
        answer = self._ask(
            lambda: self._client.encrypt(
                KeyId=self._key_id, Plaintext=key, EncryptionContext={"vivavoce": context}
            )
        )
        return Wrapped(answer["KeyId"], answer["CiphertextBlob"])

    def unwrap(self, wrapped: Wrapped, context: str) -> bytes:
        # With the key named, KMS refuses what another key wrapped.
        answer = self._ask(
            lambda: self._client.decrypt(
                KeyId=wrapped.version,
                CiphertextBlob=wrapped.data,
                EncryptionContext={"vivavoce": context},
            )
        )
        return bytes(answer["Plaintext"])

    def version(self) -> str:
        return self.wrap(b"\0", _PROBE).version

    def _ask(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status >= 500 or code == "ThrottlingException":
                raise KeyUnavailable(f"{self.name} does not answer: {error}") from error
            raise KeyProblem(
                f"{self.name} refuses: {str(error).rstrip('.')}: is it the key's right name and "
                "region, is it enabled, and may these credentials use kms:Encrypt and kms:Decrypt?"
            ) from error
        except (HTTPClientError, EndpointConnectionError) as error:
            raise KeyUnavailable(f"{self.name} does not answer: {error}") from error
        except NoCredentialsError as error:
            raise KeyProblem(
                f"{self.name}: there are no AWS credentials: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the machine a role"
            ) from error
        except BotoCoreError as error:
            raise KeyProblem(f"{self.name}: {error}") from error


def _text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()
