import secrets

import pytest
from aioice import stun
from hypothesis import given, settings
from hypothesis import strategies as st

from server.media.transport.ice import (
    MAX_ATTRIBUTES,
    MAX_STUN_LENGTH,
    CheckAnswered,
    CheckRefused,
    IceLite,
    parse_check,
)

ADDRESS = ("192.0.2.7", 54_321)
REMOTE = "r3m0"


def check(
    ice: IceLite,
    *,
    username: str | None = None,
    key: str | None = None,
    nominate: bool = False,
    message_class: stun.Class = stun.Class.REQUEST,
    method: stun.Method = stun.Method.BINDING,
) -> stun.Message:
    """A connectivity check as a full agent sends it (RFC 8445 7.2.2), written by aioice."""
    message = stun.Message(message_method=method, message_class=message_class)
    message.attributes["USERNAME"] = username or f"{ice.ufrag}:{REMOTE}"
    message.attributes["PRIORITY"] = 1_845_501_695
    message.attributes["ICE-CONTROLLING"] = 1
    if nominate:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity((key or ice.pwd).encode())
    return message


def answer(ice: IceLite, data: bytes) -> CheckAnswered | CheckRefused | None:
    parsed = parse_check(data)
    return ice.answer(parsed, ADDRESS) if parsed is not None else None


def answered_by(ice: IceLite, data: bytes) -> CheckAnswered | None:
    """None where it is not the peer's, or refused."""
    answered = answer(ice, data)
    return answered if isinstance(answered, CheckAnswered) else None


@pytest.fixture
def ice() -> IceLite:
    return IceLite(REMOTE)


@pytest.mark.parametrize("address", [ADDRESS, ("2001:db8::7", 54_321, 0, 0)])
def test_response_satisfies_the_client(ice: IceLite, address: tuple[str, int]) -> None:
    request = check(ice)
    parsed = parse_check(bytes(request))
    assert parsed is not None
    answered = ice.answer(parsed, address)
    assert answered is not None
    response = stun.parse_message(answered.response)  # checks the fingerprint too
    assert response.message_class is stun.Class.RESPONSE
    assert response.transaction_id == request.transaction_id
    assert response.attributes["XOR-MAPPED-ADDRESS"] == address[:2]
    assert response.check_message_integrity(ice.pwd.encode())


def test_nomination_is_told(ice: IceLite) -> None:
    for nominate in (False, True):
        answered = answered_by(ice, bytes(check(ice, nominate=nominate)))
        assert answered is not None
        assert answered.nominated is nominate


def test_nomination_behind_the_integrity_does_not_count(ice: IceLite) -> None:
    message = check(ice)
    message.attributes.pop("FINGERPRINT")
    message.attributes["USE-CANDIDATE"] = None  # appended by somebody on the way
    message.add_fingerprint()
    answered = answered_by(ice, bytes(message))
    assert answered is None or not answered.nominated


@pytest.mark.parametrize("address", [ADDRESS, ("2001:db8:1234:5678:9abc:def0:1234:5678", 65_535)])
@pytest.mark.parametrize("remote", ["", "r", "r3m0", "r" * 256])
def test_response_is_never_longer_than_the_request(address: tuple[str, int], remote: str) -> None:
    ice = IceLite(remote)
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{ice.ufrag}:{remote}"
    request.add_message_integrity(ice.pwd.encode())  # the least that is answered
    parsed = parse_check(bytes(request))
    assert parsed is not None
    answered = ice.answer(parsed, address)
    assert answered is not None
    assert len(answered.response) <= len(bytes(request))


def test_credentials_are_long_enough_and_new_for_each_session() -> None:
    # RFC 8839 5.4: 24 bits of user name and 128 bits of password, of ice-chars.
    sessions = [IceLite(REMOTE) for _ in range(10)]
    for session in sessions:
        assert len(session.ufrag) * 4 >= 24
        assert len(session.pwd) * 4 >= 128
        assert (session.ufrag + session.pwd).isalnum()
    assert len({each.pwd for each in sessions} | {each.ufrag for each in sessions}) == 20


def test_our_half_of_the_user_name_routes(ice: IceLite) -> None:
    parsed = parse_check(bytes(check(ice)))
    assert parsed is not None
    assert parsed.ufrag == ice.ufrag.encode()


