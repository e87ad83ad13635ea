"""The command `vivavoce compress`: small recordings of finished ones."""

import argparse
import os
import sys
import time
from pathlib import Path

from server.commands.data import open_keys_of, open_store_of
from server.commands.terminal import EXIT_FAULT, Progress
from server.config import (
    ConfigError,
    add_data_dir_flag,
    add_root_key_flag,
    add_store_flag,
    existing_data_dir,
)
from server.recorder.catalog.derived import (
    Compressed,
    NotAdopted,
    adopt,
    check_ready,
    lock_making,
    settle,
)
from server.recorder.catalog.recordings import (
    is_compressed,
    lock_recordings,
    read_manifest,
    recording_folders,
)
from server.recorder.compression.compression import NotCompressed
from server.recorder.compression.job import compress
from server.recorder.evidence.tlog import FOLDER as LOG_FOLDER
from server.recorder.evidence.tlog import LogProblem, open_log
from server.recorder.format.manifest import State
from server.recorder.format.sealing import SegmentError
from server.recorder.keys.key_ring import KeyRing
from server.recorder.keys.root_key import KeyProblem
from server.recorder.stores.store import Store
from server.recorder.writing.witness import derived_entry


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("interview_id", metavar="INTERVIEW_ID", nargs="?")
    parser.add_argument("--all", action="store_true", help="every recording that is finished")
    parser.add_argument(
        "--replace-source",
        action="store_true",
        help="destroy the source's media once what was made of it is verified, measured and "
        "signed (it is kept in the data directory's sources/)",
    )
    add_root_key_flag(parser)
    add_store_flag(parser)
    add_data_dir_flag(parser)
    parser.set_defaults(run=_compress)


def _compress(flags: argparse.Namespace) -> int:
    """1 where a recording was left as it is."""
    if flags.all == (flags.interview_id is not None):
        raise ConfigError("Say which recording, or --all.")
    folder = existing_data_dir(flags, os.environ)
    keys = open_keys_of(folder, flags)
    try:
        store = open_store_of(flags)
        with lock_making(folder):
            wanted = _finished(folder, keys) if flags.all else [flags.interview_id]
            keep = not flags.replace_source
            made = [_make(folder, each, keys, store, keep=keep) for each in wanted]
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"{error}.") from error
    return 0 if all(made) else EXIT_FAULT


def _finished(folder: Path, keys: KeyRing) -> list[str]:
    """Those that are to be compressed, and are not."""
    found = []
    for path in recording_folders(folder):
        try:
            manifest = read_manifest(path, keys.public_key)
        except (SegmentError, OSError) as error:
            print(f"{path.name}: left as it is: {error}", file=sys.stderr)
            continue
        if manifest.state is not State.RECORDING and not is_compressed(manifest):
            found.append(path.name)
    return found


def _make(
    folder: Path, interview_id: str, keys: KeyRing, store: Store | None, *, keep: bool
) -> bool:
    try:
        progress = Progress(sys.stderr)
        made = compress(
            folder, interview_id, keys, progress, time.time, keep_source=keep, store=store
        )
        _adopt(folder, interview_id, keys, stored=store is not None)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"There is no recording of {interview_id}.") from error
    except (NotCompressed, NotAdopted, SegmentError, KeyProblem, LogProblem) as error:
        print(f"{interview_id}: left as it is: {error}", file=sys.stderr)
        return False
    _say(interview_id, made)
    return True


def _adopt(folder: Path, interview_id: str, keys: KeyRing, *, stored: bool) -> None:
    check_ready(folder, interview_id, keys.public_key)
    try:
        lock = lock_recordings(folder)
    except RuntimeError:
        print("A server runs here: it puts what was made in its place within seconds.")
        return
    with lock:
        manifest = adopt(folder, interview_id, keys.public_key)
        open_log(folder / LOG_FOLDER, keys.signer).append([derived_entry(manifest, time.time())])
        settle(folder, interview_id, keys.public_key, stored=stored)


def _say(interview_id: str, made: Compressed) -> None:
    share = made.bytes / made.source_bytes
    print(f"{interview_id}: {made.source_bytes} bytes are now {made.bytes} ({share:.0%})")
    for each in made.quality:
        print(
            f"  {each.track}: {each.pictures} pictures, VMAF {each.vmaf:.1f} "
            f"({each.lowest_vmaf:.1f} in the worst second), XPSNR {each.xpsnr_db:.1f} dB"
        )
