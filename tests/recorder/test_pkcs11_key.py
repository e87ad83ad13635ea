"""A root key in a PKCS#11 token: SoftHSM 2's own library. What holds for every provider is in
test_root_keys.py."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pkcs11
import pytest

from server.recorder.keys import pkcs11_key
from server.recorder.keys.pkcs11_key import Pkcs11RootKey
from server.recorder.keys.root_key import KeyProblem, KeyUnavailable
from tests.recorder.soft_token import KEY as LABEL
from tests.recorder.soft_token import LIBRARY, PIN, TOKEN, SoftToken, soft_token

KEY = bytes(range(32))


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftToken]:
    with soft_token(tmp_path, monkeypatch) as made:
        yield made


def opened(token: SoftToken, place: str = f"{TOKEN}/{LABEL}", **env: str) -> Pkcs11RootKey:
    return Pkcs11RootKey(place, token.env | env)


def problem(root: Pkcs11RootKey) -> str:
    """What a call says that will not succeed later either; never the PIN."""
    with pytest.raises(KeyProblem) as refused:
        root.version()
    assert not isinstance(refused.value, KeyUnavailable)
    assert PIN not in str(refused.value)
    return str(refused.value)


def test_a_version_is_the_id_of_the_key_and_the_greatest_is_the_newest(token: SoftToken) -> None:
    for id in (255, 256, 10):
        token.make_key(id=id)
    root = opened(token)
    assert root.version() == "0100"
    wrapped = root.wrap(KEY, "a")
    assert root.unwrap(wrapped, "a") == KEY


def test_a_key_that_is_gone_is_named(token: SoftToken) -> None:
    token.make_key()
    wrapped = opened(token).wrap(KEY, "a")
    library = pkcs11.lib(LIBRARY).get_token(token_label=TOKEN)
    with library.open(rw=True, user_pin=PIN) as session:
        next(iter(session.get_objects())).destroy()
    token.make_key()
    with pytest.raises(KeyProblem, match="no key interviews with the CKA_ID 01"):
        opened(token).unwrap(wrapped, "a")


def test_another_key_under_the_same_name_opens_nothing(token: SoftToken) -> None:
    token.make_key()
    token.make_key("other", id=1)
    wrapped = opened(token).wrap(KEY, "a")
    with pytest.raises(KeyProblem, match="has not wrapped this"):
        opened(token, f"{TOKEN}/other").unwrap(wrapped, "a")


def test_what_is_missing_in_the_settings_is_named(token: SoftToken, tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="VIVAVOCE_PKCS11_MODULE"):
        opened(token, VIVAVOCE_PKCS11_MODULE="")
    with pytest.raises(KeyProblem, match="VIVAVOCE_PKCS11_PIN"):
        opened(token, VIVAVOCE_PKCS11_PIN="")
    with pytest.raises(KeyProblem, match="one of them"):
        opened(token, VIVAVOCE_PKCS11_PIN_FILE=str(tmp_path / "pin"))


@pytest.mark.parametrize("path", ["/nowhere/lib.so", "/etc/hostname"])
def test_a_library_that_is_none_is_named(path: str, token: SoftToken) -> None:
    said = problem(opened(token, VIVAVOCE_PKCS11_MODULE=path))
    assert f"{path} (VIVAVOCE_PKCS11_MODULE) can't be loaded" in said


def test_a_key_that_is_not_there_or_not_fit_is_named(token: SoftToken) -> None:
    assert "no AES key with the label interviews" in problem(opened(token))
    token.make_key("small", bits=128)
    assert "not an AES key of 256 bits" in problem(opened(token, f"{TOKEN}/small"))
    token.make_key("bound", encrypt=False)
    assert "bound may not encrypt" in problem(opened(token, f"{TOKEN}/bound"))
    token.make_key("twice", id=1)
    token.make_key("twice", id=1)
    assert "two keys with the label twice" in problem(opened(token, f"{TOKEN}/twice"))


def test_a_wrong_pin_is_tried_once_lest_the_token_locks_it(
    token: SoftToken, tmp_path: Path
) -> None:
    token.make_key()
    file = tmp_path / "pin"
    file.write_text("another\n")
    root = opened(token, VIVAVOCE_PKCS11_PIN="", VIVAVOCE_PKCS11_PIN_FILE=str(file))
    assert "refuses the PIN in the file of VIVAVOCE_PKCS11_PIN_FILE" in problem(root)
    token.take_out()
    assert "refuses the PIN" in problem(root), "without asking the token"
    token.put_back()
    file.write_text(f"{PIN}\n")
    assert root.unwrap(root.wrap(KEY, "a"), "a") == KEY
    file.unlink()
    assert "can't be read" in problem(root)


def test_a_wrong_pin_in_the_variable_is_told_without_being_repeated(token: SoftToken) -> None:
    said = problem(opened(token, VIVAVOCE_PKCS11_PIN="8675309"))
    assert "refuses the PIN in VIVAVOCE_PKCS11_PIN;" in said
    assert "8675309" not in said


def test_a_token_that_is_taken_out_may_come_back(token: SoftToken) -> None:
    token.make_key()
    root = opened(token)
    wrapped = root.wrap(KEY, "a")
    token.take_out()
    for _ in range(2):
        with pytest.raises(KeyUnavailable, match="A token"):
            root.unwrap(wrapped, "a")
    token.put_back()
    assert root.unwrap(wrapped, "a") == KEY


def test_a_token_that_is_not_there_is_named(token: SoftToken) -> None:
    with pytest.raises(KeyUnavailable, match="sees no token Another"):
        opened(token, "Another/interviews").version()


def test_a_token_that_hangs_does_not_take_every_thread_with_it(
    token: SoftToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    token.make_key()
    monkeypatch.setattr(pkcs11_key, "BUSY_TIMEOUT_S", 0.0)
    with pkcs11_key._one_at_a_time, pytest.raises(KeyUnavailable, match="has not answered"):
        opened(token).version()
    assert opened(token).version() == "01"


def test_calls_of_many_threads_are_all_answered(token: SoftToken) -> None:
    token.make_key()
    roots = [opened(token) for _ in range(2)]
    start = threading.Barrier(4)

    def turn(n: int) -> bytes:
        start.wait()
        root = roots[n % 2]
        return root.unwrap(root.wrap(KEY, f"{n}"), f"{n}")

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(turn, range(4))) == 4 * [KEY]


def test_a_token_that_chooses_the_nonce_itself_wraps_nothing(token: SoftToken) -> None:
    class Stubborn(Pkcs11RootKey):
        def _encrypt(self, by: pkcs11.SecretKey, key: bytes, context: str) -> bytes:
            return bytes(12) + super()._encrypt(by, key, context)[12:]

    token.make_key()
    assert "the nonce it is given" in problem(Stubborn(f"{TOKEN}/{LABEL}", token.env))
