"""What other programs have to tell the log: put down durably, for the server to append.

The log has one writer, the server. An export or an erasure, which may be another process, leaves
its entry as a file in `spool/` beside the log; the server appends it within a heartbeat or at its
next start, then removes the file. None is lost, whoever is killed and when; what a crash makes the
log tell twice is true twice.

The server signs what it appends, so it takes nothing that others could have made up: who exports
signs the entry with the server's key; who erases has no key, but theirs is destroyed.
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.recorder.catalog.recordings import read_manifest, recording_path
from server.recorder.evidence.derivation import Derivation, derivation_hash
from server.recorder.evidence.tlog import FOLDER as LOG_FOLDER
from server.recorder.evidence.tlog import Entry, EntryKind, parse_entry
from server.recorder.format.manifest import Manifest, manifest_hash
from server.recorder.format.server_key import ServerKey
from server.recorder.stores.files import make_folder, sync_directory, write_durably

FOLDER = "spool"
SPOOL_CONTEXT = b"vivavoce/spool/v1"
_READY = ".json"
#: What is about to be done; told only once it was.
_INTENDED = ".intended"


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The entry of an export."""

    entry: msgspec.Raw
    signature: str  #: in hex


_signed = msgspec.json.Decoder(_Signed)


class Spool:
    """Of the log in folder ``log``; every call may raise OSError."""

    def __init__(self, log: Path) -> None:
        self._folder = log.with_name(FOLDER)

    def add(self, entry: Entry, signer: Ed25519PrivateKey) -> None:
        """Of an export; durable on return."""
        data = msgspec.json.encode(entry)
        signature = signer.sign(SPOOL_CONTEXT + data).hex()
        self._write(msgspec.json.encode(_Signed(msgspec.Raw(data), signature)), _READY)

    def intend(self, entry: Entry) -> None:
        """Of an erasure; durable on return; waits for `settle`."""
        self._write(msgspec.json.encode(entry), _INTENDED)

    def settle(self, done: Callable[[Entry], bool]) -> None:
        """What was intended and is ``done`` is to be told; the rest goes on waiting."""
        for path, data in self._read(_INTENDED):
            entry = _of_erasure(data)
            if entry is not None and done(entry):
                path.rename(path.with_suffix(_READY))
                sync_directory(self._folder)

    def waiting(self, public_key: ServerKey) -> dict[str, Entry]:
        """What the log is to be told, by the name of its file, in the order of its times.

        What was put there by nobody of us stays. Whether an erasure was done is not looked at.
        """
        read = [
            (path.name, _of_erasure(data) or _of_export(data, public_key))
            for path, data in self._read(_READY)
        ]
        found = [(name, entry) for name, entry in read if entry is not None]
        return dict(sorted(found, key=lambda each: (each[1].at_us, each[0])))

    def remove(self, names: Iterable[str]) -> None:
        """The log has them."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def _write(self, data: bytes, suffix: str) -> None:
        make_folder(self._folder)
        write_durably(self._folder / (hashlib.sha256(data).hexdigest() + suffix), data)

    def _read(self, suffix: str) -> list[tuple[Path, bytes]]:
        if not self._folder.is_dir():
            return []
        return [(path, path.read_bytes()) for path in self._folder.glob(f"*{suffix}")]


def _of_erasure(data: bytes) -> Entry | None:
    entry = parse_entry(data)
    return entry if entry is not None and entry.kind is EntryKind.ERASED else None


def _of_export(data: bytes, public_key: ServerKey) -> Entry | None:
    try:
        signed = _signed.decode(data)
        encoded = bytes(signed.entry)
        public_key.verify(bytes.fromhex(signed.signature), SPOOL_CONTEXT + encoded)
    except (msgspec.MsgspecError, ValueError, RecursionError, InvalidSignature):
        return None
    return parse_entry(encoded)


def put_down_derived(
    data_dir: Path, made: Derivation, public_key: ServerKey, signer: Ed25519PrivateKey
) -> None:
    """To be called before the statement is given to anybody. SegmentError; OSError."""
    manifest = read_manifest(recording_path(data_dir, made.source.interview), public_key)
    entry = entry_of(EntryKind.DERIVED, manifest, made.made_us, derivation_hash(made))
    Spool(data_dir / LOG_FOLDER).add(entry, signer)


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
