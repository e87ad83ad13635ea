"""C2PA's Content Credentials of an exported MP4, which are signed into it.

What the file was made of stands in them as it does in the statement beside it
(`derivation`); they travel with the file, and anybody's C2PA reader shows them. A reader that
trusts the signer's root says so; the others show an unknown signer and an intact file.
They are written by ourselves (`c2pa_manifest`), so that no library holds the file or puts it into
temporary files. Network is used for a time stamp alone, and that if asked.
"""

import datetime
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import msgspec

from server.recorder.catalog.timestamper import ask
from server.recorder.credentials.c2pa_manifest import LEAST_PAD, Cbor, Manifest, SourceType, Stamp
from server.recorder.evidence import timestamp
from server.recorder.evidence.derivation import Origin, origin
from server.recorder.format.sealing import SegmentError
from server.recorder.keys.claim_signer import ClaimSigner
from server.recorder.replay.reader import RecordingReader

#: Of our own assertion: C2PA 2.4 6.2.1 wants a domain name's form.
LABEL = "org.vivavoce.recording"
#: Kept free for an authority's answer: with its certificates it has some kilobytes.
_STAMP_BYTES = 24 << 10


class CredentialsUnavailable(Exception):
    """They can't be read or signed; the message says what to do."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Our own assertion: which part of which recording, as it was then."""

    recording: str  #: its recording_id in hex
    revision: int  #: of its manifest
    manifest: str  #: SHA-256 in hex of the manifest's bytes that are signed
    tree_size: int  #: records in its tree
    root: str  #: of that tree (RFC 9162), in hex
    start_us: int  #: of the recording, since its epoch
    end_us: int


def source_of(of: Origin, tree_size: int, root: str, span_us: tuple[int, int]) -> Source:
    return Source(of.recording, of.revision, of.manifest, tree_size, root, *span_us)


@dataclass(frozen=True, slots=True)
class Made:
    """What is known of a file before it is made."""

    source: Source
    whole: bool  #: it is all of the recording
    screen: bool  #: a shared screen may be in it


def made_of(reader: RecordingReader, span_us: tuple[int, int]) -> Made:
    """Of a file with what was recorded in that time, as the recording is now."""
    manifest = reader.manifest
    source = source_of(origin(manifest), manifest.tree_size, manifest.root, span_us)
    whole = span_us == (0, reader.duration_us)
    return Made(source, whole, any(tracks.screen for tracks in reader.recorded_tracks))


class Credentials:
    """What is to be signed into one MP4: a box of ``size`` bytes that follows its ``ftyp``."""

    def __init__(
        self, made: Made, signer: ClaimSigner, now: float, timestamp_url: str = ""
    ) -> None:
        """At ``timestamp_url``, if any, an authority stamps the signature with the time (RFC 3161).

        ``now``: Unix time. CredentialsUnavailable where the signer's certificate is not valid.
        """
        _check_valid(signer, now)
        self._made = made
        self._signer = signer
        self._label = f"urn:c2pa:{uuid.uuid4()}"
        self._stamp: Stamp | None = partial(_stamped, timestamp_url) if timestamp_url else None
        spare = 2 * LEAST_PAD + (_STAMP_BYTES if timestamp_url else 0)
        self.size = len(self._manifest(encoded=True).box(bytes(32))) + spare

    def box(self, digest: bytes, *, encoded: bool, stamped: bool = True) -> bytes:
        """``digest``: `BmffHash`; ``encoded``: pictures or sound were encoded anew.

        CredentialsUnavailable where the authority does not stamp it, if it shall.
        """
        stamp = self._stamp if stamped else None
        try:
            return self._manifest(encoded=encoded).box(digest, stamp, self.size)
        except OverflowError as error:
            raise CredentialsUnavailable(
                f"the time stamp is longer than {_STAMP_BYTES} bytes"
            ) from error

    def _manifest(self, *, encoded: bool) -> Manifest:
        source: Cbor = msgspec.to_builtins(self._made.source)
        actions: Cbor = {"actions": list(_actions(self._made, encoded))}
        assertions = {"c2pa.actions.v2": actions, LABEL: source}
        return Manifest(self._label, assertions, "MP4 file", self._signer)


def _actions(made: Made, encoded: bool) -> Iterator[Cbor]:
    kind = SourceType.COMPOSITE if made.screen else SourceType.CAPTURE
    yield {"action": "c2pa.created", "digitalSourceType": str(kind)}
    if not made.whole:
        yield {"action": "c2pa.trimmed"}
    yield {"action": "c2pa.transcoded" if encoded else "c2pa.repackaged"}


def _check_valid(signer: ClaimSigner, now: float) -> None:
    certificate, at = signer.chain[0], datetime.datetime.fromtimestamp(now, datetime.UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins <= at <= ends:
        raise CredentialsUnavailable(
            f"the signer's certificate is not valid at {at:%Y-%m-%d}, but from {begins:%Y-%m-%d} "
            f"to {ends:%Y-%m-%d}"
        )


def _stamped(url: str, data: bytes) -> bytes:
    request = timestamp.Request(data)
    try:
        answer = ask(url, request.body)
        request.check(answer)
        return timestamp.token(answer)
    except (OSError, SegmentError) as error:
        raise CredentialsUnavailable(f"no time stamp from {url}: {error}") from error
