"""The manifest: canonical, signed, and merged without loss."""

import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import GapCause, TrackName
from server.recorder.format.manifest import (
    EventEntry,
    GapEntry,
    Manifest,
    Policy,
    SegmentEntry,
    State,
    decode_manifest,
    encode_manifest,
    read_unproved,
    with_gap,
)
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import alone

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = alone(SIGNER.public_key())
MANIFEST = Manifest(
    "vivavoce-recording",
    1,
    "00" * 16,
    "iv",
    "",
    4,
    State.FINISHED,
    1_760_000_000_000_000,
    (Policy("1/en", (TrackName.CAMERA,), False),),
    (),
    (GapEntry(TrackName.CAMERA, 1, 2, GapCause.PACKETS_LOST, 3),),
    (EventEntry("joined", 5),),
)
FILE = encode_manifest(MANIFEST, SIGNER)


def _gap(start: int, end: int, lost: int = 1, track: TrackName = TrackName.CAMERA) -> GapEntry:
    return GapEntry(track, start, end, GapCause.PACKETS_LOST, lost)


def test_a_manifest_reads_back() -> None:
    assert decode_manifest(FILE, PUBLIC) == MANIFEST


def test_no_bit_of_the_file_can_change_unnoticed() -> None:
    for at in range(len(FILE)):
        for bit in range(8):
            changed = FILE[:at] + bytes([FILE[at] ^ 1 << bit]) + FILE[at + 1 :]
            with pytest.raises(SegmentError):
                decode_manifest(changed, PUBLIC)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + " ",
        lambda text: text.replace(",", ", ", 1),
        lambda text: text.replace('"lost":3', '"lost":3,"more":1'),
        lambda text: text[:-130] + text[-130:].upper(),
    ],
)
def test_another_spelling_of_the_same_content_is_refused(change: object) -> None:
    changed = change(FILE.decode()).encode()  # type: ignore[operator]
    assert changed != FILE
    with pytest.raises(SegmentError) as caught:
        decode_manifest(changed, PUBLIC)
    assert caught.value.kind is FaultKind.TAMPERED


def test_another_version_is_named() -> None:
    content = json.loads(FILE)
    content["manifest"]["version"] = 7
    with pytest.raises(SegmentError) as caught:
        decode_manifest(json.dumps(content).encode(), PUBLIC)
    assert caught.value.kind is FaultKind.UNKNOWN_VERSION


@pytest.mark.parametrize("name", ["../../x/00000.seg", "/dev/zero", "00000.seg\n", "٠٠٠٠٠.seg"])
def test_a_segment_name_leads_nowhere_else(name: str) -> None:
    segment = SegmentEntry(name, 1, "", "", 1, 1, 0, 1, (), True)
    data = encode_manifest(msgspec.structs.replace(MANIFEST, segments=(segment,)), SIGNER)
    with pytest.raises(SegmentError, match="does not parse"):
        read_unproved(data)


@given(st.binary(max_size=100) | st.text(max_size=50).map(str.encode))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SegmentError):
        decode_manifest(data, PUBLIC)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda c: (
            st.lists(c)
            | st.dictionaries(st.sampled_from(["manifest", "version", "signature", "gaps"]), c)
        ),
    )
)
def test_any_json_is_refused(content: object) -> None:
    with pytest.raises(SegmentError):
        decode_manifest(json.dumps(content).encode(), PUBLIC)


def test_a_gap_that_goes_on_becomes_longer() -> None:
    gaps = with_gap(with_gap((_gap(0, 10),), _gap(0, 10, 1, TrackName.MICROPHONE)), _gap(10, 20))
    assert gaps == (_gap(0, 10, 1, TrackName.MICROPHONE), _gap(0, 20, 2))


def test_a_gap_that_is_known_is_not_told_twice() -> None:
    assert with_gap((_gap(0, 10),), _gap(2, 5)) == (_gap(0, 10),)


def test_gaps_within_a_wider_one_are_told_with_it() -> None:
    """The pause of all tracks, whose end only sound knows, and then the pictures' own gap."""
    sound = _gap(20, 60, 5, TrackName.MICROPHONE)
    assert with_gap((_gap(22, 60, 0), sound, _gap(70, 75, 2)), _gap(18, 90, 9)) == (
        sound,
        _gap(18, 90, 11),
    )


def test_a_gap_elsewhere_stands_alone() -> None:
    assert with_gap((_gap(0, 10),), _gap(11, 12)) == (_gap(0, 10), _gap(11, 12))
