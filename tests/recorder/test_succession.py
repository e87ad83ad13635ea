"""The list of signing keys: whoever trusts one finds the others, and nobody slips one in."""

from collections.abc import Callable

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import alone, raw
from server.recorder.keys import succession
from server.recorder.keys.succession import Signed, Succession
from tests.recorder.test_read_recording import reader

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in range(1, 5)]
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes([9] * 32))


def changed(number: int, former: Ed25519PrivateKey, key: Ed25519PrivateKey) -> Succession:
    return Succession(
        "vivavoce-succession",
        1,
        number,
        raw(former.public_key()).hex(),
        raw(key.public_key()).hex(),
        1_000_000 * number,
        10 * number,
        "00" * 32,
    )


def step(number: int, former: Ed25519PrivateKey, key: Ed25519PrivateKey) -> Signed:
    return succession.sign(changed(number, former, key), former, key)


STEPS = [step(number, KEYS[number - 1], KEYS[number]) for number in (1, 2, 3)]
LIST = succession.encode(STEPS)


@pytest.mark.parametrize("trusted", range(4))
def test_whoever_trusts_one_key_follows_it_to_all(trusted: int) -> None:
    found = succession.follow(KEYS[trusted].public_key(), LIST)
    assert [raw(key) for key in found.keys] == [raw(key.public_key()) for key in KEYS]
    assert raw(found.known) == raw(KEYS[trusted].public_key())
    assert raw(found.newest.known) == raw(KEYS[3].public_key())
    assert found.changed_us == (1_000_000, 2_000_000, 3_000_000)
    for key in KEYS:
        assert raw(found.verify(key.sign(b"text"), b"text")) == raw(key.public_key())
    with pytest.raises(InvalidSignature):
        found.verify(STRANGER.sign(b"text"), b"text")
    assert [key.public_bytes_raw() for key in reader.read_keys(LIST)] == list(map(raw, found.keys))


def forged(number: int, former: Ed25519PrivateKey, key: Ed25519PrivateKey, **by: str) -> Signed:
    return msgspec.structs.replace(step(number, former, key), **by)


def by_stranger(number: int, field: str) -> Signed:
    """Where one of the two signatures is not by the key that it is said to be of."""
    data = succession.CONTEXT + msgspec.json.encode(STEPS[number - 1].succession)
    return msgspec.structs.replace(STEPS[number - 1], **{field: STRANGER.sign(data).hex()})


@pytest.mark.parametrize(
    ("successions", "kind", "said"),
    [
        # A thief of no key appends one, or puts it before the first.
        ([*STEPS, forged(4, STRANGER, STRANGER, by_former="00" * 64)], "tampered", "key before it"),
        ([*STEPS, step(4, STRANGER, STRANGER)], "reordered", "change 4"),
        ([STEPS[0], STEPS[1], by_stranger(3, "by_former")], "tampered", "key before it"),
        ([STEPS[0], STEPS[1], by_stranger(3, "by_key")], "tampered", "itself"),
        ([STEPS[0], STEPS[2]], "reordered", "change 2"),
        ([STEPS[1], STEPS[0], STEPS[2]], "reordered", "change 1"),
        (STEPS[1:], "reordered", "change 1"),
        ([*STEPS, STEPS[2]], "reordered", "change 4"),
        ([step(1, STRANGER, KEYS[1]), *STEPS[1:]], "rolled back", "does not have this one"),
        (STEPS[:2], "rolled back", "does not have this one"),
        ([], "tampered", "not canonical"),
    ],
)
def test_a_list_that_is_not_as_it_was_is_refused(
    successions: list[Signed], kind: str, said: str
) -> None:
    trusted = KEYS[0] if len(successions) > 2 and successions[1] == STEPS[1] else KEYS[3]
    data = succession.encode(successions)
    with pytest.raises(SegmentError) as caught:
        succession.follow(trusted.public_key(), data)
    assert (caught.value.kind, said in caught.value.message) == (kind, True), caught.value.message
    if kind != "rolled back":  # that is found where the key is held against it
        with pytest.raises(reader.Fault) as fault:
            reader.read_keys(data)
        assert fault.value.kind == kind


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda data: data.replace(b'"version":1', b'"version":2', 1), "unknown version"),
        (lambda data: data.replace(b'"number":2', b'"number":3', 1), "tampered"),
        (lambda data: data.replace(b'"at_us":2', b'"at_us":3', 1), "tampered"),
        (lambda data: data.replace(b'"log_size":20', b'"log_size":19', 1), "tampered"),
        (lambda data: data.replace(b",", b", ", 1), "tampered"),
        (lambda data: data + b" ", "tampered"),
        (lambda data: data[:-1], "tampered"),
        (lambda data: data.replace(b'"successions":[', b'"more":1,"successions":['), "tampered"),
        (lambda data: data.upper(), "tampered"),
    ],
)
def test_every_byte_of_it_counts(change: Callable[[bytes], bytes], kind: str) -> None:
    data = change(LIST)
    assert data != LIST
    with pytest.raises(SegmentError) as caught:
        succession.decode(data)
    assert caught.value.kind == kind
    with pytest.raises(reader.Fault) as fault:
        reader.read_keys(data)
    assert fault.value.kind == kind


def test_a_list_of_another_server_says_nothing_of_a_key() -> None:
    known = alone(STRANGER.public_key())
    assert succession.extended(known, LIST) is known
    followed = succession.extended(alone(KEYS[1].public_key()), LIST)
    assert len(followed.keys) == 4
    assert succession.extended(followed, succession.encode(STEPS[:1])) is followed


@given(st.binary(max_size=300) | st.builds(lambda text: b'{"successions":' + text, st.binary()))
def test_any_bytes_are_refused_as_they_are_documented_to_be(data: bytes) -> None:
    with pytest.raises(SegmentError) as caught:
        succession.decode(data)
    assert caught.value.kind is FaultKind.TAMPERED
    with pytest.raises(reader.Fault):
        reader.read_keys(data)


@given(st.integers(0, len(LIST) - 1), st.integers(1, 255))
def test_whatever_byte_is_changed_it_is_named(place: int, change: int) -> None:
    data = LIST[:place] + bytes([LIST[place] ^ change]) + LIST[place + 1 :]
    with pytest.raises(SegmentError):
        succession.decode(data)
    with pytest.raises(reader.Fault):
        reader.read_keys(data)
