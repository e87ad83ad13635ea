"""The command `vivavoce keys`: status, rotate, rotate-signing, destroy, c2pa-root, backup."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from server.commands.terminal import EXIT_FAULT
from server.commands.text import counted
from server.config import ConfigError, add_data_dir_flag, add_root_key_flag, root_key, root_key_name
from server.config import existing_data_dir as data_dir_of
from server.recorder.catalog.erasure import ErasureRefused, erase, refuse_recorded
from server.recorder.catalog.key_change import rotate_signer
from server.recorder.catalog.recordings import lock_recordings
from server.recorder.evidence.tlog import LogProblem
from server.recorder.format.manifest import to_unix_us
from server.recorder.format.sealing import SegmentError
from server.recorder.format.server_key import fingerprint
from server.recorder.keys import succession
from server.recorder.keys.key_ring import (
    SIGNING_KEY,
    SIGNING_PUB,
    open_database,
    open_keys,
    rotate,
    try_out,
)
from server.recorder.keys.root_key import KeyProblem
from server.recorder.keys.root_keys import open_root_key


def add_to(parser: argparse.ArgumentParser) -> None:
    """The flags of `vivavoce keys`, as `_run` reads them."""
    parser.set_defaults(run=_run)
    commands = parser.add_subparsers(required=True, metavar="ACTION")

    def action(
        name: str, act: Callable[[argparse.Namespace, Path], int], help: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help)
        made.set_defaults(act=act)
        add_data_dir_flag(made)
        return made

    add_root_key_flag(action("status", _status, "What wraps the keys; 1: not by this root key."))
    rotated = action("rotate", _rotate, "Wrap all keys by a new version of the root key.")
    add_root_key_flag(rotated)
    rotated.add_argument(
        "--from", dest="former", metavar="WHERE", help="the root key until now, if it is another"
    )
    action(
        "rotate-signing",
        _rotate_signing,
        "Have a new key sign from now on. What the former one signed stays provable.",
    )
    destroyed = action("destroy", _destroy, "Erase a recording for good by destroying its key.")
    destroyed.add_argument("interview_id", metavar="INTERVIEW_ID")
    destroyed.add_argument("--yes", action="store_true", help="do not ask")
    add_root_key_flag(
        action(
            "c2pa-root",
            _c2pa_root,
            "Print the root certificate of what signs for C2PA here: whoever trusts it can tell "
            "this server's exports from others'.",
        )
    )
    saved = action("backup", _back_up, "Copy the key database; the copy must not live a day.")
    saved.add_argument("file", type=Path, metavar="FILE")


def _run(flags: argparse.Namespace) -> int:
    """The exit status. Raises ConfigError."""
    folder = data_dir_of(flags, os.environ)
    try:
        status: int = flags.act(flags, folder)
        return status
    except (KeyProblem, ErasureRefused, SegmentError, LogProblem, OSError) as error:
        raise ConfigError(f"{error}.") from error


def _status(flags: argparse.Namespace, folder: Path) -> int:
    database, name = open_database(folder / "keys"), root_key(flags, os.environ)
    root = open_root_key(name, folder / "keys", os.environ)
    newest = root.version()
    print(f"Root key: {name}, version {newest}.")
    stale = 0
    for (theirs, version), count in sorted(database.wrapped_by().items()):
        current = (theirs, version) == (name, newest)
        stale += 0 if current else count
        print(
            f"  {counted(count, 'key')} by {theirs}, version {version}"
            f"{'' if current else ': to be rotated'}"
        )
    print(f"  {counted(database.destroyed(), 'key')} destroyed")
    if all(theirs == name for theirs, _ in database.wrapped_by()):
        try_out(root, database)
    return EXIT_FAULT if stale else 0


def _rotate(flags: argparse.Namespace, folder: Path) -> int:
    name = root_key(flags, os.environ)
    former = root_key_name(flags.former or name)
    keys = folder / "keys"
    # A running server would look for its keys where they are no more.
    try:
        alone = nullcontext() if former == name else lock_recordings(folder)
    except RuntimeError as error:
        raise ConfigError(
            "A server is running here: to move the keys to another root key, stop it first."
        ) from error
    with alone:
        count = rotate(
            keys,
            open_root_key(name, keys, os.environ),
            open_root_key(former, keys, os.environ),
            _progress,
        )
    if not count and not name.startswith("file"):
        print(f"Nothing to do: make a new version of {name} first (docs/operations.md).")
        return 0
    print(f"Wrapped by the newest version of {name}: {counted(count, 'key')}.")
    print("Backups of the key database from before need the former one: make a new backup now.")
    return 0


def _rotate_signing(_: argparse.Namespace, folder: Path) -> int:
    try:
        alone = lock_recordings(folder)
    except RuntimeError as error:
        raise ConfigError(
            "A server is running here: to have another key sign, stop it first."
        ) from error
    with alone:
        public_key = rotate_signer(folder, to_unix_us(time.time()))
    print(f"Signed from now on with the key that has the SHA-256 {fingerprint(public_key.known)}.")
    print(f"Publish keys/{SIGNING_PUB} and keys/{succession.FILE} where the former key is known,")
    print(f"and make a new backup of keys/{SIGNING_KEY}: the former key is gone.")
    return 0


def _destroy(flags: argparse.Namespace, folder: Path) -> int:
    open_database(folder / "keys").candidate_of(flags.interview_id)
    if not flags.yes:
        refuse_recorded(folder, flags.interview_id)
        print(f"Nobody will be able to open the recording of {flags.interview_id} again.")
        print("Type its id to destroy its key: ", end="", flush=True)
        if sys.stdin.readline().strip() != flags.interview_id:
            print("\nNothing was destroyed.")
            return EXIT_FAULT
    first = erase(folder, flags.interview_id, to_unix_us(time.time()))
    print("Destroyed." if first else "It was destroyed before.")
    print("`vivavoce verify` still checks the files. Backups of the key database hold the key,")
    print("wrapped: let none live longer than a day, or rotate the root key.")
    return 0


def _c2pa_root(flags: argparse.Namespace, folder: Path) -> int:
    root = open_root_key(root_key(flags, os.environ), folder / "keys", os.environ)
    print(open_keys(folder / "keys", root).claim_signer(time.time()).anchor.decode(), end="")
    return 0


def _back_up(flags: argparse.Namespace, folder: Path) -> int:
    open_database(folder / "keys").back_up(flags.file)
    print(
        f"Written: {flags.file}. The root key and keys/signing.key are not in it: keep them apart."
    )
    return 0


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{of}", end="", file=sys.stderr, flush=True)
