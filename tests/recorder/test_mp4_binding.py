"""What binds an export's bytes, and which files are not laid out as one."""

import base64
import io
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.recorder.credentials.c2pa_manifest import UUID, bmff_hash
from server.recorder.credentials.mp4_binding import (
    MOST_BOXES,
    MOST_CREDENTIALS,
    bound_hash,
    boxes_of,
    hash_of,
    without_media,
)


def box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


FTYP, CREDENTIALS = box(b"ftyp", b"isom"), box(b"uuid", UUID + b"credentials")
MOOV = box(b"moov", bytes(range(100)))
MDAT = struct.pack(">I4sQ", 1, b"mdat", 16 + (2 << 20)) + bytes(2 << 20)
EXPORT = FTYP + CREDENTIALS + MOOV + MDAT


def test_the_hash_is_of_all_boxes_but_those_before_the_media() -> None:
    assert hash_of(io.BytesIO(EXPORT)) == bmff_hash([FTYP, CREDENTIALS, MOOV, MDAT], (0, 1))
    assert without_media(io.BytesIO(EXPORT)) == FTYP + CREDENTIALS + box(b"mdat")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        FTYP,
        FTYP + MOOV + MDAT,
        CREDENTIALS + FTYP + MDAT,
        FTYP + box(b"free") + CREDENTIALS + MDAT,
        EXPORT + CREDENTIALS,
        EXPORT + FTYP,
        EXPORT + box(b"mfra"),
        EXPORT[:-1],
        EXPORT + b"\0",
        EXPORT + bytes(8),
        EXPORT + struct.pack(">I4s", 4, b"free"),
        FTYP + box(b"uuid", UUID + bytes(MOST_CREDENTIALS)) + MDAT,
        EXPORT + box(b"free") * MOST_BOXES,
    ],
)
def test_what_is_laid_out_otherwise_is_left_to_the_library(data: bytes) -> None:
    assert without_media(io.BytesIO(data)) is None


@example(FTYP + CREDENTIALS)
@given(st.binary(max_size=300) | st.builds(lambda cut: EXPORT[:cut], st.integers(0, 300)))
def test_any_file_is_laid_out_so_or_is_not(data: bytes) -> None:
    made, no_media = without_media(io.BytesIO(data)), box(b"mdat")
    assert made is None or (made.endswith(no_media) and data.startswith(made[: -len(no_media)]))
    assert all(each.offset < len(data) for each in boxes_of(io.BytesIO(data)))


def told(**changed: Any) -> dict[str, Any]:
    """As the library has it."""
    binding = {
        "exclusions": [
            {"xpath": "/uuid", "data": [{"offset": 8, "value": "2P7D1hsOSDySl1goh37EgQ=="}]},
            {"xpath": "/ftyp"},
            {"xpath": "/mfra"},
        ],
        "alg": "sha256",
        "hash": base64.b64encode(bytes(32)).decode(),
        "name": "MP4 file",
    }
    store = {"c2pa.actions.v2": {}, "c2pa.hash.bmff.v3": binding | changed}
    return {"manifests": {"urn:c2pa:1": {"assertion_store": store}}}


def test_the_hash_is_told() -> None:
    assert bound_hash(told()) == bytes(32)


@pytest.mark.parametrize(
    "changed",
    [
        {"alg": "sha512"},
        {"exclusions": [{"xpath": "/mdat"}]},
        {"exclusions": []},
        {"merkle": [{}]},
        {"hash": None},
        {"hash": "no base64"},
    ],
)
def test_another_binding_is_left_to_the_library(changed: dict[str, Any]) -> None:
    assert bound_hash(told(**changed)) is None


def test_a_second_manifest_or_binding_is_left_to_the_library() -> None:
    more = told()
    more["manifests"]["urn:c2pa:2"] = {}
    assert bound_hash(more) is None
    both = told()
    both["manifests"]["urn:c2pa:1"]["assertion_store"]["c2pa.hash.data"] = {}
    assert bound_hash(both) is None
    assert bound_hash({}) is None
