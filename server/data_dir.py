"""What lies in the data directory beside recordings, for the server and its commands.

Light: a command that needs no server loads none.
"""

import contextlib
import json
import os
import secrets
from pathlib import Path

from server.config import ConfigError
from server.recorder.stores.files import make_folder, sync_directory
from server.signaling.exports import FOLDER as EXPORTS
from server.signaling.tokens import KEY_BYTES
from server.store import Store, StoreError

DATABASE = "vivavoce.sqlite"
SERVER_FILE = "server.json"
LINKS_KEY = Path("keys") / "links.key"
METRICS_TOKEN = Path("keys") / "metrics.token"


def prepare_data_dir(path: Path) -> None:
    """Make the data directory if there is none. Raises ConfigError unless it can be written."""
    try:
        make_folder(path / "keys")
        for folder in (path, path / EXPORTS):
            make_folder(folder)
            probe = folder / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"The data directory {path} can't be written ({error.filename}: {error.strerror}): "
            "give another one with --data-dir, or change its owner."
        ) from error


def links_key(data_dir: Path) -> bytes:
    """The key of all links, made at first use. Raises ConfigError."""
    path = data_dir / LINKS_KEY
    key = _kept(path, secrets.token_bytes(KEY_BYTES))
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} is damaged: restore it, or remove it and invite again.")
    return key


def metrics_token(data_dir: Path) -> str:
    """What whoever reads `/metrics` has to show, made at first use. Raises ConfigError."""
    path = data_dir / METRICS_TOKEN
    token = _kept(path, secrets.token_urlsafe(KEY_BYTES).encode()).decode(errors="replace").strip()
    if len(token) < KEY_BYTES:
        raise ConfigError(f"{path} is damaged: restore it, or remove it for another one.")
    return token


def open_database(data_dir: Path) -> Store:
    """For one thread; raises ConfigError."""
    try:
        return Store(data_dir / DATABASE)
    except StoreError as error:
        raise ConfigError(str(error)) from error


def announced_url(data_dir: Path) -> str | None:
    """Where the server that runs on this data directory is; None if none has said so."""
    url = announcement(data_dir).get("url")
    return None if url is None else str(url)


def announcement(data_dir: Path) -> dict[str, object]:
    """What the server that runs on this data directory says of itself: `url` and `pid`."""
    try:
        said = json.loads((data_dir / SERVER_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _kept(path: Path, fresh: bytes) -> bytes:
    """What the file holds: `fresh` if there was none."""
    if not path.exists():
        part = path.with_name(f"{path.stem}.{secrets.token_hex(8)}.part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(fresh)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was faster: use its own
            os.link(part, path)
        part.unlink()
        sync_directory(path.parent)  # links that were given away survive a power cut
    return path.read_bytes()
