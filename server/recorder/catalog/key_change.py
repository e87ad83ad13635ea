"""Has another key sign from now on; what the former one has signed stays provable.

In this order, each step durable before the next: the new key is put beside the former; the list of
signing keys, signed by both, names it; the log, still under the former's signature, tells of it;
the new key signs the log; it takes the place of the former, which is overwritten. After the second
step the change holds: :func:`finish` does the rest, also after a crash.
"""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from server.recorder.catalog.recordings import read_manifest, recording_folders
from server.recorder.evidence.tlog import FOLDER as LOG_FOLDER
from server.recorder.evidence.tlog import Entry, EntryKind, open_log
from server.recorder.format.manifest import State
from server.recorder.format.sealing import SegmentError
from server.recorder.format.server_key import ServerKey, raw
from server.recorder.keys import succession
from server.recorder.keys.key_ring import (
    NEXT_SIGNING_KEY,
    SIGNING_KEY,
    SIGNING_PUB,
    load_public_key,
    open_database,
    open_signer,
    private_pem,
)
from server.recorder.keys.root_key import KeyProblem
from server.recorder.keys.succession import Signed, Succession, succession_hash
from server.recorder.stores.files import overwrite, sync_directory, write_durably


def rotate_signer(data_dir: Path, now_us: int) -> ServerKey:
    """Make a new key that signs; nobody may record there meanwhile. ``now_us``: Unix microseconds.

    One that was cut off is ended instead. KeyProblem, also where a crash left a recording that is
    not repaired yet; LogProblem; OSError.
    """
    folder = data_dir / "keys"
    if not finish(data_dir):
        former = open_signer(folder, open_database(folder))
        _refuse_open(data_dir)
        log = open_log(data_dir / LOG_FOLDER, former)
        known = _known(folder)
        made = Ed25519PrivateKey.generate()
        write_durably(folder / NEXT_SIGNING_KEY, private_pem(made))
        signed = succession.sign(
            Succession(
                "vivavoce-succession",
                succession.VERSION,
                len(known) + 1,
                raw(former.public_key()).hex(),
                raw(made.public_key()).hex(),
                now_us,
                log.tree.size,
                log.tree.root.hex(),
            ),
            former,
            made,
        )
        write_durably(folder / succession.FILE, succession.encode((*known, signed)))
        os.chmod(folder / succession.FILE, 0o644)
        finish(data_dir)
    return load_public_key(folder / SIGNING_PUB)


def finish(data_dir: Path) -> bool:
    """End a change that was cut off; whether there was one. KeyProblem; LogProblem; OSError."""
    folder = data_dir / "keys"
    known, pending = _known(folder), folder / NEXT_SIGNING_KEY
    if not known or not pending.exists():
        return False
    made, former = _load(pending), _load(folder / SIGNING_KEY)
    change = known[-1].succession
    ours = raw(former.public_key()).hex(), raw(made.public_key()).hex()
    if ours != (change.former, change.key):
        return False  # made, and never signed for
    _tell_log(data_dir / LOG_FOLDER, change, former, made)
    held = os.open(folder / SIGNING_KEY, os.O_WRONLY)
    try:
        os.replace(pending, folder / SIGNING_KEY)
        sync_directory(folder)
        overwrite(held)
    finally:
        os.close(held)
    open_signer(folder, open_database(folder))  # which publishes it
    return True


def _tell_log(
    folder: Path, change: Succession, former: Ed25519PrivateKey, made: Ed25519PrivateKey
) -> None:
    log = open_log(folder, former, made.public_key())
    entry = Entry(EntryKind.ROTATED, "", "", 0, "", 0, 0, "", change.at_us, succession_hash(change))
    if log.tree.size == change.log_size:  # nobody else appends before the change has ended
        log.append([entry])
    open_log(folder, made, former.public_key())


def _refuse_open(data_dir: Path) -> None:
    public_key = load_public_key(data_dir / "keys" / SIGNING_PUB)
    for path in recording_folders(data_dir):
        try:
            state = read_manifest(path, public_key).state
        except SegmentError:
            continue  # `verify` says what is wrong with it, and will
        if state is State.RECORDING:
            raise KeyProblem(
                f"a crash has cut the recording of {path.name}: start the server, which repairs "
                "it, and stop it again; then change the key"
            )


def _known(folder: Path) -> tuple[Signed, ...]:
    path = folder / succession.FILE
    try:
        return succession.decode(path.read_bytes())
    except FileNotFoundError:
        return ()
    except SegmentError as error:
        raise KeyProblem(
            f"{path} is not as it was written ({error.message}): restore it"
        ) from error


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except ValueError as error:
        raise KeyProblem(f"{path} is not a private key in PEM: restore it") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyProblem(f"{path} is not an Ed25519 key: restore it")
    return key
