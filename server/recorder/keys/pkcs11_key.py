"""A root key that never leaves a PKCS#11 token: an HSM, a smart card, or SoftHSM.

The token encrypts by AES-GCM (CKM_AES_GCM of OASIS PKCS #11 2.40): CKM_AES_KEY_WRAP would bind no
context, and wraps only what is a key object of the token itself.

The library is loaded into this process, of which it has one state: one call at a time, each with a
session of its own, so that a token which was taken out and put back serves the next call.
"""

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass

from server.recorder.format.sealing import KEY_BYTES
from server.recorder.keys.root_key import NONCE_BYTES, KeyProblem, KeyUnavailable, Wrapped

MODULE = "VIVAVOCE_PKCS11_MODULE"
PIN = "VIVAVOCE_PKCS11_PIN"
PIN_FILE = "VIVAVOCE_PKCS11_PIN_FILE"
#: How long a call waits for another's; a library itself knows no time limit.
BUSY_TIMEOUT_S = 5.0
_TAG_BYTES = 16
_PROBE = "vivavoce/probe/v1"

#: The token, or what holds its state, is not there now.
_GONE = (
    pkcs11.DeviceError,
    pkcs11.DeviceMemory,
    pkcs11.DeviceRemoved,
    pkcs11.HostMemory,
    pkcs11.KeyHandleInvalid,
    pkcs11.ObjectHandleInvalid,
    pkcs11.SessionClosed,
    pkcs11.SessionCount,
    pkcs11.SessionHandleInvalid,
    pkcs11.SlotIDInvalid,
    pkcs11.TokenNotPresent,
    pkcs11.UserNotLoggedIn,
)
#: What libraries say of that, too; but some, also of data that they don't decrypt.
_UNTOLD = (pkcs11.FunctionFailed, pkcs11.GeneralError)
_NO_MECHANISM = (pkcs11.MechanismInvalid, pkcs11.MechanismParamInvalid)
_WRONG_PIN = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange)

_one_at_a_time = threading.Lock()


