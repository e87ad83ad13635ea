"""Streams whose segments prove themselves (C2PA 2.4 19.4), checked by what does not write them."""

import datetime
import hashlib
import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Codec
from server.recorder.credentials import c2pa_manifest, live_credentials
from server.recorder.credentials.c2pa_manifest import Cbor, Tagged, cbor
from server.recorder.credentials.live_credentials import SignedStream
from server.recorder.keys.claim_signer import ClaimSigner
from server.recorder.keys.root_key import KeyUnavailable
from server.recorder.replay.index import Side
from server.recorder.replay.streams import Streams
from tests.recorder.c2pa_readers import by_the_consortium, stream_by_encypher
from tests.recorder.conftest import Desk, feed
from tests.recorder.encoded import START_S, in_order, interview, interviewer, screen

NOW_S = 1_760_000_000.0


@pytest.fixture
def signer(desk: Desk) -> ClaimSigner:
    return desk.keys.claim_signer(NOW_S)


def streams_of(desk: Desk, signer: Callable[[], ClaimSigner]) -> Streams:
    return Streams(desk.reader(), signer)


def streamed(
    streams: Streams, side: Side = Side.CANDIDATE, *, event: bool = False
) -> tuple[bytes, list[bytes]]:
    """The init and every segment that the side's playlist names."""
    inits, segments = [], []
    for line in streams.media_playlist(side, event=event).splitlines():
        if line.startswith("#EXT-X-MAP"):
            number = int(line.split("init-")[1].split("-")[0])
            inits.append(streams.init(side, number, event=event))
        elif line.endswith(".m4s") and line != "gap.m4s":
            first, last = line.removeprefix("live-").removesuffix(".m4s").split("-")
            segment = streams.segment(side, int(first), int(last), event=event)
            segments.append(segment)
    (init,) = inits
    return init, segments


# ---- a verifier of our own, from the specification's text alone ---------------------------


def decode(data: bytes) -> Any:
    value, rest = _decode(data)
    assert rest == b""
    return value


def _decode(data: bytes) -> tuple[Any, bytes]:
    kind, low, rest = data[0] >> 5, data[0] & 31, data[1:]
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(low, 0)
    argument = int.from_bytes(rest[:size]) if size else low
    rest = rest[size:]
    match kind:
        case 0:
            return argument, rest
        case 1:
            return -1 - argument, rest
        case 2:
            return rest[:argument], rest[argument:]
        case 3:
            return rest[:argument].decode(), rest[argument:]
        case 4:
            return _items(rest, argument)
        case 5:
            flat, rest = _items(rest, 2 * argument)
            return dict(zip(flat[::2], flat[1::2], strict=True)), rest
        case 6:
            inner, rest = _decode(rest)
            return (argument, inner), rest
    return None, rest


def _items(data: bytes, count: int) -> tuple[list[Any], bytes]:
    found = []
    for _ in range(count):
        value, data = _decode(data)
        found.append(value)
    return found, data


