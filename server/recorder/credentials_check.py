"""Reads and checks C2PA's Content Credentials in a file, by the consortium's own library.

No network is used: neither for certificates' revocation nor for credentials kept elsewhere.
"""

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from server.recorder.c2pa_manifest import UUID
from server.recorder.content_credentials import LABEL, CredentialsUnavailable, Source
from server.recorder.sealing import FaultKind, SegmentError

MP4 = "video/mp4"
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}
_UNTRUSTED = "signingCredential.untrusted"
_MISSING = (
    "Content Credentials need the package c2pa-python, which can't be loaded ({error}): "
    "`make install` installs it"
)


class Checked(msgspec.Struct, frozen=True):
    """What intact credentials say."""

    signer: str  #: the organization in its certificate
    trusted: bool  #: by the given roots
    source: Source | None  #: None where another program signed


def present_in(path: Path) -> bool:
    """Whether the file ``path`` has credentials, intact or not. OSError."""
    with path.open("rb") as file:
        return any(kind == UUID for kind in _top_level_types(file))


def _top_level_types(file: BinaryIO) -> Sequence[bytes]:
    """Of an MP4's boxes, by their headers alone; of what is none, whatever is like them."""
    found: list[bytes] = []
    offset, end = 0, file.seek(0, os.SEEK_END)
    while end - offset >= 8 and len(found) < _MAX_BOXES:
        file.seek(offset)
        head = file.read(32)
        size, kind = struct.unpack_from(">I4s", head)
        start = 8
        if size == 1 and len(head) >= 16:  # ISO/IEC 14496-12 4.2.2: a 64-bit size follows
            size, start = struct.unpack_from(">Q", head, 8)[0], 16
        found.append(head[start : start + 16] if kind == b"uuid" else kind)
        if size < start:  # 0: up to the end
            break
        offset += size
    return found


#: A file of an export has six.
_MAX_BOXES = 1000


def check(path: Path, roots: bytes) -> Checked:
    """What the credentials in ``path`` say, which must fit its bytes; ``roots``: trusted, in PEM.

    SegmentError unless they do; CredentialsUnavailable; OSError.
    """
    library = _library()
    settings: dict[str, Any] = {"verify": {**_OFFLINE, "verify_trust": True}}
    if roots:
        settings["trust"] = {"user_anchors": roots.decode()}
    with path.open("rb") as file:
        try:
            context = library.Context.from_dict(settings)
            with library.Reader(MP4, file, context=context) as reader:
                manifest = reader.get_active_manifest() or {}
                results = (reader.get_validation_results() or {}).get("activeManifest", {})
        except library.C2paError as error:
            raise SegmentError(FaultKind.TAMPERED, f"its Content Credentials: {error}") from error
    failures = {failure["code"]: failure for failure in results.get("failure", ())}
    trusted = failures.pop(_UNTRUSTED, None) is None
    for failure in failures.values():
        raise SegmentError(FaultKind.TAMPERED, f"its Content Credentials: {failure['explanation']}")
    return Checked(manifest.get("signature_info", {}).get("issuer", ""), trusted, _source(manifest))


def _source(manifest: dict[str, Any]) -> Source | None:
    for assertion in manifest.get("assertions", ()):
        if assertion["label"] == LABEL:
            try:
                return msgspec.convert(assertion["data"], Source)
            except msgspec.ValidationError as error:
                raise SegmentError(
                    FaultKind.TAMPERED, f"its Content Credentials: {error}"
                ) from error
    return None


def _library() -> Any:
    """Only here: it takes 25 MB and a tenth of a second. CredentialsUnavailable."""
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError) as error:
        raise CredentialsUnavailable(_MISSING.format(error=error)) from error
    return c2pa
