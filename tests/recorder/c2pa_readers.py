"""The two readers of C2PA that share no code: the consortium's, and Encypher's. Both offline."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import c2pa
import encypher_c2pa
import pytest

_MP4 = "video/mp4"


def by_the_consortium(file: BinaryIO, roots: bytes) -> tuple[str, set[str]]:
    """The verdict, and the codes of what was found wrong."""
    with c2pa.Reader(_MP4, file, context=_context(roots)) as reader:
        found = reader.get_validation_results()["activeManifest"]["failure"]
        return str(reader.get_validation_state()), {each["code"] for each in found}


def manifest_of(file: BinaryIO) -> dict[str, Any]:
    with c2pa.Reader(_MP4, file, context=_context(b"")) as reader:
        found: dict[str, Any] = reader.get_active_manifest()
        return found


def _context(roots: bytes) -> c2pa.Context:
    offline = {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True}
    settings: dict[str, Any] = {"verify": offline}
    if roots:
        settings["trust"] = {"user_anchors": roots.decode()}
    return c2pa.Context.from_dict(settings)


def by_encypher(path: Path, roots: bytes, stamping: bytes = b"") -> Mapping[str, Any]:
    """``stamping``: roots of who may stamp with the time."""
    with _quiet():
        return encypher_c2pa.verify(
            path,
            trust_pem=roots.decode(),
            tsa_trust_pem=stamping.decode() or None,
            no_default_trust=True,
            online=False,
        )


def stream_by_encypher(init: bytes, segments: Sequence[bytes], roots: bytes) -> Mapping[str, Any]:
    with _quiet():
        return encypher_c2pa.verify_stream(
            init,
            segments,
            _MP4,
            trust_pem=roots.decode(),
            no_default_trust=True,
            online=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """It asks people for leave to send what failed, and writes their answer down at home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCYPHER_C2PA_TELEMETRY", "off")
        patch.setenv("ENCYPHER_C2PA_ONLINE", "off")
        yield