def boxes(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Offset, kind and whole box."""
    offset = 0
    while offset < len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        yield offset, kind, data[offset : offset + size]
        offset += size


def assertion(init: bytes, label: str) -> Any:
    """By JUMBF's nesting: a described box's label, then its content."""
    marked = label.encode() + b"\0"
    at = init.index(marked, init.index(b"c2pa.assertions\0")) + len(marked)
    size, kind = struct.unpack_from(">I4s", init, at)
    assert kind == b"cbor"
    return decode(init[at + 8 : at + size])


def segment_info(segment: bytes, value: bytes) -> bytes:
    """What the one event message of that value carries."""
    head = b"\0\0\0\0urn:c2pa:verifiable-segment-info\0" + value + b"\0"
    messages = [box for _, kind, box in boxes(segment) if kind == b"emsg"]
    (message,) = [each for each in messages if each.startswith(head, 8)]
    return message[8 + len(head) + 16 :]


def check_segment(init: bytes, segment: bytes, leaf: bytes) -> int:
    """The segment's number, if it is proved. AssertionError, InvalidSignature."""
    (key,) = assertion(init, "c2pa.session-keys")["keys"]
    public = Ed25519PublicKey.from_public_bytes(key["key"][-2])
    tag, (protected, _, payload, signature) = key["signerBinding"]
    assert (tag, payload, decode(protected)) == (18, leaf, {1: -8})
    _verify(public, signature, protected, leaf)

    scheme = b"urn:c2pa:verifiable-segment-info"
    signed = segment_info(segment, b"fseg")
    assert segment_info(segment, b"c2pa") == signed
    tag, (protected, unprotected, payload, signature) = decode(signed)
    assert (tag, decode(protected), unprotected[4]) == (18, {1: -8}, key["key"][2])
    _verify(public, signature, protected, payload)

    info = decode(payload)
    assert info["manifestId"].encode() + b"\0" in init
    assert info["bmffHash"]["exclusions"][0] == {
        "xpath": "/emsg",
        "data": [{"offset": 12, "value": scheme}],
    }
    hashed = [
        struct.pack(">Q", offset) + box for offset, kind, box in boxes(segment) if kind != b"emsg"
    ]
    assert info["bmffHash"]["hash"] == hashlib.sha256(b"".join(hashed)).digest()
    number = info["sequenceNumber"]
    assert isinstance(number, int)
    assert number >= key["minSequenceNumber"]
    return number


def _verify(public: Ed25519PublicKey, signature: bytes, protected: bytes, payload: bytes) -> None:
    public.verify(signature, cbor(["Signature1", protected, b"", payload]))


# ---- the tests ----------------------------------------------------------------------------


def consortium(init: bytes, signer: ClaimSigner) -> tuple[str, set[str]]:
    return by_the_consortium(io.BytesIO(init), signer.anchor)


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP9, Codec.AV1])
@pytest.mark.parametrize("event", [True, False])
def test_every_segment_is_proved(
    desk: Desk, signer: ClaimSigner, codec: Codec, event: bool
) -> None:
    desk.write(interview(codec, 9))
    init, segments = streamed(streams_of(desk, lambda: signer), event=event)
    assert consortium(init, signer) == ("Trusted", set())
    leaf = signer.chain[0].public_bytes(Encoding.DER)
    numbers = [check_segment(init, segment, leaf) for segment in segments]
    assert numbers == list(range(1, len(segments) + 1))
    assert len(segments) > 1


def found_by_encypher(init: bytes, segments: list[bytes], signer: ClaimSigner) -> set[str]:
    """The codes of what was found wrong; none: all of it is valid, and by whom it should be."""
    report = stream_by_encypher(init, segments, signer.anchor)
    failures = report["stream"]["validation_results"]["failure"]
    assert report["integrity"] == ("invalid" if failures else "valid")
    if not failures:
        assert report["stream"]["trust"]["status"] == "valid_for_supplied_material"
    return {each["code"] for each in failures}


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP9, Codec.AV1])
@pytest.mark.parametrize("event", [True, False])
def test_another_verifier_of_streams_finds_what_was_changed(
    desk: Desk, signer: ClaimSigner, codec: Codec, event: bool
) -> None:
    desk.write(interview(codec, 20))
    init, segments = streamed(streams_of(desk, lambda: signer), event=event)
    assert found_by_encypher(init, segments, signer) == set()
    harms = {
        "reordered": [segments[1], segments[0], *segments[2:]],
        "left out": [segments[0], *segments[2:]],
        "repeated": [segments[0], segments[0], *segments[1:]],
        "without its proof": [without_proof(segments[0]), *segments[1:]],
        "with another's proof": [with_proof_of(segments[1], segments[0]), *segments[1:]],
    }
    for harm, harmed in harms.items():
        assert found_by_encypher(init, harmed, signer) == {"livevideo.segment.invalid"}, harm


def proof_of(segment: bytes) -> bytes:
    """What stands in front of the media but `styp`."""
    return b"".join(box for _, kind, box in boxes(segment) if kind == b"emsg")


def without_proof(segment: bytes) -> bytes:
    return segment.replace(proof_of(segment), b"")


def with_proof_of(other: bytes, segment: bytes) -> bytes:
    return segment.replace(proof_of(segment), proof_of(other))


def test_another_verifier_of_streams_finds_any_flipped_bit(desk: Desk, signer: ClaimSigner) -> None:
    desk.write(interview(seconds=2))
    init, segments = streamed(streams_of(desk, lambda: signer))
    media = segments[0].index(proof_of(segments[0])) + len(proof_of(segments[0]))
    for at in (*range(24), *range(media, len(segments[0]), 499)):
        harmed = bytearray(segments[0])
        harmed[at] ^= 1
        try:
            found = found_by_encypher(init, [bytes(harmed), *segments[1:]], signer)
        except ValueError:  # it is no segment any more
            continue
        assert found == {"livevideo.segment.invalid"}, at


