"""Records: what seals, opens, and what does not."""

import hashlib
import hmac
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.format.sealing import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    FaultKind,
    Flags,
    Kind,
    Opener,
    Sealer,
    SegmentError,
    SegmentHeader,
    check_signature,
    first_hash,
    parse_record_header,
    parse_segment_header,
    record_hash,
    segment_key,
)
from server.recorder.format.server_key import alone

KEY = bytes(range(32))
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(32))
HEADER = SegmentHeader(3, b"recording-id-16b", b"s" * 32, b"prefix7", b"o" * 32, b"p" * 32)


def _split(record: bytes) -> tuple[bytes, bytes, bytes]:
    return record[:RECORD_HEADER_BYTES], record[RECORD_HEADER_BYTES:-64], record[-64:]


def _check(record: bytes) -> None:
    head, ciphertext, signature = _split(record)
    header = parse_record_header(head)
    if header.length != len(ciphertext):
        raise SegmentError(FaultKind.TAMPERED, "another length")
    check_signature(alone(SIGNER.public_key()), record_hash(header, ciphertext), signature)


def test_a_record_opens_with_the_key_that_sealed_it() -> None:
    sealer = Sealer(KEY, SIGNER, HEADER)
    record = sealer.seal(Kind.MEDIA, b"media", 1_000, 2_000, flags=Flags.AUDIO, init=1, seq=9)
    head, ciphertext, signature = _split(record)
    header = parse_record_header(head)
    assert (header.kind, header.flags, header.init, header.seq) == (Kind.MEDIA, Flags.AUDIO, 1, 9)
    assert (header.start_us, header.end_us, header.counter) == (1_000, 3_000, 0)
    assert header.previous == first_hash(HEADER)
    assert Opener(KEY, HEADER).open(header, ciphertext) == b"media"
    check_signature(alone(SIGNER.public_key()), record_hash(header, ciphertext), signature)
    assert sealer.head == record_hash(header, ciphertext)


def test_the_construction_is_hkdf_and_stream_as_published() -> None:
    """Recomputed here from RFC 5869 and Tink's description, with no code of ours."""
    info = b"vivavoce/segment/v1" + HEADER.recording_id + struct.pack(">I", 3)
    pseudo_random_key = hmac.digest(HEADER.salt, KEY, "sha256")
    key = hmac.digest(pseudo_random_key, info + b"\1", "sha256")
    assert segment_key(KEY, HEADER) == key
    sealer = Sealer(KEY, SIGNER, HEADER)
    first, last = sealer.seal(Kind.MEDIA, b"one", 0), sealer.seal(Kind.END, b"", 0)
    for counter, is_last, record, plaintext in [(0, 0, first, b"one"), (1, 1, last, b"")]:
        head, ciphertext, _ = _split(record)
        nonce = b"prefix7" + struct.pack(">IB", counter, is_last)
        assert AESGCM(key).decrypt(nonce, ciphertext, head) == plaintext
    assert _split(last)[0][-32:] == hashlib.sha256(first[:-64]).digest()


def test_a_wrong_key_or_segment_opens_nothing() -> None:
    head, ciphertext, _ = _split(Sealer(KEY, SIGNER, HEADER).seal(Kind.MEDIA, b"media", 0))
    other = replace(HEADER, index=4)
    for opener in (Opener(bytes(32), HEADER), Opener(KEY, other)):
        with pytest.raises(SegmentError) as caught:
            opener.open(parse_record_header(head), ciphertext)
        assert caught.value.kind is FaultKind.WRONG_KEY


def test_every_byte_of_a_record_is_authenticated() -> None:
    record = Sealer(KEY, SIGNER, HEADER).seal(Kind.MEDIA, b"media", 5, 6, seq=1)
    for at in range(len(record)):
        changed = record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]
        with pytest.raises(SegmentError):
            _check(changed)


def test_a_segment_header_reads_back() -> None:
    assert len(HEADER.encode()) == SEGMENT_HEADER_BYTES
    assert parse_segment_header(HEADER.encode()) == HEADER


@pytest.mark.parametrize(
    ("at", "value", "kind"),
    [
        (0, b"X", FaultKind.TAMPERED),
        (8, b"\0\2", FaultKind.UNKNOWN_VERSION),
        (10, b"\1", FaultKind.TAMPERED),
        (71, b"\1", FaultKind.TAMPERED),
    ],
)
def test_a_header_that_is_not_ours_is_refused(at: int, value: bytes, kind: FaultKind) -> None:
    data = HEADER.encode()
    with pytest.raises(SegmentError) as caught:
        parse_segment_header(data[:at] + value + data[at + len(value) :])
    assert caught.value.kind is kind


@given(st.binary(max_size=SEGMENT_HEADER_BYTES + 8), st.booleans())
def test_any_bytes_parse_or_are_refused(data: bytes, ours: bool) -> None:
    for parse in (parse_segment_header, parse_record_header):
        try:
            header = parse((b"VIVAVOCE\0\1\0\0" if ours else b"") + data)
        except SegmentError:
            continue
        assert parse(header.encode()) == header
