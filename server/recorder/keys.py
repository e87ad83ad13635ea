"""The recorder's keys: a root key wraps the candidates' keys, those wrap the recordings', and
another signs.

Layout of ``data/keys``: ``keys.sqlite``, the wrapped keys; ``root.key``, the root key unless it
lies elsewhere; ``signing.key`` (PKCS #8 PEM), all three mode 0600; for whoever verifies, in PEM,
``signing.pub`` and, once something is signed for C2PA, ``c2pa-root.pem``. They lie apart from the
recordings: destroying a candidate's key erases what it opens and leaves its evidence checkable;
another root key rewraps the keys and touches no media.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from server.recorder import claim_signer
from server.recorder.claim_signer import ClaimSigner
from server.recorder.files import write_durably
from server.recorder.key_database import CandidateKey, KeyDatabase, KeyWriter
from server.recorder.root_key import (
    FileRootKey,
    KeyProblem,
    RootKey,
    Wrapped,
    open_key,
    seal_key,
)
from server.recorder.sealing import KEY_BYTES

DATABASE = "keys.sqlite"
ROOT_KEY = "root.key"
SIGNING_KEY = "signing.key"
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

    def __init__(self, database: KeyDatabase, root: RootKey, signer: Ed25519PrivateKey) -> None:
        self.database = database
        self.root = root
        self.signer = signer
        self._opened: dict[str, tuple[Wrapped, bytes]] = {}  # by candidate
        self._claim_signer: ClaimSigner | None = None

    @property
    def public_key(self) -> bytes:
        """The 32 bytes that :func:`server.recorder.verify.verify` takes."""
        return self.signer.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

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
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_database(folder)
    root = root or FileRootKey(folder / ROOT_KEY)
    signer = open_signer(folder, database)
    _try_out(root, database)
    return KeyRing(database, root, signer)


def open_database(folder: Path) -> KeyDatabase:
    """Made at first use. KeyProblem."""
    path = folder / DATABASE
    if not path.exists() and (folder / SIGNING_KEY).exists():
        raise KeyProblem(
            f"the key database {path} is missing: put its newest backup back. If there is none, "
            "what was recorded can't be opened any more; an empty file of that name begins anew"
        )
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
        if database.wrapped_by() or database.destroyed():
            raise KeyProblem(
                f"{path} is missing, and recordings exist that it signed: restore it "
                "(docs/operations.md says what to do if there is no copy)"
            )
        pem = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        write_durably(path, pem)
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except ValueError as error:
        raise KeyProblem(f"{path} is not a private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyProblem(f"{path} is not an Ed25519 key")
    _publish(
        folder / SIGNING_PUB,
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )
    return key


def load_public_key(path: Path) -> bytes:
    """The 32 bytes of an Ed25519 public key in PEM. KeyProblem if it is none; OSError."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except ValueError as error:
        raise KeyProblem(f"{path.name} is not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyProblem(f"{path.name} is not an Ed25519 key")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def fingerprint(public_key: bytes) -> str:
    """SHA-256 in hex of the 32 bytes' SubjectPublicKeyInfo in DER, as `openssl` gives it too."""
    key = Ed25519PublicKey.from_public_bytes(public_key)
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def _publish(path: Path, pem: bytes) -> None:
    if not path.exists() or path.read_bytes() != pem:
        write_durably(path, pem)
        os.chmod(path, 0o644)


# ---- the root key -----------------------------------------------------------------------


def _try_out(root: RootKey, database: KeyDatabase) -> None:
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
    return (
        f"the root key is to be {ours}, but {theirs} wraps the keys here: say --root-key {theirs} "
        f"(VIVAVOCE_ROOT_KEY), or move them: vivavoce keys rotate --root-key {ours} --from {theirs}"
    )


def _candidate_context(candidate: str) -> str:
    return f"{CANDIDATE_CONTEXT}:{candidate}"


def _recording_context(candidate: str, recording_id: bytes, interview_id: str) -> str:
    return f"{RECORDING_CONTEXT}:{candidate}:{recording_id.hex()}:{interview_id}"
