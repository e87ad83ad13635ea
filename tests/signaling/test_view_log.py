import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from server.core.interviews import Role, Way
from server.signaling.view_log import LAST_SEEN_S, MAX_OPEN, PAUSE_S, Read, ViewLog
from server.store import AsyncStore, Store, StoreError, Viewing, open_store


class Watched:
    """A store, a link, a clock that is set, and the log on them."""

    def __init__(self, db: AsyncStore, link_id: str) -> None:
        self.db = db
        self.link_id = link_id
        self.now = 100.0
        self.log = ViewLog(db, lambda: self.now)

    async def read(self, start_s: float, end_s: float, way: Way = Way.REPLAY) -> None:
        await self.log.note(Read("one", self.link_id, way, start_s, end_s))

    async def spans(self) -> list[tuple[float, float]]:
        return [(row.start_s, row.end_s) for row in await self.rows()]

    async def rows(self) -> list[Viewing]:
        return [row for row, _ in await self.db.run(Store.viewings, "one")]


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with open_store(tmp_path / "db") as db:
        link = await db.run(Store.create_link, None, Role.OWNER, 1.0, 100)
        yield Watched(db, link.id)


async def test_reads_that_follow_each_other_are_one_viewing(watched: Watched) -> None:
    for n in range(20):
        watched.now += 0.75
        await watched.read(n * 0.75, n * 0.75 + 0.73)
    (row,) = await watched.rows()
    assert row.start_s == 0.0
    assert row.end_s == pytest.approx(19 * 0.75 + 0.73)
    assert (row.began_s, row.last_s) == (100.75, 115.0)


async def test_a_seek_begins_another_viewing_and_both_go_on(watched: Watched) -> None:
    for start_s in (0.0, 50.0, 1.0, 51.0):
        await watched.read(start_s, start_s + 1)
    assert sorted(await watched.spans()) == [(0.0, 2.0), (50.0, 52.0)]


async def test_another_way_and_a_long_pause_begin_another_viewing(watched: Watched) -> None:
    await watched.read(0.0, 1.0)
    await watched.read(0.0, 1.0, Way.HLS)
    watched.now += PAUSE_S + 1
    await watched.read(1.0, 2.0)
    assert await watched.spans() == [(0.0, 1.0), (0.0, 1.0), (1.0, 2.0)]


async def test_reading_the_same_again_moves_only_the_time_now_and_then(watched: Watched) -> None:
    await watched.read(0.0, 10.0)
    watched.now += LAST_SEEN_S - 1
    await watched.read(3.0, 4.0)
    assert [row.last_s for row in await watched.rows()] == [100.0]
    watched.now += 1
    await watched.read(3.0, 4.0)
    assert [row.last_s for row in await watched.rows()] == [100.0 + LAST_SEEN_S]
    assert await watched.spans() == [(0.0, 10.0)]


async def test_many_readers_at_once_share_a_transaction(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Store.keep_viewings
    written: list[int] = []

    def counted(store: Store, grown: Sequence[Viewing]) -> None:
        written.append(len(grown))
        keep(store, grown)

    monkeypatch.setattr(Store, "keep_viewings", counted)
    await asyncio.gather(*(watched.read(n * 10.0, n * 10.0 + 1) for n in range(20)))
    assert len(await watched.rows()) == 20
    assert written == [1, 19], "those who came while the first one was written"


async def test_no_read_counts_before_its_row_is_durable(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Store.keep_viewings

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Store, "keep_viewings", full)
    for _ in range(2):  # the second one must not take the first one's word for it
        with pytest.raises(StoreError):
            await watched.read(0.0, 1.0)
    monkeypatch.setattr(Store, "keep_viewings", keep)
    await watched.read(0.0, 1.0)
    assert await watched.spans() == [(0.0, 1.0)]


async def test_viewings_that_are_over_are_forgotten(watched: Watched) -> None:
    for n in range(MAX_OPEN + 5):
        await watched.read(n * 10.0, n * 10.0 + 1)
    assert len(watched.log._open) == MAX_OPEN
    watched.now += PAUSE_S + 1
    await watched.read(0.0, 1.0)
    assert len(watched.log._open) == 1
