"""Reads and checks C2PA's Content Credentials in a file, by the consortium's own library.

No network is used: neither for certificates' revocation nor for credentials kept elsewhere.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from server.recorder.credentials.c2pa_manifest import UUID
from server.recorder.credentials.mp4_binding import bound_hash, boxes_of, hash_of, without_media
from server.recorder.export.content_credentials import LABEL, CredentialsUnavailable, Source
from server.recorder.format.sealing import FaultKind, SegmentError

MP4 = "video/mp4"
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}
_UNBOUND = "assertion.bmffHash.mismatch"
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
        return any(box.kind == UUID for box in boxes_of(file))


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
            said = _of_export(library, context, file) or _said(library, context, file)
        except library.C2paError as error:
            raise SegmentError(FaultKind.TAMPERED, f"its Content Credentials: {error}") from error
    trusted = said.failures.pop(_UNTRUSTED, None) is None
    for explanation in said.failures.values():
        raise SegmentError(FaultKind.TAMPERED, f"its Content Credentials: {explanation}")
    issuer = said.manifest.get("signature_info", {}).get("issuer", "")
    return Checked(issuer, trusted, _source(said.manifest))


@dataclass(frozen=True, slots=True)
class _Said:
    """By the library, of a file."""

    manifest: dict[str, Any]
    failures: dict[str, str]  #: by their codes
    told: dict[str, Any]  #: all that it has


def _of_export(library: Any, context: Any, file: BinaryIO) -> _Said | None:
    """Of a file that is bound as an export is, in little memory; None of another."""
    stand_in = without_media(file)
    if stand_in is None:
        return None
    said = _said(library, context, io.BytesIO(stand_in))
    expected = bound_hash(said.told)
    if expected is None or _UNBOUND not in said.failures:
        return None
    if hash_of(file) == expected:
        del said.failures[_UNBOUND]
    return said


def _said(library: Any, context: Any, file: BinaryIO) -> _Said:
    with library.Reader(MP4, file, context=context) as reader:
        manifest = reader.get_active_manifest() or {}
        results = (reader.get_validation_results() or {}).get("activeManifest", {})
        told = json.loads(reader.detailed_json())
    failures = {failure["code"]: failure["explanation"] for failure in results.get("failure", ())}
    return _Said(manifest, failures, told)


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
