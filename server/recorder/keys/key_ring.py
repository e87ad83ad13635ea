"""The recorder's keys: a root key wraps the candidates' keys, those wrap the recordings', and
another signs.

Layout of ``data/keys``: ``keys.sqlite``, the wrapped keys; ``root.key``, the root key unless it
lies elsewhere; ``signing.key`` (PKCS #8 PEM), all three mode 0600; for whoever verifies, in PEM,
``signing.pub`` and, once something is signed for C2PA, ``c2pa-root.pem``; and, once another key
signs than did at first, ``signing-keys.json``, which says how each gave way to the next. They
lie apart from the recordings: destroying a candidate's key erases what it opens and leaves its
evidence checkable; another root key rewraps the keys and touches no media.
"""

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from shlex import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from server.recorder.format.sealing import KEY_BYTES, SegmentError
from server.recorder.format.server_key import ServerKey, alone, raw
from server.recorder.keys import claim_signer, succession
from server.recorder.keys.claim_signer import ClaimSigner
from server.recorder.keys.key_database import CandidateKey, KeyDatabase, KeyWriter, is_missing
from server.recorder.keys.root_key import (
    FileRootKey,
    KeyProblem,
    RootKey,
    Wrapped,
    open_key,
    seal_key,
)
from server.recorder.stores.files import make_folder, write_durably

DATABASE = "keys.sqlite"
ROOT_KEY = "root.key"
SIGNING_KEY = "signing.key"
#: While one takes the other's place.
NEXT_SIGNING_KEY = "signing-next.key"
SIGNING_PUB = "signing.pub"
C2PA_ROOT = "c2pa-root.pem"
CANDIDATE_CONTEXT = "vivavoce/candidate-key/v1"
RECORDING_CONTEXT = "vivavoce/recording-key/v1"
#: What an interview's id may be, as it names files.
INTERVIEW_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: Unwrapped candidates' keys kept, so that a list of recordings asks a key service once for each.
_KEPT_KEYS = 4096


class KeyRing:
    """The keys of one data directory. Use :func:`open_keys`; calls may come from any thread.

    Every call that takes an interview may raise KeyProblem, and KeyUnavailable (try again).
    """

    def __init__(
        self, database: KeyDatabase, root: RootKey, signer: Ed25519PrivateKey, public_key: ServerKey
    ) -> None:
        self.database = database
        self.root = root
        self.signer = signer
        self.public_key = public_key  #: the signer's, and those that it has followed
        self._opened: dict[str, tuple[Wrapped, bytes]] = {}  # by candidate
        self._claim_signer: ClaimSigner | None = None

    def create_recording_key(self, interview_id: str, recording_id: bytes) -> bytes:
        """Make, wrap and store durably the key of a new recording."""
        key = secrets.token_bytes(KEY_BYTES)
        # In one transaction, so that no rotation can end between wrapping and writing: it would
        # leave this candidate's key to a version of the root key that it then forgets.
        with self.database.writing() as db:
            row = db.candidate_of(interview_id)
            candidate, by = self._open(row) if row else self._add_candidate(db, interview_id)
            context = _recording_context(candidate, recording_id, interview_id)
            db.add_recording(recording_id.hex(), candidate, seal_key(by, key, context))
        return key

    def recording_key(self, interview_id: str, recording_id: bytes) -> bytes:
        """Unwrap a recording's key. KeyProblem if it was destroyed or another key wrapped it."""
        candidate, by = self._open_candidate(interview_id)
        wrapped = self.database.recording_key(recording_id.hex(), candidate)
        if wrapped is None:
            raise KeyProblem(f"the key database has no key of the recording of {interview_id}")
        return open_key(by, wrapped, _recording_context(candidate, recording_id, interview_id))

    def claim_signer(self, now: float) -> ClaimSigner:
        """What signs for C2PA, made at first use; ``now`` is Unix time. KeyProblem; OSError."""
        if self._claim_signer is None:
            self._claim_signer = claim_signer.open_own(self.database, self.root, now)
            _publish(self.database.path.parent / C2PA_ROOT, self._claim_signer.anchor)
        return self._claim_signer

    def check(self, interview_id: str) -> None:
        """KeyProblem if the key was destroyed, perhaps by another process. Asks no key service."""
        row = self.database.candidate_of(interview_id)
        if row.wrapped is None:
            self._opened.pop(row.candidate, None)
        row.existing()

    def _add_candidate(self, db: KeyWriter, interview_id: str) -> tuple[str, bytes]:
        if not INTERVIEW_ID.fullmatch(interview_id):
            raise ValueError(f"not an interview id: {interview_id!r}")
        candidate, key = secrets.token_hex(16), secrets.token_bytes(KEY_BYTES)
        wrapped = self.root.wrap(key, _candidate_context(candidate))
        db.add_candidate(CandidateKey(candidate, interview_id, self.root.name, wrapped, None))
        self._keep(candidate, wrapped, key)
        return candidate, key

    def _open_candidate(self, interview_id: str) -> tuple[str, bytes]:
        self.check(interview_id)
        row = self.database.candidate_of(interview_id)
        try:
            return self._open(row)
        except KeyProblem:
            again = self.database.candidate_of(interview_id)
            if again == row:
                raise
            return self._open(again)  # a rotation has rewrapped it meanwhile

    def _open(self, row: CandidateKey) -> tuple[str, bytes]:
        wrapped = row.existing()
        known = self._opened.get(row.candidate)
        if known is not None and known[0] == wrapped:
            return row.candidate, known[1]
        key = _unwrap(self.root, row)
        self._keep(row.candidate, wrapped, key)
        return row.candidate, key

    def _keep(self, candidate: str, wrapped: Wrapped, key: bytes) -> None:
        if len(self._opened) >= _KEPT_KEYS:
            self._opened.clear()
        self._opened[candidate] = wrapped, key


