"""The command `vivavoce verify`."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from server.commands.data import open_store_of
from server.commands.log import logged_derivation
from server.commands.receipt import verify_receipt
from server.commands.terminal import EXIT_FAULT
from server.commands.timestamp import ROOTS, check_timestamp
from server.config import ConfigError, add_data_dir_flag, add_store_flag, data_dir
from server.recorder import derivation
from server.recorder.catalog import FOLDER
from server.recorder.claim_signer import load_roots
from server.recorder.content_credentials import CredentialsUnavailable, Source
from server.recorder.derivation import Derivation, Origin
from server.recorder.export_check import NothingSigned, check_export
from server.recorder.keys import C2PA_ROOT, SIGNING_PUB, load_public_key
from server.recorder.manifest import MANIFEST_NAME
from server.recorder.receipt import is_receipt
from server.recorder.root_key import KeyProblem
from server.recorder.sealing import SegmentError
from server.recorder.stores import Readable, StoredFolder, split_s3
from server.recorder.tiles import CHECKPOINT
from server.recorder.tlog import FOLDER as LOG_FOLDER
from server.recorder.verify import LOG_FILE, Fault, lost_recordings, verify


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a recording's folder, also s3://BUCKET/PREFIX/ID, the folder of all, or a file",
    )
    parser.add_argument(
        "--log", type=Path, metavar="DIR", help="(the log of the recording's data directory)"
    )
    parser.add_argument(
        "--c2pa-root",
        type=Path,
        metavar="FILE",
        help="certificates that vouch for an export's Content Credentials "
        "(keys/c2pa-root.pem of the data directory)",
    )
    parser.add_argument(
        "--public-key", type=Path, metavar="FILE", help="(keys/signing.pub of its data directory)"
    )
    parser.add_argument(
        "--timestamp-root",
        type=Path,
        metavar="FILE",
        help="certificates of the authority that stamps recordings "
        f"(keys/{ROOTS} of the data directory)",
    )
    add_store_flag(parser)
    add_data_dir_flag(parser)
    parser.set_defaults(run=_verify)


def _verify(flags: argparse.Namespace) -> int:
    path = Path(flags.path).resolve()
    home = path.parent if _holds_recordings(path) else path.parent.parent
    key_file = flags.public_key or _public_key_of(home, data_dir(flags, os.environ))
    log = flags.log or _log_in(home)
    try:
        if path.is_file():
            # A file lies anywhere: what it is of, where the key does.
            home = key_file.resolve().parent.parent
            log = log or _log_in(home)
        if path.is_file() and is_receipt(path):
            faults = verify_receipt(path, load_public_key(key_file), home, log)
        elif path.is_file() and not derivation.statement_of(path).exists():
            return _told(_verify_export(flags, path, b"", None))
        else:
            own = key_file.parent / ROOTS
            flags.timestamp_root = flags.timestamp_root or (own if own.is_file() else None)
            faults = _check(flags, path, load_public_key(key_file), log)
    except (CredentialsUnavailable, OSError, KeyProblem) as error:
        raise ConfigError(f"{flags.path} or the key {key_file} can't be read: {error}.") from error
    if not faults:
        print(f"Signed with the key of {key_file}.")
    return _told(faults)


def _told(faults: Sequence[object]) -> int:
    """The exit status."""
    for fault in faults:
        print(f"NOT INTACT: {fault}")
    return EXIT_FAULT if faults else 0


def _check(
    flags: argparse.Namespace, path: Path, public_key: bytes, log: Path | None
) -> Sequence[object]:
    """The faults; what is intact is described. Raises ConfigError where there is nothing."""
    if _holds_recordings(path):
        return _verify_all(flags, path, public_key, log)
    if path.is_dir() or flags.path.startswith("s3://"):
        return _verify_recording(_recording_at(flags, path), public_key, log, flags.timestamp_root)
    if path.exists():
        return _verify_export(flags, path, public_key, log)
    gone = [fault for fault in _lost(path.parent, public_key, log) if fault.file == path.name]
    if not gone:
        raise ConfigError(f"There is no {path}.")
    return gone


def _holds_recordings(path: Path) -> bool:
    return (path.is_dir() and path.name == FOLDER) or any(path.glob(f"*/{MANIFEST_NAME}"))


def _recording_at(flags: argparse.Namespace, path: Path) -> Readable:
    """The folder to verify: in a bucket, here, or with a store partly in both."""
    if flags.path.startswith("s3://"):
        from server.recorder.s3 import open_s3_folder

        return open_s3_folder(*split_s3(flags.path))
    store = open_store_of(flags)
    return path if store is None else StoredFolder(path, store.folder(path.name))


def _verify_recording(
    path: Readable, public_key: bytes, log: Path | None, roots: Path | None
) -> Sequence[object]:
    report = verify(path, public_key, log)
    said, faults = check_timestamp(path, roots)
    if report.intact and not faults:
        print(f"Intact: {report.fragments} fragments, {report.duration_s:.1f} s, {report.state}.")
        if log is None:
            print("No log is beside it: that a tail was cut off an open one could not be seen.")
        else:
            print(f"The log in {log} knows it so.")
        if said:
            print(said)
    return (*report.faults, *faults)


def _verify_all(
    flags: argparse.Namespace, path: Path, public_key: bytes, log: Path | None
) -> Sequence[object]:
    folders = sorted(each for each in path.iterdir() if each.is_dir())
    faults: list[object] = []
    for each in folders:
        recording = _recording_at(flags, each)
        report = verify(recording, public_key, log)
        _, more = check_timestamp(recording, flags.timestamp_root)
        faults += [f"{each.name}/{fault}" for fault in (*report.faults, *more)]
    faults += _lost(path, public_key, log)
    if not faults:
        print(f"Intact: {len(folders)} recordings.")
    return faults


def _lost(recordings: Path, public_key: bytes, log: Path | None) -> list[Fault]:
    try:
        return lost_recordings(recordings, public_key, log) if log is not None else []
    except SegmentError as error:
        return [Fault(error.kind, LOG_FILE, error.message)]


def _verify_export(
    flags: argparse.Namespace, path: Path, public_key: bytes, log: Path | None
) -> Sequence[object]:
    """As `_verify_recording`. Raises ConfigError if nothing was signed."""
    try:
        report = check_export(path, public_key, _c2pa_roots(flags))
    except NothingSigned as error:
        raise ConfigError(f"{error}.") from error
    if report.faults:
        return [f"{path.name}: {fault}" for fault in report.faults]
    if report.statement is not None:
        source = report.statement.source
        _describe(f"recording {source.interview}", report.statement, source)
    if report.credentials is not None and report.credentials.source is not None:
        if report.statement is None:
            made = report.credentials.source
            _describe(f"the recording with the id {made.recording}", made, made)
        print(f"Its Content Credentials (C2PA) say so; signed by {report.credentials.signer}.")
    if report.statement is None or log is None:
        return ()
    return logged_derivation(report.statement, public_key, log)


def _describe(recording: str, part: Derivation | Source, at: Origin | Source) -> None:
    start_s, end_s = part.start_us / 1e6, part.end_us / 1e6
    print(f"Intact: made of {recording}, {start_s:.1f} to {end_s:.1f} s.")
    print(f"That was at revision {at.revision}, its manifest {at.manifest}.")


def _c2pa_roots(flags: argparse.Namespace) -> bytes:
    """Empty where there are none. KeyProblem; OSError."""
    own = data_dir(flags, os.environ) / "keys" / C2PA_ROOT
    if flags.c2pa_root is None and not own.is_file():
        return b""
    return load_roots(flags.c2pa_root or own)


def _log_in(home: Path) -> Path | None:
    """That of a data directory."""
    return home / LOG_FOLDER if (home / LOG_FOLDER / CHECKPOINT).is_file() else None


def _public_key_of(home: Path, data_dir: Path) -> Path:
    """The key of the data directory in which the recording lies; a copy's is in ours."""
    beside = home / "keys" / SIGNING_PUB
    return beside if beside.is_file() else data_dir / "keys" / SIGNING_PUB
