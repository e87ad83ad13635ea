"""The wrapped keys of candidates, recordings and the claim signer: one SQLite file of its own.

Apart from everything else, because erasing is done here: what is deleted must be gone from the
file and from what SQLite leaves beside it, and backups of it must die within a day. Hence a
rollback journal, not a WAL: a log keeps copies of old pages for as long as it likes, while a
persistent journal is one more file, which `_without_traces` can overwrite; and the file alone
is a whole copy. It is written a few times an interview, so the cost of that does not matter.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.recorder.keys.root_key import KeyProblem, KeyUnavailable, Wrapped
from server.recorder.stores.files import overwrite, sync_directory, write_durably

#: Written to `PRAGMA user_version`; a file of a newer program is refused, not guessed at.
SCHEMA_VERSION = 2
#: How long one process waits for another's transaction; in it one may wrap by a key service.
BUSY_TIMEOUT_S = 10.0

#: What each version adds to the one before.
_SCHEMA = (
    """
CREATE TABLE candidate_keys (
    candidate TEXT PRIMARY KEY,
    interview TEXT NOT NULL UNIQUE,
    root_key TEXT,
    version TEXT,
    wrapped BLOB,
    destroyed_us INTEGER,
    CHECK ((wrapped IS NULL) = (destroyed_us IS NOT NULL))
) STRICT;
CREATE TABLE recording_keys (
    recording TEXT NOT NULL,
    candidate TEXT NOT NULL REFERENCES candidate_keys,
    wrapped BLOB NOT NULL,
    PRIMARY KEY (recording, candidate)
) STRICT;
""",
    """
CREATE TABLE claim_signer (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    chain TEXT NOT NULL,
    root_key TEXT NOT NULL,
    version TEXT NOT NULL,
    wrapped BLOB NOT NULL
) STRICT;
""",
)
_CANDIDATE = (
    "SELECT candidate, interview, root_key, version, wrapped, destroyed_us FROM candidate_keys"
)
_WRAPPED = (
    "SELECT root_key, version FROM candidate_keys WHERE wrapped IS NOT NULL "
    "UNION ALL SELECT root_key, version FROM claim_signer"
)


@dataclass(frozen=True, slots=True)
class CandidateKey:
    """A row: which root key wrapped it; no key, but a time, once it was destroyed."""

    candidate: str
    interview: str
    root_key: str
    wrapped: Wrapped | None
    destroyed_us: int | None

    def existing(self) -> Wrapped:
        """KeyProblem if it was destroyed."""
        if self.wrapped is None:
            raise KeyProblem(f"the key of interview {self.interview} was destroyed")
        return self.wrapped


@dataclass(frozen=True, slots=True)
class SignerRow:
    """What signs exports for C2PA: certificates in PEM, the signer's first, and its wrapped key."""

    chain: str
    root_key: str
    wrapped: Wrapped