def test_another_verifier_of_streams_finds_a_session_key_that_is_none(
    desk: Desk, signer: ClaimSigner
) -> None:
    """One that has expired, one of another recording, one that nobody signed for."""
    desk.write(interview(seconds=3))
    streams = streams_of(desk, lambda: signer)
    init, segments = streamed(streams)
    plain = desk.reader().init(Side.CANDIDATE, 0)
    expired = SignedStream(bytes(32), "00", "x", NOW_S, signer)
    expired._valid = datetime.timedelta(hours=1)
    body = b"".join(desk.reader().fragment(seq) for seq in (1, 2))
    signed = [expired.segment(body, 1, 2_000_000)]
    assert found_by_encypher(expired.init(plain), signed, signer) == {"livevideo.segment.invalid"}
    other = SignedStream(bytes(32), "00", "x", NOW_S, signer)
    assert found_by_encypher(other.init(plain), signed, signer) == set()  # only the time was wrong
    assert found_by_encypher(other.init(plain), segments, signer) == {"livevideo.segment.invalid"}
    assert found_by_encypher(init, signed, signer) == {"livevideo.segment.invalid"}
    public = other._public
    swapped = other.init(plain).replace(
        public, assertion(init, "c2pa.session-keys")["keys"][0]["key"][-2]
    )
    assert "livevideo.sessionkey.invalid" in found_by_encypher(swapped, signed, signer)


