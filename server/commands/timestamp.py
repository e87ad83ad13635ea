"""What `vivavoce verify` says of a recording's time stamp."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography.x509 import Certificate

from server.config import ConfigError
from server.recorder.evidence import timestamp
from server.recorder.evidence.fault import Fault
from server.recorder.format.manifest import MANIFEST_NAME, TIMESTAMP_NAME
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import SegmentError
from server.recorder.stores.store import Readable

#: Of the authority, in a data directory's `keys`.
ROOTS = "timestamp-root.pem"


def check_timestamp(recording: Readable, roots: Path | None) -> tuple[str, Sequence[object]]:
    """What there is to say of it, and the faults. ``roots``: the authority's certificates.

    ConfigError where they can't be used; OSError.
    """
    if not all((recording / name).is_file() for name in (TIMESTAMP_NAME, MANIFEST_NAME)):
        return "", ()
    try:
        stamp, data = (read_whole(recording / name) for name in (TIMESTAMP_NAME, MANIFEST_NAME))
        if roots is not None:
            timestamp.check_signer(stamp, _load(roots))
        told = timestamp.read_time(stamp, data)
        if told is None:
            return "Its time stamp is of another manifest, perhaps an earlier: it has none.", ()
        if roots is None:
            return f"Time stamp: {_utc(told)}; unchecked without --timestamp-root.", ()
        at = timestamp.check(stamp, data, _load(roots))
    except SegmentError as error:
        return "", (Fault(error.kind, TIMESTAMP_NAME, error.message),)
    return f"It was sealed by {_utc(at)}: so says an authority that {roots} vouches for.", ()


def _load(roots: Path) -> list[Certificate]:
    try:
        return timestamp.load_roots(roots.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{roots} has no certificate: {error}.") from error


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