def test_check_with_a_forged_key_is_not_answered(ice: IceLite) -> None:
    assert answer(ice, bytes(check(ice, key=secrets.token_hex(16)))) is None


@pytest.mark.parametrize("theirs", ["", "other", REMOTE + "x"])
def test_check_for_another_user_name_is_not_answered(ice: IceLite, theirs: str) -> None:
    assert answer(ice, bytes(check(ice, username=f"{ice.ufrag}:{theirs}"))) is None
    assert answer(ice, bytes(check(ice, username=f"{theirs}:{ice.ufrag}"))) is None


def test_changed_bytes_are_not_answered(ice: IceLite) -> None:
    data = bytes(check(ice))
    for index in range(len(data)):
        changed = data[:index] + bytes([data[index] ^ 0x20]) + data[index + 1 :]
        assert answer(ice, changed) is None, f"byte {index}"


def without(message: stun.Message, name: str) -> bytes:
    message.attributes.pop(name)
    if name != "FINGERPRINT":
        message.add_fingerprint()
    return bytes(message)


def test_only_authenticated_binding_requests_are_read(ice: IceLite) -> None:
    refused = [
        without(check(ice), "FINGERPRINT"),
        without(check(ice), "MESSAGE-INTEGRITY"),
        bytes(check(ice, message_class=stun.Class.RESPONSE)),
        bytes(check(ice, message_class=stun.Class.INDICATION)),
        bytes(check(ice, message_class=stun.Class.ERROR)),
        bytes(check(ice, method=stun.Method.ALLOCATE)),
        bytes(check(ice))[:-1],
        bytes(check(ice)) + b"\0",
        bytes(check(ice, username="x" * MAX_STUN_LENGTH)),
        b"",
    ]
    assert [parse_check(data) for data in refused] == [None] * len(refused)


STUN_LIKE = st.builds(
    lambda kind, attributes: (
        kind.to_bytes(2, "big")
        + len(attributes).to_bytes(2, "big")
        + b"\x21\x12\xa4\x42"
        + bytes(12)
        + attributes
    ),
    st.sampled_from([0x0001, 0x0101, 0x0003, 0x3FFF]),
    st.lists(
        st.builds(
            lambda kind, value: kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value,
            st.sampled_from([1, 6, 8, 9, 0x20, 0x24, 0x25, 0x8028, 0x802A, 0x7777]),
            st.binary(max_size=24),
        ),
        max_size=6,
    ).map(b"".join),
)


def signed(body: bytes, key: str, kind: int = 0x0001) -> bytes:
    """A message of any attributes, with the integrity and the fingerprint that aioice adds."""
    data = kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42"
    data += bytes(12) + body
    integrity = stun.message_integrity(data, key.encode())
    data = stun.set_body_length(data, len(body) + 24) + b"\x00\x08\x00\x14" + integrity
    fingerprint = stun.message_fingerprint(data)
    data = stun.set_body_length(data, len(body) + 32)
    return data + b"\x80\x28\x00\x04" + fingerprint.to_bytes(4, "big")


def attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + padding


def test_attributes_are_bounded(ice: IceLite) -> None:
    username = attribute(0x0006, f"{ice.ufrag}:{REMOTE}".encode())
    for count, answered in ((MAX_ATTRIBUTES - 2, True), (MAX_ATTRIBUTES - 1, False)):
        data = signed(attribute(0xFFFF, b"") * count + username, ice.pwd)
        assert (answer(ice, data) is not None) is answered


#: Some that were assigned, but to protocols that are not spoken here, and some that were not.
UNKNOWN = (0x0003, 0x000C, 0x0027, 0x7777, 0x7FFF)


def unknown_attributes(response: bytes) -> list[int]:
    """Of a binding error that says 420 (RFC 8489 14.8, 14.9), read apart from what wrote it."""
    assert response[:2] == b"\x01\x11"
    assert response[20:28] == bytes.fromhex("0009 0004 0000 0414")
    assert response[28:30] == b"\x00\x0a"
    end = 32 + int.from_bytes(response[30:32], "big")
    return [int.from_bytes(response[at : at + 2], "big") for at in range(32, end, 2)]


