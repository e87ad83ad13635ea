"""Where a recording lies that was named on the command line, and what lies beside it."""

import argparse
import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from server.commands.data import open_store_of
from server.config import ConfigError, data_dir
from server.recorder.catalog.recordings import recording_path, stored_folder
from server.recorder.evidence.archive import ArchivePath
from server.recorder.evidence.tiles import CHECKPOINT
from server.recorder.evidence.tlog import FOLDER as LOG_FOLDER
from server.recorder.format.manifest import MANIFEST_NAME
from server.recorder.format.sealing import SegmentError
from server.recorder.keys.key_ring import SIGNING_PUB
from server.recorder.stores.store import Readable, StoredFolder, split_s3


@dataclass(frozen=True, slots=True)
class Place:
    """A recording's files; of those, ``local`` and ``stored`` are what lies here and in a store."""

    files: Readable
    local: Readable | None
    stored: Readable | None
    home: Path  #: the data directory whose keys are asked
    log: Traversable | None  #: what lies beside it

    @property
    def public_key(self) -> Path:
        return self.home / "keys" / SIGNING_PUB


def find(flags: argparse.Namespace, named: str) -> Place:
    """By a folder, `s3://BUCKET/PREFIX/ID`, or an interview's id. ConfigError; OSError."""
    ours = data_dir(flags, os.environ)
    if named.startswith("s3://"):
        from server.recorder.stores.s3 import open_s3_folder  # a third of a second, for its users

        folder = open_s3_folder(*split_s3(named))
        return Place(folder, None, folder, ours, log_of(ours))
    path = Path(named).resolve()
    return _in_folder(flags, path) if path.is_dir() else find_interview(flags, named)


def find_interview(flags: argparse.Namespace, interview_id: str) -> Place:
    """By its id alone. ConfigError; OSError."""
    return _in_folder(flags, _of_interview(data_dir(flags, os.environ), interview_id))


def _in_folder(flags: argparse.Namespace, path: Path) -> Place:
    ours, store = data_dir(flags, os.environ), open_store_of(flags)
    stored = None
    if store is not None and (path / MANIFEST_NAME).is_file():
        with suppress(SegmentError):  # whoever reads the manifest tells what is wrong with it
            stored = stored_folder(path, store)
    files = path if stored is None else StoredFolder(path, stored)
    return Place(files, path, stored, home_of(path, ours), log_of(path.parent.parent))


def home_of(path: Path, ours: Path) -> Path:
    """The data directory in which a recording's folder lies; a copy's is ours."""
    home = path.parent.parent
    return home if (home / "keys" / SIGNING_PUB).is_file() else ours


def in_archive(archive: ArchivePath, ours: Path) -> list[Place]:
    """Every recording in it. ConfigError where there is none."""
    folders = archive.folders_with(MANIFEST_NAME)
    if not folders:
        raise ConfigError("There is no recording in the archive.")
    return [Place(each, each, None, ours, _log_beside(each)) for each in folders]


def _log_beside(folder: ArchivePath) -> ArchivePath | None:
    """Of an archive for evidence, or of a data directory that somebody has packed."""
    for home in (folder.parent, folder.parent.parent):
        if (home / LOG_FOLDER / CHECKPOINT).is_file():
            return home / LOG_FOLDER
    return None


def log_of(home: Path) -> Path | None:
    """Without its checkpoint, too: that is missing then."""
    log = home / LOG_FOLDER
    return log if log.is_dir() else None


def _of_interview(folder: Path, interview_id: str) -> Path:
    try:
        path = recording_path(folder, interview_id)
    except ValueError as error:
        raise ConfigError(f"There is no file or folder {interview_id}.") from error
    if not (path / MANIFEST_NAME).is_file():
        raise ConfigError(
            f"There is no file or folder {interview_id}, and no recording of an interview of that "
            f"id in {folder}: `vivavoce recordings` lists them, --data-dir says where to look."
        )
    return path