def open_keys(folder: Path, root: RootKey | None = None) -> KeyRing:
    """Load the keys, making at first use those that are missing. KeyProblem or OSError.

    ``root`` None: the file in ``folder``. It is tried out here: both on a key that it wrapped
    and on a new one.
    """
    make_folder(folder)
    database = open_database(folder)
    root = root or FileRootKey(folder / ROOT_KEY)
    signer = open_signer(folder, database)
    try_out(root, database)
    return KeyRing(database, root, signer, load_public_key(folder / SIGNING_PUB))


def open_database(folder: Path) -> KeyDatabase:
    """Made at first use. KeyProblem."""
    path = folder / DATABASE
    if not path.exists() and (folder / SIGNING_KEY).exists():
        raise is_missing(path)
    return KeyDatabase(path)


def rotate(
    folder: Path, root: RootKey, former: RootKey, progress: Callable[[int, int], None]
) -> int:
    """Rewrap every key that a root key wraps by ``root``'s newest version; returns how many.

    ``former`` is what wraps them now: the same one, whose version is new or will be (of a file,
    one is made here), or another. Media is not touched. Whatever stops it, the same call goes on;
    a server may run meanwhile unless the root key is another one. KeyProblem; OSError.
    """
    database = open_database(folder)
    if isinstance(root, FileRootKey):
        _renew(root, database)
    version = root.version()
    stale = [row for row in database.wrapped() if not _is_by(row, root.name, version)]
    for done, row in enumerate(stale):
        progress(done, len(stale))
        by = root if row.root_key == root.name else former
        key = _unwrap(by, row)
        database.rewrap(row, root.name, root.wrap(key, _candidate_context(row.candidate)))
    count = len(stale) + claim_signer.rewrap(database, root, former)
    database.scrub()
    if isinstance(root, FileRootKey):
        with database.writing() as db:
            if db.versions() <= {version}:
                root.retire()
    return count


def open_signer(folder: Path, database: KeyDatabase) -> Ed25519PrivateKey:
    """The key that signs, made while there is nothing it could have signed. KeyProblem; OSError."""
    path = folder / SIGNING_KEY
    if not path.exists():
        made_before = database.wrapped_by() or database.destroyed()
        if made_before or (folder / succession.FILE).exists():
            raise KeyProblem(
                f"{path} is missing, and recordings exist that it signed: restore it "
                "(docs/operations.md says what to do if there is no copy)"
            )
        write_durably(path, private_pem(Ed25519PrivateKey.generate()))
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except ValueError as error:
        raise KeyProblem(f"{path} is not a private key in PEM: restore it from its copy") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyProblem(f"{path} is not an Ed25519 key: restore it from its copy")
    _check_newest(folder, key)
    _publish(
        folder / SIGNING_PUB,
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )
    return key


