"""The command `vivavoce compress`: small recordings of finished ones."""

import argparse
import os
import sys
import time
from pathlib import Path

from server.config import (
    ConfigError,
    add_data_dir_flag,
    add_root_key_flag,
    existing_data_dir,
    root_key,
    store,
)
from server.recorder.catalog import lock_recordings, recording_folders
from server.recorder.derived import (
    NotAdopted,
    adopt,
    check_ready,
    lock_making,
    read_statement,
    settle,
)
from server.recorder.catalog import recording_path
from server.recorder.keys import KeyRing, open_keys
from server.recorder.root_key import KeyProblem
from server.recorder.root_keys import open_root_key
from server.recorder.sealing import SegmentError
from server.recorder.tlog import FOLDER as LOG_FOLDER
from server.recorder.tlog import LogProblem, open_log
from server.recorder.witness import derived_entry

EXIT_FAULT = 1


def add_to(parser: argparse.ArgumentParser) -> None:
    """The flags of `vivavoce compress`, as :func:`run` reads them."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("interview_id", metavar="INTERVIEW_ID", nargs="?")
    which.add_argument("--all", action="store_true", help="every one that is finished")
    parser.add_argument(
        "--replace-source",
        action="store_true",
        help="destroy the source once what was made of it is verified, measured and signed "
        "(it is moved to sources/ and kept)",
    )
    add_data_dir_flag(parser)
    add_root_key_flag(parser)


def run(flags: argparse.Namespace) -> int:
    """The exit status: 1 where a recording was left as it is. Raises ConfigError."""
    folder = existing_data_dir(flags, os.environ)
    try:
        keys = _keys(folder, root_key(flags, os.environ))
        with lock_making(folder):
            wanted = _all(folder) if flags.all else [flags.interview_id]
            left = [each for each in wanted if not _compress(flags, folder, each, keys)]
    except (KeyProblem, LogProblem, RuntimeError, OSError) as error:
        raise ConfigError(f"{error}.") from error
    return EXIT_FAULT if left else 0
