"""What lies behind a data directory's flags: its keys, and the store of its recordings."""

import argparse
import os
from pathlib import Path

from server.config import ConfigError, root_key, store
from server.recorder.keys.key_ring import KeyRing, open_keys
from server.recorder.keys.root_key import KeyProblem
from server.recorder.keys.root_keys import open_root_key
from server.recorder.stores.store import Store, open_store


def open_keys_of(folder: Path, flags: argparse.Namespace) -> KeyRing:
    """Raises ConfigError."""
    name = root_key(flags, os.environ)
    try:
        return open_keys(folder / "keys", open_root_key(name, folder / "keys", os.environ))
    except (KeyProblem, OSError) as error:
        raise ConfigError(f"The recordings' keys can't be used: {error}.") from error


def open_store_of(flags: argparse.Namespace) -> Store | None:
    """None where recordings stay in the data directory. ConfigError; OSError."""
    where = store(flags, os.environ)
    return open_store(where) if where else None
