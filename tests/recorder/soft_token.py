"""A PKCS#11 token for tests: SoftHSM 2, as Debian has it."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType

LIBRARY = "/usr/lib/softhsm/libsofthsm2.so"
TOKEN = "A token"
KEY = "interviews"
PIN = "a PIN, 7391"


class SoftToken:
    """A token, and keys in it; ``env`` is what a server that uses it is given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"pkcs11:{TOKEN}/{KEY}"
        self.env = {"VIVAVOCE_PKCS11_MODULE": LIBRARY, "VIVAVOCE_PKCS11_PIN": PIN}
        self._made = 0

    def make_key(
        self, label: str = KEY, bits: int = 256, encrypt: bool = True, id: int | None = None
    ) -> None:
        self._made += 1
        number = self._made if id is None else id
        token = pkcs11.lib(LIBRARY).get_token(token_label=TOKEN)
        with token.open(rw=True, user_pin=PIN) as session:
            session.generate_key(
                KeyType.AES,
                bits,
                label=label,
                id=number.to_bytes((number.bit_length() + 7) // 8, "big"),
                store=True,
                template={
                    Attribute.ENCRYPT: encrypt,
                    Attribute.DECRYPT: True,
                    Attribute.SENSITIVE: True,
                    Attribute.EXTRACTABLE: False,
                },
            )

    def take_out(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    def put_back(self) -> None:
        self.folder.with_name("away").rename(self.folder)


@contextmanager
def soft_token(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[SoftToken]:
    """SoftHSM with one token, without a key."""
    program = shutil.which("softhsm2-util")
    assert program is not None, "softhsm2 is missing: make deps"
    tokens, configuration = folder / "hsm" / "tokens", folder / "hsm" / "softhsm2.conf"
    tokens.mkdir(parents=True)
    configuration.write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n")
    patch.setenv("SOFTHSM2_CONF", str(configuration))
    subprocess.run(
        [program, "--init-token", "--free", "--label", TOKEN, "--so-pin", "12345678", "--pin", PIN],
        check=True,
        capture_output=True,
    )
    try:
        yield SoftToken(tokens)
    finally:
        pkcs11.lib(LIBRARY).finalize()  # the next test's configuration is another
