"""C2PA's Content Credentials in an exported MP4: signed into it, and checked.

What the file was made of stands in them as it does in the statement beside it
(`derivation`); they travel with the file, and anybody's C2PA reader shows them. A reader that
trusts the signer's root says so; the others show an unknown signer and an intact file.
Network is used for a timestamp alone, and that if asked: neither for certificates' revocation nor
for credentials kept elsewhere.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from server import __version__
from server.recorder.c2pa_manifest import UUID, SourceType
from server.recorder.claim_signer import ClaimSigner
from server.recorder.derivation import Origin
from server.recorder.files import scratch_beside
from server.recorder.sealing import FaultKind, SegmentError

MP4 = "video/mp4"
#: Of our own assertion: C2PA 2.4 6.2.1 wants a domain name's form.
LABEL = "org.vivavoce.recording"
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}
#: Of a longer file, what is signed goes through a temporary file.
_IN_MEMORY_MB = 32
_UNTRUSTED = "signingCredential.untrusted"
_MISSING = (
    "Content Credentials need the package c2pa-python, which can't be loaded ({error}): "
    "`make install` installs it"
)


class CredentialsUnavailable(Exception):
    """The library is missing, or refuses what it was given; the message says what to do."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Our own assertion: which part of which recording, as it was then."""

    recording: str  #: its recording_id in hex
    revision: int  #: of its manifest
    manifest: str  #: SHA-256 in hex of the manifest's bytes that are signed
    tree_size: int  #: records in its tree
    root: str  #: of that tree (RFC 9162), in hex
    start_us: int  #: of the recording, since its epoch
    end_us: int


class Checked(msgspec.Struct, frozen=True):
    """What intact credentials say."""

    signer: str  #: the organization in its certificate
    trusted: bool  #: by the given roots
    source: Source | None  #: None where another program signed


def source_of(origin: Origin, tree_size: int, root: str, span_us: tuple[int, int]) -> Source:
    return Source(origin.recording, origin.revision, origin.manifest, tree_size, root, *span_us)


def prepare() -> None:
    """CredentialsUnavailable where the library is missing: better before a long work than after."""
    _library()


@dataclass(frozen=True, slots=True)
class Done:
    """What was done to make the file of the recording."""

    encoded: bool  #: pictures or sound were encoded anew
    whole: bool  #: it is all of the recording
    screen: bool  #: a shared screen may be in it


def sign(
    path: Path, source: Source, done: Done, signer: ClaimSigner, timestamp_url: str = ""
) -> None:
    """Write credentials into the MP4 ``path``, which is replaced once they are in it.

    At ``timestamp_url``, if any, an authority stamps the signature with the time (RFC 3161).
    CredentialsUnavailable; OSError.
    """
    library = _library()
    with scratch_beside(path) as scratch:
        # In a thread, as no signal's exception may pass through the library's callbacks.
        with _temporary_files_in(path.parent), ThreadPoolExecutor(1, "c2pa") as thread:
            definition = _definition(source, done)
            arguments = library, path, scratch, definition, signer, timestamp_url
            thread.submit(_sign, *arguments).result()
        os.replace(scratch, path)


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """The library's, too: no media in the clear lies where the operator did not want it."""
    former = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder.resolve())
    try:
        yield
    finally:
        if former is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = former


def _sign(
    library: Any,
    path: Path,
    out: Path,
    definition: dict[str, Any],
    signer: ClaimSigner,
    timestamp_url: str,
) -> None:
    try:
        by = library.Signer.from_callback(
            signer.sign,
            library.C2paSigningAlg[signer.algorithm.upper()],
            signer.certificates.decode(),
            timestamp_url or None,
        )
        context = library.Context.from_dict(
            {
                "verify": {**_OFFLINE, "verify_trust": False},
                "core": {"backing_store_memory_threshold_in_mb": _IN_MEMORY_MB},
            }
        )
        with (
            library.Builder.from_json(definition, context) as builder,
            path.open("rb") as file,
            out.open("w+b") as signed,
        ):
            builder.sign(by, MP4, file, signed)
    except library.C2paError as error:
        raise CredentialsUnavailable(f"C2PA refuses to sign: {error}") from error


def _definition(source: Source, done: Done) -> dict[str, Any]:
    kind = SourceType.COMPOSITE if done.screen else SourceType.CAPTURE
    actions = [{"action": "c2pa.created", "digitalSourceType": str(kind)}]
    if not done.whole:
        actions.append({"action": "c2pa.trimmed"})
    actions.append({"action": "c2pa.transcoded" if done.encoded else "c2pa.repackaged"})
    return {
        "claim_generator_info": [{"name": "Vivavoce", "version": __version__}],
        "format": MP4,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}, "created": True},
            {"label": LABEL, "data": msgspec.to_builtins(source), "created": True},
        ],
    }


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