@pytest.mark.parametrize("count", range(1, len(UNKNOWN) + 1))
def test_check_that_asks_for_what_is_not_known_is_told_so(ice: IceLite, count: int) -> None:
    kinds = UNKNOWN[:count]
    username = attribute(0x0006, f"{ice.ufrag}:{REMOTE}".encode())
    asked = b"".join(attribute(kind, b"") for kind in kinds)
    data = signed(username + attribute(0x0025, b"") + asked + asked[:4], ice.pwd)
    answered = answer(ice, data)
    assert isinstance(answered, CheckRefused)
    assert unknown_attributes(answered.response) == list(kinds)  # each once
    response = stun.parse_message(answered.response)
    assert response.message_class is stun.Class.ERROR
    assert response.transaction_id == data[8:20]
    assert response.check_message_integrity(ice.pwd.encode())
    assert len(answered.response) <= len(data)


def test_what_is_not_known_is_told_to_nobody_without_the_password(ice: IceLite) -> None:
    username = attribute(0x0006, f"{ice.ufrag}:{REMOTE}".encode())
    data = signed(username + attribute(UNKNOWN[0], b""), secrets.token_hex(16))
    assert answer(ice, data) is None


@pytest.mark.parametrize("kind", [0x0001, 0x0014, 0x0015, 0x001C, 0x001E, 0x0024, 0x8000, 0xC057])
def test_what_is_known_or_need_not_be_is_ignored(ice: IceLite, kind: int) -> None:
    username = attribute(0x0006, f"{ice.ufrag}:{REMOTE}".encode())
    assert answered_by(ice, signed(username + attribute(kind, bytes(4)), ice.pwd))


def test_what_is_not_known_behind_the_integrity_does_not_count(ice: IceLite) -> None:
    username = attribute(0x0006, f"{ice.ufrag}:{REMOTE}".encode())
    body = signed(username, ice.pwd)[20:-8] + attribute(UNKNOWN[0], b"")
    data = b"\x00\x01" + len(body + bytes(8)).to_bytes(2, "big") + b"\x21\x12\xa4\x42"
    data += bytes(12) + body
    data += b"\x80\x28\x00\x04" + stun.message_fingerprint(data).to_bytes(4, "big")
    assert answered_by(ice, data)


ATTRIBUTES = st.one_of(
    st.sampled_from(UNKNOWN).map(lambda kind: attribute(kind, b"")),
    st.just(attribute(0x0025, b"")),
    st.binary(min_size=4, max_size=4).map(lambda value: attribute(0x0024, value)),
    st.binary(min_size=8, max_size=8).map(lambda value: attribute(0x802A, value)),
    st.binary(max_size=24).map(lambda value: attribute(0xFFFF, value)),
)


@settings(deadline=None)
@given(
    st.lists(ATTRIBUTES, max_size=5),
    st.integers(0, 5),
    st.booleans(),
)
def test_what_is_answered_another_implementation_accepts_too(
    others: list[bytes], position: int, ours: bool
) -> None:
    ice = IceLite(REMOTE)
    username = attribute(0x0006, f"{ice.ufrag}:{REMOTE}".encode())
    data = signed(b"".join([*others[:position], username, *others[position:]]), ice.pwd)
    answered = answer(ice, data if ours else data[:-1] + bytes([data[-1] ^ 1]))
    assert (answered is not None) is ours
    if answered is None:
        return
    assert len(answered.response) <= len(data)
    kinds = [int.from_bytes(each[:2], "big") for each in others]
    asked = dict.fromkeys(kind for kind in kinds if kind in UNKNOWN)
    if isinstance(answered, CheckRefused):
        assert unknown_attributes(answered.response) == list(asked)
        return
    assert not asked
    message = stun.parse_message(data)
    assert message.attributes["USERNAME"] == f"{ice.ufrag}:{REMOTE}"
    assert message.check_message_integrity(ice.pwd.encode())
    assert answered.nominated == ("USE-CANDIDATE" in message.attributes)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=120), STUN_LIKE))
def test_any_bytes_are_refused_without_an_error(data: bytes) -> None:
    parsed = parse_check(data)
    if parsed is not None:
        assert IceLite(REMOTE).answer(parsed, ADDRESS) is None
