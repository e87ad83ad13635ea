"""The command `vivavoce log`."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from server.commands.terminal import EXIT_FAULT, shown, utc
from server.config import ConfigError, add_data_dir_flag, data_dir
from server.recorder.catalog.spool import Spool
from server.recorder.evidence.derivation import Derivation, derivation_hash
from server.recorder.evidence.fault import Fault
from server.recorder.evidence.log_check import LOG_FILE, check_log, log_fault
from server.recorder.evidence.tiles import CHECKPOINT
from server.recorder.evidence.tlog import FOLDER, Entry, EntryKind, read_log
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import ServerKey
from server.recorder.keys.key_ring import SIGNING_PUB, load_public_key
from server.recorder.keys.root_key import KeyProblem


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since", type=Path, metavar="FILE", help="a checkpoint that was kept: the log contains it"
    )
    parser.add_argument(
        "--entries",
        action="store_true",
        help="what has happened to the recordings, instead of the checkpoint",
    )
    add_data_dir_flag(parser)
    parser.set_defaults(run=_log)


def _log(flags: argparse.Namespace) -> int:
    folder = data_dir(flags, os.environ)
    log, key_file = folder / FOLDER, folder / "keys" / SIGNING_PUB
    try:
        key = load_public_key(key_file)
        faults = check_log(log, key, flags.since.read_bytes() if flags.since else None)
        said = _read(log / CHECKPOINT)
        if flags.entries and not faults:
            said = "".join(_lines(log, key))
    except (OSError, KeyProblem) as error:
        raise ConfigError(f"The log or the key {key_file} can't be read: {error}.") from error
    for fault in faults:
        print(f"NOT INTACT: {shown(str(fault))}", file=sys.stderr)
    print(shown(said), end="")
    return EXIT_FAULT if faults else 0


def _read(checkpoint: Path) -> str:
    """Also of one that is none, or is gone. OSError."""
    return checkpoint.read_text(errors="replace") if checkpoint.is_file() else ""


def _lines(log: Path, key: ServerKey) -> Iterator[str]:
    """All but heartbeats, the oldest first; then what waits to be appended."""
    view = read_log(log, key)
    for index, entry in zip(view.indexes, view.entries, strict=True):
        if entry.kind is not EntryKind.RECORDING:
            yield _line(str(index), entry)
    for entry in Spool(log).waiting(key).values():
        yield _line("waits", entry)


def _line(place: str, entry: Entry) -> str:
    at = utc(entry.at_us)
    if entry.kind is EntryKind.ROTATED:
        return f"{place:>8}  {at}  {entry.kind:8}  another key signs, statement {entry.statement}\n"
    what = f"statement {entry.statement}" if entry.statement else f"manifest {entry.manifest}"
    return (
        f"{place:>8}  {at}  {entry.kind:8}  {entry.interview}  {entry.tree_size} records, {what}\n"
    )


def logged_derivation(made: Derivation, public_key: ServerKey, log: Path) -> Sequence[object]:
    """Says which entry of the log an export has; a fault where it has none. OSError."""
    digest = derivation_hash(made)
    try:
        view = read_log(log, public_key, made.source.recording)
    except SegmentError as error:
        return [log_fault(error)]
    for index, entry in zip(view.indexes, view.entries, strict=True):
        if entry.statement == digest:
            print(f"Entry {index} of the log {view.checkpoint.origin}: {utc(entry.at_us)}.")
            return ()
    if any(entry.statement == digest for entry in Spool(log).waiting(public_key).values()):
        print("It waits for the log: the server appends it within seconds, or when it starts.")
        return ()
    return [Fault(FaultKind.MISSING, LOG_FILE, "the log does not know this export")]
