"""The command `vivavoce log`."""

import argparse
import os
import sys
from pathlib import Path

from server.commands.terminal import EXIT_FAULT
from server.config import ConfigError, add_data_dir_flag, data_dir
from server.recorder.keys import SIGNING_PUB, load_public_key
from server.recorder.root_key import KeyProblem
from server.recorder.tiles import CHECKPOINT
from server.recorder.tlog import FOLDER
from server.recorder.verify import check_log


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since", type=Path, metavar="FILE", help="a checkpoint that was kept: the log contains it"
    )
    add_data_dir_flag(parser)
    parser.set_defaults(run=_log)


def _log(flags: argparse.Namespace) -> int:
    folder = data_dir(flags, os.environ)
    log, key_file = folder / FOLDER, folder / "keys" / SIGNING_PUB
    try:
        key = load_public_key(key_file)
        faults = check_log(log, key, flags.since.read_bytes() if flags.since else None)
        checkpoint = (log / CHECKPOINT).read_text()
    except (OSError, KeyProblem) as error:
        raise ConfigError(f"The log or the key {key_file} can't be read: {error}.") from error
    for fault in faults:
        print(f"NOT INTACT: {fault}", file=sys.stderr)
    print(checkpoint, end="")
    return EXIT_FAULT if faults else 0
