"""Checks an exported file by all that says what it was made of: a statement beside it, signed by
the server's key, and Content Credentials in it, signed by its certificate (C2PA)."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.recorder.evidence import derivation
from server.recorder.evidence.derivation import Derivation
from server.recorder.export import credentials_check
from server.recorder.export.credentials_check import Checked
from server.recorder.format.sealing import SegmentError
from server.recorder.format.server_key import ServerKey


class NothingSigned(Exception):
    """Nothing says what the file was made of."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """``statement`` and ``credentials`` are None where there are none, or they are at fault."""

    statement: Derivation | None
    signer: Ed25519PublicKey | None  #: of the statement
    credentials: Checked | None
    faults: tuple[str, ...]  #: each with its file


def check_export(path: Path, public_key: ServerKey | None, roots: bytes) -> ExportReport:
    """``roots``: certificates in PEM that may vouch for credentials. Statements need the key.

    NothingSigned; OSError; CredentialsUnavailable.
    """
    has_statement = derivation.statement_of(path).exists()
    has_credentials = credentials_check.present_in(path)
    if not has_statement and not has_credentials:
        raise NothingSigned(
            f"{path.name} has no {derivation.statement_of(path).name} beside it, "
            "and no Content Credentials in it"
        )
    faults: list[str] = []
    statement = signer = credentials = None
    if has_statement and public_key is not None:
        reading = derivation.statement_of(path)
        try:
            signer = derivation.signed_by(path, public_key)
            reading = path
            statement = derivation.check(path, public_key)
        except SegmentError as error:
            faults.append(f"{reading.name}: {error}")
    try:
        if has_credentials:
            credentials = credentials_check.check(path, roots)
    except SegmentError as error:
        faults.append(f"{path.name}: {error}")
    faults += [f"{path.name}: {each}" for each in _disagreements(statement, credentials)]
    return ExportReport(statement, signer, credentials, tuple(faults))


def _disagreements(statement: Derivation | None, credentials: Checked | None) -> list[str]:
    if credentials is None:
        return []
    found = []
    if not credentials.trusted:
        found.append(f"no trusted root vouches for its signer, {credentials.signer!r}")
    source = credentials.source
    if source is None:
        found.append("its Content Credentials say nothing of a recording")
    elif statement is not None and _of(statement) != (
        source.recording,
        source.revision,
        source.manifest,
        source.start_us,
        source.end_us,
    ):
        found.append("its Content Credentials and its statement tell of different sources")
    return found


def _of(statement: Derivation) -> tuple[str, int, str, int, int]:
    source = statement.source
    span_us = statement.start_us, statement.end_us
    return source.recording, source.revision, source.manifest, *span_us
