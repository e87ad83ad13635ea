import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from server.core.interviews import SERVER_STOPPED, InterviewState
from server.media.server import PeerState
from server.signaling.journal import MAX_PENDING_EVENTS
from server.store import Event, Store
from tests.signaling.plant import Rig, open_rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as opened:
        yield opened


async def test_an_interview_is_idle_once_all_is_gone_and_written(rig: Rig) -> None:
    assert rig.interview.idle
    candidate, _ = await rig.join()
    await rig.interview.leave(candidate)
    await rig.interview.exit(candidate)
    assert not rig.interview.idle
    await rig.interview.tick(rig.now)
    assert rig.interview.idle


async def test_a_database_that_fails_for_a_while_costs_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(*_: object) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("database is locked"))

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add_event", locked)
        await rig.join()
        await rig.interview.tick(rig.now)
    assert "database is locked" in caplog.text
    assert not rig.interview.idle
    assert await rig.events() == ["joined"]
    row = await rig.db.run(Store.interview, rig.interview.id)
    assert row is not None
    assert row.state is InterviewState.LIVE


async def test_what_a_tick_writes_while_the_server_stops_is_written_once(rig: Rig) -> None:
    await rig.join()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.interview.tick(rig.now))
        tasks.create_task(rig.interview.shut_down())
    assert await rig.events() == ["joined", SERVER_STOPPED]


async def test_a_flood_of_events_during_a_write_takes_none_of_those_that_stay(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, peer = await rig.join()
    add_event, loop = Store.add_event, asyncio.get_running_loop()

    def reconnect_often() -> None:
        for _ in range(MAX_PENDING_EVENTS):
            peer.on_state(PeerState.DISCONNECTED)
            peer.on_state(PeerState.CONNECTED)

    def add(store: Store, event: Event) -> None:
        if event.name == "joined" and not flooded.is_set():
            loop.call_soon_threadsafe(reconnect_often)
            loop.call_soon_threadsafe(flooded.set)
            assert flooded.wait(10)
        add_event(store, event)

    flooded = threading.Event()
    monkeypatch.setattr(Store, "add_event", add)
    assert len(await rig.events()) == 1 + MAX_PENDING_EVENTS
