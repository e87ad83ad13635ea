"""Interviews, links, events and viewings in one SQLite file, by SQLAlchemy Core.

`Store` is synchronous and belongs to one thread at a time; a server uses it through
`AsyncStore`, which owns that thread. Several processes may open the same file: the command
line writes while the server runs (WAL, see https://sqlite.org/wal.html).
"""

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from server.core.interviews import InterviewState, Role, Way
from server.priority import take_no_core

#: Written to `PRAGMA user_version`; a file of a newer program is refused, not guessed at.
SCHEMA_VERSION = 1
#: How long a writer waits for another process's transaction.
BUSY_TIMEOUT_MS = 5_000

_P = ParamSpec("_P")
_T = TypeVar("_T")

metadata = sa.MetaData()

interviews = sa.Table(
    "interviews",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created_s", sa.Float, nullable=False),
    sa.Column("started_s", sa.Float),
)

links = sa.Table(
    "links",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("interview_id", sa.ForeignKey("interviews.id"), index=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_s", sa.Float, nullable=False),
    sa.Column("expires_s", sa.Integer, nullable=False),
    sa.Column("revoked_s", sa.Float),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("interview_id", sa.ForeignKey("interviews.id"), nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("link_id", sa.ForeignKey("links.id")),
    sa.Column("at_s", sa.Float, nullable=False),
)

viewings = sa.Table(
    "viewings",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("interview_id", sa.Text, nullable=False, index=True),
    sa.Column("link_id", sa.ForeignKey("links.id")),
    sa.Column("way", sa.Text, nullable=False),
    sa.Column("began_s", sa.Float, nullable=False),
    sa.Column("last_s", sa.Float, nullable=False),
    sa.Column("start_s", sa.Float, nullable=False),
    sa.Column("end_s", sa.Float, nullable=False),
)

#: Files made of recordings, each until it is removed; who asked for it says the viewing.
exports = sa.Table(
    "exports",
    metadata,
    sa.Column("id", sa.ForeignKey("viewings.id"), primary_key=True),
    sa.Column("recording", sa.Text, nullable=False),
    sa.Column("start_us", sa.Integer, nullable=False),
    sa.Column("end_us", sa.Integer, nullable=False),
    sa.Column("transcode", sa.Boolean, nullable=False),
    sa.Column("asked_s", sa.Float, nullable=False),
    sa.Column("until_s", sa.Float),
    sa.Column("fault", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("head", sa.Integer, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("statement", sa.LargeBinary, nullable=False),
)


def _sql(statement: sa.Select[Any] | sqlite.Insert) -> str:
    return str(statement.compile(dialect=sqlite.dialect()))


_KEEP_VIEWING = sqlite.insert(viewings)
#: What is asked with each request of whoever replays, as the driver takes it: SQLAlchemy's way
#: there costs four times as much, which live media feel.
_LINK_SQL = _sql(sa.select(links).where(links.c.id == sa.bindparam("id")))
_KEEP_VIEWING_SQL = _sql(
    _KEEP_VIEWING.on_conflict_do_update(
        [viewings.c.id],
        set_={name: _KEEP_VIEWING.excluded[name] for name in ("last_s", "start_s", "end_s")},
    )
)

#: What happened is added to and never changed; who viewed what only grows: by whatever program.
_RULES = (
    *(
        sa.text(
            f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
        for table, verb in (("events", "update"), ("events", "delete"), ("viewings", "delete"))
    ),
    sa.text(
        "CREATE TRIGGER IF NOT EXISTS viewings_only_grow BEFORE UPDATE ON viewings "
        "WHEN NOT (NEW.id IS OLD.id AND NEW.interview_id IS OLD.interview_id "
        "AND NEW.link_id IS OLD.link_id AND NEW.way IS OLD.way AND NEW.began_s IS OLD.began_s "
        "AND NEW.last_s >= OLD.last_s AND NEW.start_s <= OLD.start_s AND NEW.end_s >= OLD.end_s) "
        "BEGIN SELECT RAISE(ABORT, 'viewings is append-only'); END"
    ),
)


class StoreError(Exception):
    """The database can't be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Interview:
    id: str
    title: str
    state: InterviewState
    created_s: float
    started_s: float | None


@dataclass(frozen=True, slots=True)
class Link:
    """``interview_id`` is None for the owner's link."""

    id: str
    interview_id: str | None
    role: Role
    created_s: float
    expires_s: int
    revoked_s: float | None


@dataclass(frozen=True, slots=True)
class Event:
    interview_id: str
    name: str
    link_id: str | None
    at_s: float


@dataclass(frozen=True, slots=True)
class Viewing:
    """Who (the link) read which seconds of a recording, how, and from when to when.

    ``link_id`` is None for the machine's operator, who needs no link.
    """

    id: str
    interview_id: str
    link_id: str | None
    way: Way
    began_s: float
    last_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class KeptExport:
    """``id`` is its viewing's; ``recording`` is the recording's id in hex.

    ``until_s`` is None while it is made; then it has a ``fault``, or a file of which the rest is.
    """

    id: str
    recording: str
    start_us: int
    end_us: int
    transcode: bool
    asked_s: float
    until_s: float | None = None
    fault: str = ""
    size: int = 0
    head: int = 0
    sha256: str = ""
    statement: bytes = b""


def new_id() -> str:
    """80 random bits: unguessable enough for a name; the secret is the token's MAC."""
    return secrets.token_hex(10)


class Store:
    """Small typed functions over the tables; each is one transaction."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises StoreError."""
        self._engine = sa.create_engine(
            f"sqlite:///{path}", connect_args={"check_same_thread": False}
        )
        sa.event.listen(self._engine, "connect", _configure)
        try:
            path.touch(mode=0o600)  # titles are nobody else's; SQLite's other files follow suit
            self._create()
        except OSError as error:
            raise StoreError(f"{path} can't be opened: {error.strerror}") from error
        except sa.exc.DatabaseError as error:
            self._engine.dispose()
            raise StoreError(f"{path} can't be used as a database: {error.__cause__}") from error
        except StoreError:
            self._engine.dispose()
            raise
        self._pooled = self._engine.raw_connection()
        driver = self._pooled.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        self._driver = driver  # for the statements of `_sql`

    def _create(self) -> None:
        with self._engine.begin() as db:
            version: int = db.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"The database has format {version}, this program knows {SCHEMA_VERSION}: "
                    "use the newer program that wrote it."
                )
            metadata.create_all(db)
            for rule in _RULES:
                db.execute(rule)
            db.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        self._pooled.close()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- interviews ----

    def create_interview(self, title: str, now: float) -> Interview:
        interview = Interview(new_id(), title, InterviewState.WAITING, now, None)
        self._insert(interviews, interview)
        return interview

    def interview(self, interview_id: str) -> Interview | None:
        rows = self._select(sa.select(interviews).where(interviews.c.id == interview_id))
        return _interview(rows[0]) if rows else None

    def interviews(self) -> list[Interview]:
        """All interviews, the newest first."""
        return [
            _interview(r)
            for r in self._select(sa.select(interviews).order_by(interviews.c.created_s.desc()))
        ]

    def set_state(self, interview_id: str, state: InterviewState, started_s: float | None) -> None:
        with self._engine.begin() as db:
            db.execute(
                interviews.update()
                .where(interviews.c.id == interview_id)
                .values(state=state, started_s=started_s)
            )

    def interrupted_s(self, interview_id: str) -> float | None:
        """Since when the interview waits for its candidate to come back; None: it does not."""
        query = (
            sa.select(sa.func.max(events.c.at_s))
            .join(interviews)
            .where(interviews.c.id == interview_id)
            .where(interviews.c.state == InterviewState.INTERRUPTED)
        )
        at_s: float | None = self._select(query)[0][0]
        return at_s

    def interrupt_live(self, now: float) -> None:
        """At start: what was live when the last server was killed can be rejoined."""
        live = interviews.c.state == InterviewState.LIVE
        event = sa.literal("server-restarted"), sa.null(), sa.literal(now)
        columns = ["interview_id", "name", "link_id", "at_s"]
        noted = events.insert().from_select(columns, sa.select(interviews.c.id, *event).where(live))
        with self._engine.begin() as db:
            db.execute(noted)
            db.execute(interviews.update().where(live).values(state=InterviewState.INTERRUPTED))

    # ---- links ----

    def create_link(self, interview_id: str | None, role: Role, now: float, expires_s: int) -> Link:
        link = Link(new_id(), interview_id, role, now, expires_s, None)
        self._insert(links, link)
        return link

    def link(self, link_id: str) -> Link | None:
        rows = self._driver.execute(_LINK_SQL, [link_id]).fetchall()
        return _link(*rows[0]) if rows else None

    def links(self, interview_id: str | None) -> list[Link]:
        """The links of one interview (None: the owner's), the oldest first."""
        query = sa.select(links).where(links.c.interview_id.is_not_distinct_from(interview_id))
        return [_link(*tuple(row)) for row in self._select(query.order_by(links.c.created_s))]

    def revoke(self, link_id: str, now: float) -> bool:
        """Revoke a link for good; False if there is none. The first time of it stays."""
        with self._engine.begin() as db:
            found = db.execute(
                links.update()
                .where(links.c.id == link_id)
                .values(revoked_s=sa.func.coalesce(links.c.revoked_s, now))
            )
            return found.rowcount == 1

    def revoked(self, link_ids: Collection[str]) -> list[str]:
        """Those of ``link_ids`` that are revoked."""
        query = sa.select(links.c.id).where(
            links.c.id.in_(link_ids), links.c.revoked_s.is_not(None)
        )
        return [row[0] for row in self._select(query)]

    # ---- logs ----

    def add_event(self, event: Event) -> None:
        self._insert(events, event)

    def events(self, interview_id: str) -> list[Event]:
        query = sa.select(
            events.c.interview_id, events.c.name, events.c.link_id, events.c.at_s
        ).where(events.c.interview_id == interview_id)
        return [Event(*tuple(row)) for row in self._select(query.order_by(events.c.id))]

    def keep_viewings(self, grown: Sequence[Viewing]) -> None:
        """Add those that are new, lengthen those that are known by their ids."""
        rows = [tuple(_values(viewing).values()) for viewing in grown]
        with self._driver as transaction:
            transaction.executemany(_KEEP_VIEWING_SQL, rows)

    def keep_export(self, export: KeptExport) -> None:
        """As it is now."""
        with self._engine.begin() as db:
            db.execute(exports.insert().prefix_with("OR REPLACE").values(_values(export)))

    def forget_export(self, export_id: str) -> None:
        with self._engine.begin() as db:
            db.execute(exports.delete().where(exports.c.id == export_id))

    def exports(self) -> list[tuple[KeptExport, Viewing]]:
        """All with their viewings, in the order they were asked for."""
        rows = self._select(sa.select(exports).order_by(exports.c.asked_s))
        return [(KeptExport(*tuple(row)), self._viewing(row.id)) for row in rows]

    def _viewing(self, viewing_id: str) -> Viewing:
        return _viewing(self._select(sa.select(viewings).where(viewings.c.id == viewing_id))[0])

    def viewings(self, interview_id: str) -> list[tuple[Viewing, Role | None]]:
        """Those of one recording with the roles of their links, in the order they began."""
        query = (
            sa.select(viewings, links.c.role)
            .outerjoin(links, links.c.id == viewings.c.link_id)
            .where(viewings.c.interview_id == interview_id)
            .order_by(viewings.c.began_s, viewings.c.id)
        )
        return [
            (_viewing(row), Role(row.role) if row.role else None) for row in self._select(query)
        ]

    def _insert(self, table: sa.Table, row: Interview | Link | Event) -> None:
        with self._engine.begin() as db:
            db.execute(table.insert().values(_values(row)))

    def _select(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with self._engine.connect() as db:
            return db.execute(query).all()


def _values(row: Interview | Link | Event | Viewing | KeptExport) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


def _interview(row: sa.Row[Any]) -> Interview:
    return Interview(row.id, row.title, InterviewState(row.state), row.created_s, row.started_s)


def _link(id: str, interview_id: str | None, role: str, *when: Any) -> Link:
    return Link(id, interview_id, Role(role), *when)


def _viewing(row: sa.Row[Any]) -> Viewing:
    times = row.began_s, row.last_s, row.start_s, row.end_s
    return Viewing(row.id, row.interview_id, row.link_id, Way(row.way), *times)


def _configure(connection: Any, _: object) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a revocation survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")


class AsyncStore:
    """The same calls from an event loop, on one thread, in the order they were made."""

    def __init__(self, store: Store, thread: ThreadPoolExecutor) -> None:
        self._store = store
        self._thread = thread

    async def run(
        self, call: Callable[Concatenate[Store, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """``await db.run(Store.link, link_id)``. Raises StoreError: locked too long, disk full."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._thread, lambda: call(self._store, *args, **kwargs)
            )
        except sqlite3.OperationalError as error:
            raise StoreError(f"the database failed: {error}") from error
        except sa.exc.OperationalError as error:
            raise StoreError(f"the database failed: {error.orig}") from error


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[AsyncStore]:
    """Open the file and its thread; at the end, wait for what was begun and close both."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="store", initializer=take_no_core)
    try:
        loop = asyncio.get_running_loop()
        store = await loop.run_in_executor(thread, Store, path)
        try:
            yield AsyncStore(store, thread)
        finally:
            await loop.run_in_executor(thread, store.close)
    finally:
        thread.shutdown()
