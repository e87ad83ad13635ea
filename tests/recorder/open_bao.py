"""A real key service with Vault's transit engine: OpenBao, which keeps all in its memory."""

import contextlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hvac

KEY = "interviews"
_BAO = Path(sys.executable).with_name("bao")
_ROOT_TOKEN = "root"
#: What `docs/operations.md` says that the server's token needs.
_POLICY = f"""
path "transit/encrypt/{KEY}" {{ capabilities = ["update"] }}
path "transit/decrypt/{KEY}" {{ capabilities = ["update"] }}
"""
READY_S = 30.0


class OpenBao:
    """``token`` may use `KEY` and no other, nor make one."""

    def __init__(self, address: str, unseal_key: str) -> None:
        self.address = address
        self._unseal_key = unseal_key
        self._root = hvac.Client(address, _ROOT_TOKEN)
        self._root.sys.enable_secrets_engine("transit")
        self._transit = self._root.secrets.transit
        self._transit.create_key(KEY, key_type="aes256-gcm96")
        self._root.sys.create_or_update_policy("server", _POLICY)
        made = self._root.auth.token.create(policies=["server"], no_default_policy=True)
        self.token = str(made["auth"]["client_token"])

    def rotate(self) -> None:
        self._transit.rotate_key(KEY)

    def forbid_before(self, version: int) -> None:
        self._transit.update_key_configuration(KEY, min_decryption_version=version)

    def keys(self) -> list[str]:
        return list(self._transit.list_keys()["data"]["keys"])

    def seal(self) -> None:
        self._root.sys.seal()

    def unseal(self) -> None:
        self._root.sys.submit_unseal_key(self._unseal_key)


@contextmanager
def open_bao(folder: Path) -> Iterator[OpenBao]:
    """On a port of this machine, until the block ends; its log is in ``folder``."""
    log, port = folder / "bao.log", _two_free_ports()
    command = (
        *(_BAO, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={_ROOT_TOKEN}"),
        f"-dev-listen-address=127.0.0.1:{port}",
    )
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _ready(f"http://127.0.0.1:{port}", process, log)
    finally:
        process.kill()
        process.wait()


def _ready(address: str, process: subprocess.Popen[bytes], log: Path) -> OpenBao:
    until_s = time.monotonic() + READY_S
    while time.monotonic() < until_s and process.poll() is None:
        with contextlib.suppress(hvac.exceptions.VaultError, OSError):
            if hvac.Client(address).sys.is_initialized() and (
                key := re.search(r"Unseal Key: (\S+)", log.read_text())
            ):
                return OpenBao(address, key[1])
        time.sleep(0.02)
    raise AssertionError(f"OpenBao does not start:\n{log.read_text()}")


def _two_free_ports() -> int:
    """The first of them: it takes the next one, too, for others of a cluster."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
                return port
