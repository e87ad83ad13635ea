"""Every kind of root key, by the name that the setting gives it."""

from collections.abc import Mapping
from pathlib import Path

from server.recorder.keys.key_ring import ROOT_KEY
from server.recorder.keys.root_key import EnvironmentRootKey, FileRootKey, KeyProblem, RootKey


def open_root_key(name: str, folder: Path, env: Mapping[str, str]) -> RootKey:
    """``file``, ``file:PATH``, ``env:VARIABLE``, ``vault:[MOUNT/]KEY``, ``aws-kms:KEY`` or
    ``pkcs11:TOKEN/KEY``.

    ``folder`` is where ``file`` is, as ``root.key``. KeyProblem.
    """
    kind, _, place = name.partition(":")
    match kind:
        case "file":
            return FileRootKey(Path(place) if place else folder / ROOT_KEY, name)
        case "env":
            return EnvironmentRootKey(place, env.get(place))
        case "vault":
            from server.recorder.keys.key_services import (
                VaultRootKey,  # half a second, for its users
            )

            if not env.get("VAULT_ADDR"):
                raise KeyProblem(f"{name} needs Vault's address: VAULT_ADDR")
            return VaultRootKey(place, env["VAULT_ADDR"], env.get("VAULT_NAMESPACE"))
        case "aws-kms":
            from server.recorder.keys.key_services import AwsKmsRootKey

            return AwsKmsRootKey(place)
        case "pkcs11":
            from server.recorder.keys.pkcs11_key import Pkcs11RootKey

            return Pkcs11RootKey(place, env)
    raise ValueError(name)