class KeyDatabase:
    """Each call opens the file, and is durable when it returns; several processes may call.

    KeyProblem where the file can't be used, KeyUnavailable where another process holds it long.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file, mode 0600, made if there is none."""
        self.path = path
        try:
            path.touch(mode=0o600)  # its journal follows suit
        except OSError as error:
            raise KeyProblem(f"{path} can't be opened: {error.strerror}") from error
        with self._transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise KeyProblem(
                    f"{path} has format {version}, this program knows {SCHEMA_VERSION}: "
                    "use the newer program that wrote it"
                )
            if version < SCHEMA_VERSION:
                for statement in "".join(_SCHEMA[version:]).split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if version < SCHEMA_VERSION:
            sync_directory(path.parent)  # also the journal's name

    def candidate_of(self, interview_id: str) -> CandidateKey:
        """KeyProblem if there never was one."""
        with self._connection() as db:
            row = _candidate(db, interview_id)
        if row is None:
            raise KeyProblem(f"the key database has no key of interview {interview_id}")
        return row

    def recording_key(self, recording_id: str, candidate: str) -> bytes | None:
        """As the candidate's key wrapped it."""
        query = "SELECT wrapped FROM recording_keys WHERE recording = ? AND candidate = ?"
        with self._connection() as db:
            row = db.execute(query, (recording_id, candidate)).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def writing(self) -> Iterator["KeyWriter"]:
        """A transaction, so that no other process changes anything meanwhile."""
        with self._transaction() as db:
            yield KeyWriter(db)

    def wrapped_by(self) -> dict[tuple[str, str], int]:
        """How many keys each version of each root key wraps: (name, version)."""
        query = f"SELECT root_key, version, count(*) FROM ({_WRAPPED}) GROUP BY root_key, version"
        with self._connection() as db:
            return {(name, version): count for name, version, count in db.execute(query)}

    def signer(self) -> SignerRow | None:
        """What signs for C2PA; None until it is made."""
        with self._connection() as db:
            return _signer(db)

    def wrapped(self) -> list[CandidateKey]:
        """The candidates' keys that were not destroyed."""
        with self._connection() as db:
            rows = db.execute(f"{_CANDIDATE} WHERE wrapped IS NOT NULL ORDER BY candidate")
            return list(map(_row, rows))

    def destroyed(self) -> int:
        """How many candidates' keys were."""
        query = "SELECT count(*) FROM candidate_keys WHERE wrapped IS NULL"
        with self._connection() as db:
            count: int = db.execute(query).fetchone()[0]
            return count

    def rewrap(self, before: CandidateKey, root_key: str, wrapped: Wrapped) -> None:
        """Replace a candidate's wrapped key, unless it is another than ``before`` by now."""
        row = before.candidate, before.existing().data
        with self._transaction() as db:
            db.execute(
                "UPDATE candidate_keys SET root_key = ?, version = ?, wrapped = ? "
                "WHERE candidate = ? AND wrapped = ?",
                (root_key, wrapped.version, wrapped.data, *row),
            )

    def destroy(self, interview_id: str, at_us: int) -> bool:
        """Overwrite the candidate's key and those it wrapped; False if there is none to destroy.

        That the candidate existed, and when the key went, stays. ``at_us``: Unix microseconds.
        """
        with self._without_traces() as db:
            found = db.execute(
                "UPDATE candidate_keys SET root_key = NULL, version = NULL, wrapped = NULL, "
                "destroyed_us = ? WHERE interview = ? AND wrapped IS NOT NULL",
                (at_us, interview_id),
            )
            db.execute(
                "DELETE FROM recording_keys WHERE candidate IN "
                "(SELECT candidate FROM candidate_keys WHERE wrapped IS NULL)"
            )
            return found.rowcount == 1

    def scrub(self) -> None:
        """Overwrite what was replaced, or destroyed by a process that crashed over it."""
        with self._without_traces():
            pass

    def back_up(self, path: Path) -> None:
        """Write a whole copy to ``path``, replaced at once, mode 0600. OSError."""
        with self._connection() as db, _committed(db, "IMMEDIATE"):
            copy = db.serialize()
        write_durably(path, copy)

    # ---- connections --------------------------------------------------------------------

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            # Never made here: an empty one in place of a lost one would be taken for a new one.
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=rw",
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                uri=True,
            )
            with closing(connection) as db:
                db.execute("PRAGMA journal_mode = PERSIST")
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA secure_delete = ON")
                db.execute("PRAGMA temp_store = MEMORY")  # VACUUM's copy
                db.execute("PRAGMA foreign_keys = ON")
                yield db
        except sqlite3.OperationalError as error:
            if not self.path.exists():
                raise is_missing(self.path) from error
            kind = KeyUnavailable if _is_busy(error) else KeyProblem
            raise kind(f"the key database {self.path} can't be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise KeyProblem(
                f"{self.path} is damaged ({error}): put a backup back (docs/operations.md)"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as db, _committed(db, "IMMEDIATE"):
            yield db

    @contextmanager
    def _without_traces(self) -> Iterator[sqlite3.Connection]:
        """A transaction after which no byte of what it deleted is left in the files.

        `secure_delete` overwrites deleted rows, VACUUM what moving rows about left between them,
        and the journal, which holds all of that as it was, we overwrite ourselves, while nobody
        else can begin one: in this mode the lock outlasts the transactions.
        """
        with self._connection() as db:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            with _committed(db, "EXCLUSIVE"):
                yield db
            db.execute("VACUUM")
            fd = os.open(f"{self.path}-journal", os.O_WRONLY)
            try:
                overwrite(fd)
            finally:
                os.close(fd)


class KeyWriter:
    """What may be done within :meth:`KeyDatabase.writing`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def candidate_of(self, interview_id: str) -> CandidateKey | None:
        return _candidate(self._db, interview_id)

    def add_candidate(self, made: CandidateKey) -> None:
        wrapped = made.existing()
        self._db.execute(
            "INSERT INTO candidate_keys VALUES (?, ?, ?, ?, ?, NULL)",
            (made.candidate, made.interview, made.root_key, wrapped.version, wrapped.data),
        )

    def add_recording(self, recording_id: str, candidate: str, wrapped: bytes) -> None:
        self._db.execute(
            "INSERT INTO recording_keys VALUES (?, ?, ?)", (recording_id, candidate, wrapped)
        )

    def versions(self) -> set[str]:
        """Of root keys, that something is wrapped by."""
        query = f"SELECT DISTINCT version FROM ({_WRAPPED})"
        return {version for (version,) in self._db.execute(query)}

    def signer(self) -> SignerRow | None:
        return _signer(self._db)

    def keep_signer(self, row: SignerRow) -> None:
        """In place of the one that is there, if any."""
        self._db.execute(
            "INSERT OR REPLACE INTO claim_signer VALUES (1, ?, ?, ?, ?)",
            (row.chain, row.root_key, row.wrapped.version, row.wrapped.data),
        )


def is_missing(path: Path) -> KeyProblem:
    return KeyProblem(
        f"the key database {path} is missing: put its newest backup back. If there is none, "
        "what was recorded can't be opened any more; an empty file of that name begins anew"
    )


@contextmanager
def _committed(db: sqlite3.Connection, kind: str) -> Iterator[None]:
    db.execute(f"BEGIN {kind}")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _candidate(db: sqlite3.Connection, interview_id: str) -> CandidateKey | None:
    row = db.execute(f"{_CANDIDATE} WHERE interview = ?", (interview_id,)).fetchone()
    return None if row is None else _row(row)


def _signer(db: sqlite3.Connection) -> SignerRow | None:
    row = db.execute("SELECT chain, root_key, version, wrapped FROM claim_signer").fetchone()
    return None if row is None else SignerRow(row[0], row[1], Wrapped(row[2], row[3]))


def _row(row: tuple[str, str, str | None, str | None, bytes | None, int | None]) -> CandidateKey:
    candidate, interview, root_key, version, data, destroyed_us = row
    wrapped = None if data is None else Wrapped(version or "", data)
    return CandidateKey(candidate, interview, root_key or "", wrapped, destroyed_us)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