def test_that_verifier_does_not_read_what_the_section_has(
    desk: Desk, signer: ClaimSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once this fails, the second message and the certificate in the binding can go."""
    desk.write(interview(seconds=2))
    monkeypatch.setattr(live_credentials, "VALUES", (b"fseg", b"fseg"))
    found = found_by_encypher(*streamed(streams_of(desk, lambda: signer)), signer)
    assert found == {"livevideo.segment.invalid"}
    monkeypatch.undo()

    def detached(stream: SignedStream) -> Cbor:
        protected = cbor({1: -8})
        certificate = stream._signer.der[0]
        signature = stream._key.sign(c2pa_manifest.to_be_signed(protected, certificate))
        return Tagged(18, [protected, {}, None, signature])

    monkeypatch.setattr(SignedStream, "_signer_binding", detached)
    found = found_by_encypher(*streamed(streams_of(desk, lambda: signer)), signer)
    assert found == {"livevideo.sessionkey.invalid", "livevideo.segment.invalid"}


def test_a_flipped_bit_anywhere_is_noticed(desk: Desk, signer: ClaimSigner) -> None:
    desk.write(interview(seconds=1))
    init, (segment, *_) = streamed(streams_of(desk, lambda: signer))
    leaf = signer.chain[0].public_bytes(Encoding.DER)
    signed_part = segment.index(b"\xd2\x84")  # COSE_Sign1's tag and array
    for at in (*range(signed_part, signed_part + 300, 7), *range(400, len(segment), 997)):
        harmed = bytearray(segment)
        harmed[at] ^= 1
        with pytest.raises((AssertionError, InvalidSignature, ValueError, KeyError, IndexError)):
            check_segment(init, bytes(harmed), leaf)


def test_the_same_stream_is_the_same_after_a_restart(desk: Desk, signer: ClaimSigner) -> None:
    desk.write(interview(seconds=3))
    first_init, first = streamed(streams_of(desk, lambda: signer))
    leaf = signer.chain[0].public_bytes(Encoding.DER)
    again_init, again = streamed(streams_of(desk, lambda: signer))
    assert again == first
    assert [check_segment(first_init, each, leaf) for each in again] == [1, 2, 3]
    assert assertion(first_init, "c2pa.session-keys") == assertion(again_init, "c2pa.session-keys")


def test_an_event_and_what_is_left_of_it_are_two_streams(desk: Desk, signer: ClaimSigner) -> None:
    desk.write(interview(seconds=9))
    streams = streams_of(desk, lambda: signer)
    (live, _), (kept, segments) = streamed(streams, event=True), streamed(streams)
    leaf = signer.chain[0].public_bytes(Encoding.DER)
    with pytest.raises(AssertionError):  # by another key
        check_segment(live, segments[0], leaf)
    assert check_segment(kept, segments[0], leaf) == 1


def test_segments_are_counted_on_while_the_recording_runs(desk: Desk, signer: ClaimSigner) -> None:
    writer = desk.writer()
    feed(writer, interview(seconds=4))
    streams = streams_of(desk, lambda: signer)
    init, before = streamed(streams, event=True)
    feed(writer, interview(seconds=4, start_s=START_S + 4))
    _, after = streamed(streams, event=True)
    assert after[: len(before)] == before
    leaf = signer.chain[0].public_bytes(Encoding.DER)
    assert [check_segment(init, each, leaf) for each in after] == [*range(1, len(after) + 1)]
    assert len(after) > len(before) > 0
    writer.finish()


def test_without_its_key_only_streams_are_missing(desk: Desk) -> None:
    """A key service that is away must not keep anybody from the replay in the page."""

    def away() -> ClaimSigner:
        raise KeyUnavailable("Vault does not answer")

    desk.write(interview(seconds=1))
    streams = streams_of(desk, away)
    assert desk.reader().fragment(1)
    with pytest.raises(KeyUnavailable):
        streams.init(Side.CANDIDATE, 0, event=False)


def test_what_no_playlist_names_is_not_signed(desk: Desk, signer: ClaimSigner) -> None:
    """Else anybody who may watch could have a false order signed."""
    desk.write(interview(seconds=9))
    streams = streams_of(desk, lambda: signer)
    streamed(streams)
    for first, last in ((1, 1), (2, 3), (1, 9)):
        with pytest.raises(IndexError):
            streams.segment(Side.CANDIDATE, first, last, event=False)


def test_every_side_is_a_stream_and_a_screen_says_that_it_is_one(
    desk: Desk, signer: ClaimSigner
) -> None:
    desk.write(
        in_order(
            interview(seconds=4),
            screen(Codec.H264, 2, START_S + 1),
            interviewer(Codec.H264, 2, START_S + 1),
        )
    )
    streams = streams_of(desk, lambda: signer)
    leaf = signer.chain[0].public_bytes(Encoding.DER)
    for side, kind in (
        (Side.CANDIDATE, "digitalCapture"),
        (Side.SCREEN, "screenCapture"),
        (Side.INTERVIEWER, "digitalCapture"),
    ):
        init, segments = streamed(streams, side)
        (created,) = assertion(init, "c2pa.actions.v2")["actions"]
        assert created["digitalSourceType"].rsplit("/")[-1] == kind
        assert consortium(init, signer) == ("Trusted", set())
        numbers = [check_segment(init, each, leaf) for each in segments]
        assert numbers == list(range(1, len(segments) + 1))


def test_a_recording_older_than_the_certificate_has_a_key_that_is_not(
    desk: Desk, signer: ClaimSigner
) -> None:
    stream = SignedStream(bytes(32), "00", "candidate/x", 0.0, signer)
    desk.write(interview(seconds=1))
    init = stream.init(desk.reader().init(Side.CANDIDATE, 0))
    (key,) = assertion(init, "c2pa.session-keys")["keys"]
    tag, made = key["createdAt"]
    assert tag == 0
    assert made == f"{signer.chain[0].not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert consortium(init, signer) == ("Trusted", set())


def test_a_whole_chain_goes_into_the_signature_but_its_root(
    desk: Desk, signer: ClaimSigner
) -> None:
    """As bought certificates have it: the signer's, an intermediate's, a root's."""
    intermediate = x509.load_pem_x509_certificate(signer.anchor)
    longer = replace(signer, chain=(*signer.chain[:1], signer.chain[0], intermediate))
    assert len(longer.der) == 2
    desk.write(interview(seconds=1))
    init = SignedStream(bytes(32), "00", "x", NOW_S, longer).init(
        desk.reader().init(Side.CANDIDATE, 0)
    )
    assert init.count(longer.der[0]) == 3  # and once in the session key's binding


_CBOR: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=300) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(), inner, max_size=30),
    max_leaves=20,
)


@given(_CBOR)
def test_cbor_says_what_it_is_given(value: Any) -> None:
    assert decode(cbor(value)) == value


def test_cbor_is_as_the_rfc_has_it() -> None:
    """RFC 8949 Appendix A."""
    for value, expected in (
        (23, "17"), (24, "1818"), (1000, "1903e8"), (1_000_000, "1a000f4240"), (-100, "3863"),
        (-1000, "3903e7"), (b"\1\2\3\4", "4401020304"), ("IETF", "6449455446"), ("ü", "62c3bc"),
        ([1, [2, 3]], "8201820203"), ({"a": 1, "b": [2]}, "a26161016162 8102".replace(" ", "")),
        (Tagged(0, "x"), "c06178"), (None, "f6"),
    ):  # fmt: skip
        assert cbor(value).hex() == expected  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        cbor(2**64)
