"""What other programs have to tell the log: put down durably, for the server to append.

The log has one writer, the server. An export or an erasure, which may be another process, leaves
its entry as a file in `spool/` beside the log; the server appends it within a heartbeat or at its
next start, then removes the file. None is lost, whoever is killed and when; what a crash makes the
log tell twice is true twice.
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from server.recorder.catalog.recordings import read_manifest, recording_path
from server.recorder.evidence.derivation import Derivation, derivation_hash
from server.recorder.evidence.tlog import FOLDER as LOG_FOLDER
from server.recorder.evidence.tlog import Entry, EntryKind, parse_entry
from server.recorder.format.manifest import Manifest, manifest_hash
from server.recorder.format.server_key import ServerKey
from server.recorder.stores.files import make_folder, sync_directory, write_durably

FOLDER = "spool"
_READY = ".json"
#: What is about to be done; told only once it was.
_INTENDED = ".intended"


class Spool:
    """Of the log in folder ``log``; every call may raise OSError."""

    def __init__(self, log: Path) -> None:
        self._folder = log.with_name(FOLDER)

    def add(self, entry: Entry) -> None:
        """Durable on return."""
        self._write(entry, _READY)

    def intend(self, entry: Entry) -> None:
        """Durable on return; waits for `settle`."""
        self._write(entry, _INTENDED)

    def settle(self, done: Callable[[Entry], bool]) -> None:
        """What was intended and is ``done`` is to be told; the rest goes on waiting."""
        for path, entry in self._read(_INTENDED):
            if done(entry):
                path.rename(path.with_suffix(_READY))
                sync_directory(self._folder)

    def waiting(self) -> dict[str, Entry]:
        """What the log is to be told, by the name of its file, in the order of its times."""
        found = sorted(self._read(_READY), key=lambda each: (each[1].at_us, each[0].name))
        return {path.name: entry for path, entry in found}

    def remove(self, names: Iterable[str]) -> None:
        """The log has them."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def _write(self, entry: Entry, suffix: str) -> None:
        make_folder(self._folder)
        data = msgspec.json.encode(entry)
        write_durably(self._folder / (hashlib.sha256(data).hexdigest() + suffix), data)

    def _read(self, suffix: str) -> list[tuple[Path, Entry]]:
        """What is no entry of an export or an erasure was put there by nobody of us, and stays."""
        if not self._folder.is_dir():
            return []
        files = [(path, parse_entry(path.read_bytes())) for path in self._folder.glob(f"*{suffix}")]
        return [(path, entry) for path, entry in files if entry is not None and _is_ours(entry)]


def _is_ours(entry: Entry) -> bool:
    """Of what else happens the server tells the log itself: it would sign anything put there."""
    return entry.kind is EntryKind.ERASED or (
        entry.kind is EntryKind.DERIVED and not entry.is_state
    )


def put_down_derived(data_dir: Path, made: Derivation, public_key: ServerKey) -> None:
    """To be called before the statement is given to anybody. SegmentError; OSError."""
    manifest = read_manifest(recording_path(data_dir, made.source.interview), public_key)
    entry = entry_of(EntryKind.DERIVED, manifest, made.made_us, derivation_hash(made))
    Spool(data_dir / LOG_FOLDER).add(entry)


def entry_of(kind: EntryKind, manifest: Manifest, at_us: int, statement: str = "") -> Entry:
    """What has happened to a recording as its manifest says it is."""
    return Entry(
        kind,
        manifest.recording,
        manifest.interview,
        manifest.tree_size,
        manifest.root,
        max((segment.end_us for segment in manifest.segments), default=0),
        manifest.revision,
        manifest_hash(manifest),
        at_us,
        statement,
    )