def _check_newest(folder: Path, signer: Ed25519PrivateKey) -> None:
    """KeyProblem unless it is the last of the list of signing keys, if there is one; OSError."""
    path = folder / succession.FILE
    try:
        signed = succession.decode(path.read_bytes())
    except FileNotFoundError:
        return
    except SegmentError as error:
        raise KeyProblem(
            f"{path} is not as it was written ({error.message}): restore it"
        ) from error
    newest, ours = signed[-1].succession.key, raw(signer.public_key()).hex()
    if newest == ours:
        return
    if (folder / NEXT_SIGNING_KEY).exists():
        raise KeyProblem(
            "a change of the signing key was cut off: `vivavoce keys rotate-signing` ends it, "
            "and so does a start of the server"
        )
    raise KeyProblem(
        f"{folder / SIGNING_KEY} is not the key that {path} names as the newest: restore both of "
        "the same, newest backup"
    )


def load_public_key(path: Path, list_file: Path | None = None) -> ServerKey:
    """An Ed25519 public key in PEM, and those that the list beside it tells of.

    ``list_file``: where else the list may lie. KeyProblem if it is no key; SegmentError where the
    list is not authentic, or of another server; OSError.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except ValueError as error:
        raise KeyProblem(f"{path.name} is not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyProblem(f"{path.name} is not an Ed25519 key")
    for each in (path.with_name(succession.FILE), list_file):
        if each is not None and each.is_file():
            return succession.follow(key, each.read_bytes())
    return alone(key)


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """As `SIGNING_KEY` has it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _publish(path: Path, pem: bytes) -> None:
    if not path.exists() or path.read_bytes() != pem:
        write_durably(path, pem)
        os.chmod(path, 0o644)


# ---- the root key -----------------------------------------------------------------------


def try_out(root: RootKey, database: KeyDatabase) -> None:
    """KeyProblem unless it opens what is wrapped here, a key of each version."""
    wrapped_by = database.wrapped_by()
    for name, _ in wrapped_by:
        if name != root.name:
            raise KeyProblem(_other_root_key(name, root.name))
    if isinstance(root, FileRootKey) and not wrapped_by and not root.path.exists():
        root.make()
    root.version()
    tried = set()
    for row in database.wrapped():
        if row.wrapped is not None and row.wrapped.version not in tried:
            tried.add(row.wrapped.version)
            _unwrap(root, row)


def _unwrap(root: RootKey, row: CandidateKey) -> bytes:
    if row.root_key != root.name:
        raise KeyProblem(_other_root_key(row.root_key, root.name))
    return root.unwrap(row.existing(), _candidate_context(row.candidate))


def _renew(root: FileRootKey, database: KeyDatabase) -> None:
    """Make a new version, unless the last rotation still has to end."""
    with database.writing():  # what another process is wrapping by the old one is written then
        if not root.path.exists() and root.name not in {name for name, _ in database.wrapped_by()}:
            root.make()
        elif database.wrapped_by().keys() <= {(root.name, root.version())}:
            root.renew()


def _is_by(row: CandidateKey, name: str, version: str) -> bool:
    return row.wrapped is not None and (row.root_key, row.wrapped.version) == (name, version)


def _other_root_key(theirs: str, ours: str) -> str:
    to, former = quote(ours), quote(theirs)
    return (
        f"the root key is to be {ours}, but {theirs} wraps the keys here: say --root-key {former} "
        f"(VIVAVOCE_ROOT_KEY), or move them: vivavoce keys rotate --root-key {to} --from {former}"
    )


def _candidate_context(candidate: str) -> str:
    return f"{CANDIDATE_CONTEXT}:{candidate}"


def _recording_context(candidate: str, recording_id: bytes, interview_id: str) -> str:
    return f"{RECORDING_CONTEXT}:{candidate}:{recording_id.hex()}:{interview_id}"
