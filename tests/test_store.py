import asyncio
import os
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from server.core.interviews import InterviewState, Role, Way
from server.store import (
    SCHEMA_VERSION,
    Event,
    KeptExport,
    Link,
    Store,
    StoreError,
    Viewing,
    open_store,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "db") as opened:
        yield opened


def test_an_interview_is_found_as_it_was_made(store: Store) -> None:
    made = store.create_interview("Backend engineer", 5.0)
    assert store.interview(made.id) == made
    assert store.interview("nothing") is None


def test_the_file_is_for_nobody_else(store: Store, tmp_path: Path) -> None:
    store.create_interview("one", 1.0)  # while open there are a log and its index too
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o600}


def test_a_file_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be opened"):
        Store(tmp_path / "no such folder" / "db")


def test_interviews_are_listed_newest_first(store: Store) -> None:
    older = store.create_interview("one", 1.0)
    newer = store.create_interview("two", 2.0)
    assert store.interviews() == [newer, older]


def test_the_state_is_kept(store: Store) -> None:
    made = store.create_interview("one", 1.0)
    store.set_state(made.id, InterviewState.LIVE, 3.5)
    found = store.interview(made.id)
    assert found is not None
    assert (found.state, found.started_s) == (InterviewState.LIVE, 3.5)


def test_only_what_was_live_is_interrupted_at_start(store: Store) -> None:
    live, ended = store.create_interview("a", 1.0), store.create_interview("b", 1.0)
    store.set_state(live.id, InterviewState.LIVE, 1.0)
    store.set_state(ended.id, InterviewState.ENDED, 1.0)
    assert store.interrupted_s(live.id) is None
    store.interrupt_live(7.0)
    states = {each.id: each.state for each in store.interviews()}
    assert states == {live.id: InterviewState.INTERRUPTED, ended.id: InterviewState.ENDED}
    assert [(each.name, each.at_s) for each in store.events(live.id)] == [("server-restarted", 7.0)]
    assert store.events(ended.id) == []
    assert [store.interrupted_s(each.id) for each in (live, ended)] == [7.0, None]


def test_links_belong_to_their_interview_or_to_the_owner(store: Store) -> None:
    interview = store.create_interview("a", 1.0)
    link = store.create_link(interview.id, Role.CANDIDATE, 1.0, 100)
    owner = store.create_link(None, Role.OWNER, 1.0, 100)
    assert store.links(interview.id) == [link]
    assert store.links(None) == [owner]
    assert store.link(link.id) == link


def test_a_link_needs_an_interview_that_exists(store: Store) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        store.create_link("nothing", Role.CANDIDATE, 1.0, 100)


def test_a_revoked_link_stays_revoked_since_the_first_time(store: Store) -> None:
    link = store.create_link(None, Role.OWNER, 1.0, 100)
    other = store.create_link(None, Role.OWNER, 1.0, 100)
    assert store.revoke(link.id, 7.0)
    assert store.revoke(link.id, 9.0)
    assert not store.revoke("nothing", 9.0)
    found = store.link(link.id)
    assert found is not None
    assert found.revoked_s == 7.0
    assert store.revoked({link.id, other.id}) == [link.id]


def test_events_come_back_in_order(store: Store) -> None:
    interview = store.create_interview("a", 1.0)
    link = store.create_link(interview.id, Role.RECRUITER, 1.0, 100)
    events = [Event(interview.id, name, link.id, 1.0) for name in ("joined", "left")]
    for event in events:
        store.add_event(event)
    assert store.events(interview.id) == events


def viewed(id: str, link: Link | None, end_s: float, way: Way = Way.REPLAY) -> Viewing:
    return Viewing(id, "one", link.id if link else None, way, 2.0, 2.0 + end_s, 0.0, end_s)


def test_a_viewing_is_one_row_that_grows_and_says_whose_link_it_was(store: Store) -> None:
    link = store.create_link(None, Role.OWNER, 1.0, 100)
    short, long = viewed("a", link, 1.0), viewed("a", link, 7.0)
    export = viewed("b", None, 9.0, Way.EXPORT)
    store.keep_viewings([short])
    store.keep_viewings([long, export])
    assert store.viewings("one") == [(long, Role.OWNER), (export, None)]
    assert store.viewings("another") == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET at_s = 0",
        "DELETE FROM events",
        "DELETE FROM viewings",
        "UPDATE viewings SET end_s = 6",
        "UPDATE viewings SET start_s = 1",
        "UPDATE viewings SET last_s = 2",
        "UPDATE viewings SET began_s = 1",
        "UPDATE viewings SET link_id = NULL",
        "UPDATE viewings SET way = 'hls'",
        "UPDATE viewings SET interview_id = 'two'",
    ],
)
def test_logs_can_only_be_added_to(tmp_path: Path, statement: str) -> None:
    with Store(tmp_path / "db") as store:
        interview = store.create_interview("a", 1.0)
        link = store.create_link(interview.id, Role.RECRUITER, 1.0, 100)
        store.add_event(Event(interview.id, "joined", link.id, 1.0))
        store.keep_viewings([viewed("a", link, 7.0)])
    other_program = sqlite3.connect(tmp_path / "db")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        other_program.execute(statement)
    other_program.close()


def test_two_processes_see_each_other_at_once(tmp_path: Path) -> None:
    with Store(tmp_path / "db") as server, Store(tmp_path / "db") as command:
        link = command.create_link(None, Role.OWNER, 1.0, 100)
        assert server.link(link.id) == link
        command.revoke(link.id, 2.0)
        assert server.revoked({link.id}) == [link.id]


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "db").close()
    db = sqlite3.connect(tmp_path / "db")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StoreError, match="newer program"):
        Store(tmp_path / "db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="can't be used"):
        Store(tmp_path / "db")


async def test_async_calls_run_in_the_order_they_were_made(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db") as db:
        made = await asyncio.gather(
            *(db.run(Store.create_interview, f"{n}", float(n)) for n in range(20))
        )
        assert await db.run(Store.interviews) == list(reversed(made))


def test_exports_are_kept_with_their_viewings_until_they_are_forgotten(tmp_path: Path) -> None:
    with Store(tmp_path / "db") as store:
        asked = [Viewing(f"v{n}", "iv", None, Way.EXPORT, n, n, 0.0, 1.0) for n in range(3)]
        store.keep_viewings(asked)
        kept = [KeptExport(f"v{n}", "ab", 0, 1_000_000, True, 9.0 - n) for n in range(3)]
        for each in kept:
            store.keep_export(each)
        ready = replace(kept[0], until_s=99.0, size=7, head=3, sha256="cd", statement=b"{}")
        store.keep_export(ready)
        store.forget_export("v1")
    with Store(tmp_path / "db") as store:
        assert store.exports() == [(kept[2], asked[2]), (ready, asked[0])]


async def test_its_thread_takes_no_core_from_the_loop(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    async with open_store(tmp_path / "db") as db:
        assert await db.run(lambda _: os.sched_getscheduler(0)) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before