class Pkcs11RootKey:
    """``TOKEN/KEY``, two labels. The AES keys of that label are its versions, told apart by their
    CKA_ID; the greatest is the newest.

    ``env`` has the library's path, and the PIN or the path of a file with it. What is wrapped is
    nonce, ciphertext and tag, as a key in a file would have it. KeyProblem.
    """

    def __init__(self, place: str, env: Mapping[str, str]) -> None:
        self.name = f"pkcs11:{place}"
        self._token, _, self._label = place.partition("/")
        self._module = env.get(MODULE, "")
        self._pin, self._pin_file = env.get(PIN, ""), env.get(PIN_FILE, "")
        self._refused_pin: str | None = None
        if not self._module:
            raise KeyProblem(
                f"{self.name} needs the path of the token's PKCS#11 library: {MODULE}, as "
                "/usr/lib/softhsm/libsofthsm2.so"
            )
        if bool(self._pin) == bool(self._pin_file):
            raise KeyProblem(
                f"{self.name} needs the token's PIN, in the variable {PIN} or in a file that "
                f"{PIN_FILE} names: set one of them"
            )

    def wrap(self, key: bytes, context: str) -> Wrapped:
        with self._session() as session:
            keys = self._keys(session)
            version = max(keys, key=lambda version: int.from_bytes(keys[version].id, "big"))
            data = self._encrypt(keys[version], key, context)
            # A token that puts another nonce in place of ours would make keys that nobody opens.
            if self._decrypt(keys[version], data, context) != key:
                raise KeyProblem(
                    f"token {self._token} does not decrypt what it has encrypted: it has to take "
                    "the nonce it is given"
                )
            return Wrapped(version, data)

    def unwrap(self, wrapped: Wrapped, context: str) -> bytes:
        with self._session() as session:
            keys = self._keys(session)
            if wrapped.version not in keys:
                raise KeyProblem(
                    f"token {self._token} has no key {self._label} with the CKA_ID "
                    f"{wrapped.version}, which wrapped this: restore that key"
                )
            key = self._decrypt(keys[wrapped.version], wrapped.data, context)
        if key is None:
            raise KeyProblem(
                f"{self.name}, CKA_ID {wrapped.version}, has not wrapped this: it was changed, is "
                "not of this place, or another key has that label and CKA_ID now"
            )
        return key

    def version(self) -> str:
        return self.wrap(b"\0", _PROBE).version

    # ---- the key ------------------------------------------------------------------------

    def _encrypt(self, by: pkcs11.SecretKey, key: bytes, context: str) -> bytes:
        if not isinstance(by, pkcs11.EncryptMixin):
            raise self._not_allowed("encrypt")
        nonce = secrets.token_bytes(NONCE_BYTES)
        encrypted = by.encrypt(
            key, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(nonce, context)
        )
        return nonce + cast(bytes, encrypted)

    def _decrypt(self, by: pkcs11.SecretKey, data: bytes, context: str) -> bytes | None:
        """None: ``by`` has not encrypted this in this context."""
        if not isinstance(by, pkcs11.DecryptMixin):
            raise self._not_allowed("decrypt")
        if len(data) < NONCE_BYTES + _TAG_BYTES:
            return None
        try:
            decrypted = by.decrypt(
                data[NONCE_BYTES:],
                mechanism=Mechanism.AES_GCM,
                mechanism_param=_gcm(data[:NONCE_BYTES], context),
            )
        except (*_GONE, *_NO_MECHANISM):
            raise
        except pkcs11.PKCS11Error:
            return None
        return cast(bytes, decrypted)

    def _keys(self, session: pkcs11.Session) -> dict[str, pkcs11.SecretKey]:
        """By version; at least one."""
        found = [
            key
            for key in session.get_objects(
                {
                    Attribute.CLASS: ObjectClass.SECRET_KEY,
                    Attribute.KEY_TYPE: KeyType.AES,
                    Attribute.LABEL: self._label,
                }
            )
            if isinstance(key, pkcs11.SecretKey)
        ]
        keys = {key.id.hex() or "none": key for key in found}
        if not keys:
            raise KeyProblem(
                f"token {self._token} has no AES key with the label {self._label}: is that "
                "label right? How to make one: docs/operations.md"
            )
        if len(keys) < len(found):
            raise KeyProblem(
                f"token {self._token} has two keys with the label {self._label} and the same "
                "CKA_ID: give the newer one a greater CKA_ID"
            )
        if {key.key_length for key in found} != {8 * KEY_BYTES}:
            raise KeyProblem(
                f"token {self._token}'s key {self._label} is not an AES key of 256 bits: make one"
            )
        return keys

    def _not_allowed(self, what: str) -> KeyProblem:
        return KeyProblem(
            f"token {self._token}'s key {self._label} may not {what}: it needs the attributes "
            "CKA_ENCRYPT and CKA_DECRYPT (docs/operations.md)"
        )

    # ---- the token ----------------------------------------------------------------------

    @contextmanager
    def _session(self) -> Iterator[pkcs11.Session]:
        if not _one_at_a_time.acquire(timeout=BUSY_TIMEOUT_S):
            raise KeyUnavailable(
                f"{self.name}: the token has not answered for {BUSY_TIMEOUT_S:g} s"
            )
        try:
            pin = self._read_pin()
            token = pkcs11.lib(self._module).get_token(token_label=self._token)
            with token.open(user_pin=pin) as session:
                yield session
        except pkcs11.PKCS11Error as error:
            self._forget()
            if isinstance(error, _WRONG_PIN):
                self._refused_pin = pin
            raise self._problem(error) from error
        finally:
            _one_at_a_time.release()

    def _forget(self) -> None:
        """What the library knows of slots and sessions: the next call looks anew."""
        with suppress(pkcs11.PKCS11Error):
            pkcs11.lib(self._module).finalize()

    def _read_pin(self) -> str:
        try:
            pin = self._pin or Path(self._pin_file).read_text().strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise KeyProblem(f"{self.name}: {PIN_FILE}: the PIN can't be read: {error}") from error
        if pin == self._refused_pin:  # a few more attempts, and the token locks it
            raise self._problem(pkcs11.PinIncorrect())
        return pin

    def _problem(self, error: pkcs11.PKCS11Error) -> KeyProblem:
        token, said = f"token {self._token}", str(error) or type(error).__name__
        if isinstance(error, _WRONG_PIN):
            where = PIN if self._pin else f"the file of {PIN_FILE}"
            return KeyProblem(f"{token} refuses the PIN in {where}; it is not tried again")
        if isinstance(error, pkcs11.PinLocked):
            return KeyProblem(
                f"{token} has locked its PIN after too many wrong ones: its security officer (SO) "
                "can set it anew"
            )
        if isinstance(error, pkcs11.NoSuchToken):
            return KeyUnavailable(
                f"{self._module} ({MODULE}) sees no {token}: is it plugged in or reachable, may "
                "this user use it, is the label right?"
            )
        if isinstance(error, _NO_MECHANISM):
            return KeyProblem(
                f"{token} can't encrypt as asked ({said}): it needs CKM_AES_GCM with a nonce of "
                "ours, of 12 bytes"
            )
        if type(error) is pkcs11.PKCS11Error:  # the loader's, which has a text
            return KeyProblem(f"the library {self._module} ({MODULE}) can't be loaded: {said}")
        if isinstance(error, (*_GONE, *_UNTOLD)):
            return KeyUnavailable(f"{token} does not answer: {said}")
        return KeyProblem(f"{token} refuses: {said}")


def _gcm(nonce: bytes, context: str) -> GCMParams:
    return GCMParams(nonce, context.encode(), 8 * _TAG_BYTES)
