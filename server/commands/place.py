"""Where a recording lies that was named on the command line, and what lies beside it."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from server.commands.data import open_store_of
from server.config import ConfigError, data_dir
from server.recorder.catalog import recording_path
from server.recorder.keys import SIGNING_PUB
from server.recorder.manifest import MANIFEST_NAME
from server.recorder.stores import Readable, StoredFolder, split_s3
from server.recorder.tiles import CHECKPOINT
from server.recorder.tlog import FOLDER as LOG_FOLDER


@dataclass(frozen=True, slots=True)
class Place:
    """A recording's files; of those, ``local`` and ``stored`` are what lies here and in a store."""

    files: Readable
    local: Readable | None
    stored: Readable | None
    home: Path  #: the data directory whose keys and log are asked

    @property
    def log(self) -> Path | None:
        log = self.home / LOG_FOLDER
        return log if (log / CHECKPOINT).is_file() else None

    @property
    def public_key(self) -> Path:
        return self.home / "keys" / SIGNING_PUB


def find(flags: argparse.Namespace, named: str) -> Place:
    """By a folder, `s3://BUCKET/PREFIX/ID`, or an interview's id. ConfigError; OSError."""
    ours = data_dir(flags, os.environ)
    if named.startswith("s3://"):
        from server.recorder.s3 import open_s3_folder  # a third of a second, for its users

        folder = open_s3_folder(*split_s3(named))
        return Place(folder, None, folder, ours)
    path = Path(named).resolve()
    if not path.is_dir():
        path = _of_interview(ours, named)
    store = open_store_of(flags)
    stored = None if store is None else store.folder(path.name)
    files = path if stored is None else StoredFolder(path, stored)
    return Place(files, path, stored, home_of(path, ours))


def home_of(path: Path, ours: Path) -> Path:
    """The data directory in which a recording's folder lies; a copy's is ours."""
    home = path.parent.parent
    return home if (home / "keys" / SIGNING_PUB).is_file() else ours


def _of_interview(folder: Path, interview_id: str) -> Path:
    try:
        path = recording_path(folder, interview_id)
    except ValueError as error:
        raise ConfigError(f"There is no folder {interview_id}.") from error
    if not (path / MANIFEST_NAME).is_file():
        raise ConfigError(
            f"There is no folder {interview_id}, and no recording of an interview of that id in "
            f"{folder}: `vivavoce recordings` lists them, --data-dir says where to look."
        )
    return path
