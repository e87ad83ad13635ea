"""Checks the server's log, and reads what it says of a recording: all of it, or proofs.

Needs the public key alone. What that says against a recording is `verify`'s.
"""

from importlib.resources.abc import Traversable
from pathlib import Path

from server.recorder.evidence.checkpoint import read_checkpoint
from server.recorder.evidence.fault import Fault
from server.recorder.evidence.proof import Proof, check_proof, parse_proof
from server.recorder.evidence.tiles import CHECKPOINT, TILES, Tiles
from server.recorder.evidence.tlog import FOLDER, Entry, EntryKind, parse_entry, read_log
from server.recorder.format.manifest import MANIFEST_NAME
from server.recorder.format.merkle import consistency_path, is_consistent
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import ServerKey

LOG_FILE = f"{FOLDER}/{CHECKPOINT}"
#: Of an entry that was taken out of a log, and of the proof that it is in it.
ENTRY, PROOF = ".entry", ".tlog-proof"


def lost_recordings(recordings: Path, public_key: ServerKey, log: Path) -> list[Fault]:
    """Those that the log knows, that were not erased, and that are not there any more.

    SegmentError where the log is not authentic; OSError.
    """
    entries = read_log(log, public_key).entries
    newest = {entry.interview: entry for entry in entries if entry.recording}
    erased = {entry.interview for entry in entries if entry.kind is EntryKind.ERASED}
    return [
        Fault(FaultKind.MISSING, name, "the whole recording is gone", 0.0, entry.end_us / 1e6)
        for name, entry in newest.items()
        if name not in erased and not (recordings / name / MANIFEST_NAME).exists()
    ]


def check_log(log: Path, public_key: ServerKey, since: bytes | None) -> list[Fault]:
    """What is wrong with the log, also in the light of a checkpoint that was kept. OSError."""
    try:
        now = read_log(log, public_key, "").checkpoint
        then = read_checkpoint(since, public_key) if since is not None else now
        if then.origin != now.origin:
            message = f"another log, {now.origin}, lies in the place of {then.origin}"
            return [Fault(FaultKind.TAMPERED, LOG_FILE, message)]
        if then.size > now.size:
            message = f"put back to {now.size} entries, while {then.size} were published"
            return [Fault(FaultKind.ROLLED_BACK, LOG_FILE, message)]
        path = consistency_path(then.size, now.size, Tiles(log).range_hash)
        if not is_consistent(then.size, now.size, then.root, now.root, path):
            message = "it does not go on from the checkpoint that was kept"
            return [Fault(FaultKind.TAMPERED, LOG_FILE, message)]
    except SegmentError as error:
        return [log_fault(error)]
    except FileNotFoundError:
        if not log.is_dir():
            raise
        return [Fault(FaultKind.MISSING, LOG_FILE, "there is no checkpoint")]
    return []


def log_fault(error: SegmentError) -> Fault:
    """What is wrong with the log, or with proofs of it: in a file of its folder."""
    return Fault(error.kind, f"{FOLDER}/{error.file or CHECKPOINT}", error.message)


def logged_of(
    log: Traversable, key: ServerKey, recording: str, *, whole: bool = False
) -> tuple[Entry, ...]:
    """What a log says of a recording, in order: a whole log, or a folder of entries with proofs.

    ``whole``: it has to be the former, as where a server writes it; for whoever chooses the proofs
    leaves out what they like. SegmentError where it is not authentic; OSError.
    """
    proofs = [file for file in log.iterdir() if file.name.endswith(PROOF)]
    if whole or not proofs or log.joinpath(TILES).is_dir():
        return read_log(log, key, recording).entries
    published = read_whole(log.joinpath(CHECKPOINT))
    read_checkpoint(published, key)
    proved = [_proved(log, file, published, key) for file in proofs]
    in_order = (entry for _, entry in sorted(proved, key=lambda each: each[0]))
    return tuple(entry for entry in in_order if entry.recording == recording)


def _proved(
    log: Traversable, file: Traversable, published: bytes, key: ServerKey
) -> tuple[int, Entry]:
    """The entry that a proof is of, and where the log has it. SegmentError; OSError."""
    name = file.name.removesuffix(PROOF) + ENTRY
    proof = _read_proof(file, published)
    try:
        leaf = read_whole(log.joinpath(name))
        check_proof(proof, leaf, key)
    except FileNotFoundError as error:
        raise SegmentError(FaultKind.MISSING, f"{file.name} is of it", name) from error
    except SegmentError as error:
        message = f"{file.name} does not prove it: {error.message}"
        raise SegmentError(error.kind, message, name) from error
    entry = parse_entry(leaf)
    if entry is None:
        raise SegmentError(FaultKind.TAMPERED, "it is no entry of this program", name)
    return proof.index, entry


def _read_proof(file: Traversable, published: bytes) -> Proof:
    try:
        proof = parse_proof(read_whole(file).decode())
    except UnicodeDecodeError as error:
        raise SegmentError(FaultKind.TAMPERED, "the proof is no text", file.name) from error
    except SegmentError as error:
        raise SegmentError(error.kind, error.message, file.name) from error
    if proof.checkpoint != published:
        message = "it is not of the checkpoint that lies beside it"
        raise SegmentError(FaultKind.TAMPERED, message, file.name)
    return proof
