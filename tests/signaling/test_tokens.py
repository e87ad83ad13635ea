import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.interviews import Role
from server.signaling.protocol import ErrorId
from server.signaling.tokens import MAX_TOKEN_CHARS, Claims, TokenError, parse, sign

KEY = bytes(range(32))
CLAIMS = Claims("a1b2", "interview-1", Role.OBSERVER, expires_s=2_000)


def refusal(token: str, now: float = 1_000, key: bytes = KEY) -> ErrorId:
    with pytest.raises(TokenError) as caught:
        parse(key, token, now)
    return caught.value.id


@given(
    link=st.text(max_size=30),
    interview=st.none() | st.text(max_size=30),
    role=st.sampled_from(Role),
)
def test_a_token_carries_its_claims(link: str, interview: str | None, role: Role) -> None:
    claims = Claims(link, interview, role, expires_s=10)
    assert parse(KEY, sign(KEY, claims), now=9) == claims


def test_the_same_claims_give_the_same_token() -> None:
    assert sign(KEY, CLAIMS) == sign(KEY, CLAIMS)


def test_a_token_is_expired_from_its_second_on() -> None:
    token = sign(KEY, CLAIMS)
    assert parse(KEY, token, now=1_999.9) == CLAIMS
    assert refusal(token, now=2_000) is ErrorId.TOKEN_EXPIRED


def test_another_key_does_not_open_it() -> None:
    assert refusal(sign(bytes(32), CLAIMS)) is ErrorId.TOKEN_INVALID


def test_a_forged_role_is_refused() -> None:
    version, _, mac = sign(KEY, CLAIMS).split(".")
    payload = base64.urlsafe_b64encode(b'["a1b2","interview-1","owner",2000]').decode().rstrip("=")
    assert refusal(f"{version}.{payload}.{mac}") is ErrorId.TOKEN_INVALID


def test_no_other_spelling_of_a_token_is_accepted() -> None:
    token = sign(KEY, CLAIMS)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
    for index in range(len(token)):
        for other in alphabet:
            changed = token[:index] + other + token[index + 1 :]
            if changed != token:
                assert refusal(changed) is ErrorId.TOKEN_INVALID


def test_an_overlong_token_is_refused_though_genuine() -> None:
    claims = Claims("x" * MAX_TOKEN_CHARS, None, Role.OWNER, 2_000)
    assert refusal(sign(KEY, claims)) is ErrorId.TOKEN_INVALID


@pytest.mark.parametrize("payload", [b"{}", b"[]", b'["a",null,"nobody",1]', b"\xff", b""])
def test_a_signed_payload_of_another_shape_is_refused(payload: bytes) -> None:
    import hashlib
    import hmac

    signed = "v1." + base64.urlsafe_b64encode(payload).decode().rstrip("=")
    mac = base64.urlsafe_b64encode(hmac.digest(KEY, signed.encode(), hashlib.sha256))
    assert refusal(f"{signed}.{mac.decode().rstrip('=')}") is ErrorId.TOKEN_INVALID


@given(st.text(max_size=200))
def test_any_other_text_is_refused(text: str) -> None:
    assert refusal(text) is ErrorId.TOKEN_INVALID
    assert refusal(f"v1.{text}.{text}") is ErrorId.TOKEN_INVALID
