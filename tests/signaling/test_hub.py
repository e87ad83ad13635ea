import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.core.interviews import Role
from server.media.server import PeerState
from server.signaling import interview as interview_module
from server.signaling.admission import Load
from server.signaling.errors import Refusal
from server.signaling.hub import Hub, open_hub
from server.signaling.protocol import ErrorId
from server.store import Store
from tests.signaling.plant import Rig, open_rig, told


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as opened:
        yield opened


@pytest.fixture(autouse=True)
def quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interview_module, "TICK_S", 0.01)


async def until_gone(hub: Hub) -> None:
    async with asyncio.timeout(10):
        while hub.live:  # noqa: ASYNC110 - the hub tells nobody
            await asyncio.sleep(0.005)


async def test_visitors_of_one_interview_meet_in_it(rig: Rig) -> None:
    async with open_hub(rig.plant) as hub:
        visitors = [rig.participant(role) for role in (Role.CANDIDATE, Role.OBSERVER)]
        met = await asyncio.gather(*(hub.enter(rig.interview.id, each) for each in visitors))
        assert met[0] is met[1] is hub.find(rig.interview.id)
        assert hub.live == (met[0],)


async def test_an_interview_goes_when_everybody_has(rig: Rig) -> None:
    async with open_hub(rig.plant) as hub:
        visitor = rig.participant(Role.OBSERVER)
        interview = await hub.enter(rig.interview.id, visitor)
        await interview.exit(visitor)
        await until_gone(hub)
        again = await hub.enter(rig.interview.id, rig.participant(Role.OBSERVER))
        assert again is not interview


async def test_an_interview_that_is_not_there_is_not_found(rig: Rig) -> None:
    async with open_hub(rig.plant) as hub:
        with pytest.raises(Refusal) as caught:
            await hub.enter("nothing", rig.participant(Role.OBSERVER))
        assert caught.value.id is ErrorId.NOT_FOUND
        assert hub.live == ()


async def test_nobody_enters_while_the_server_stops(rig: Rig) -> None:
    async with open_hub(rig.plant) as hub:
        await hub.shut_down()
        with pytest.raises(Refusal) as caught:
            await hub.enter(rig.interview.id, rig.participant(Role.OBSERVER))
        assert caught.value.id is ErrorId.SERVER_RESTARTING


async def test_while_it_drains_running_interviews_are_open_and_no_others(rig: Rig) -> None:
    other = await rig.db.run(Store.create_interview, "Other", 1.0)
    async with open_hub(rig.plant) as hub:
        candidate = rig.participant(Role.CANDIDATE)
        interview = await hub.enter(rig.interview.id, candidate)
        await interview.publish(candidate, "offer")
        await hub.drain(timeout_s=0.0)  # too short for it to end
        assert hub.running == 1
        await hub.enter(rig.interview.id, rig.participant(Role.OBSERVER))
        with pytest.raises(Refusal) as caught:
            await hub.enter(other.id, rig.participant(Role.OBSERVER))
        assert caught.value.id is ErrorId.SERVER_RESTARTING
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            tasks.create_task(hub.drain(timeout_s=1_000))
            await interview.leave(candidate)
        assert hub.running == 0


@pytest.mark.parametrize("in_order", [True, False])
async def test_who_was_inside_when_the_server_stopped_comes_back_to_a_busy_one(
    rig: Rig, in_order: bool
) -> None:
    candidate = rig.participant(Role.CANDIDATE)
    async with open_hub(rig.plant) as hub:
        interview = await hub.enter(rig.interview.id, candidate)
        await interview.publish(candidate, "offer")
        rig.media.peers[-1].on_state(PeerState.CONNECTED)
        await interview.tick(rig.now)
        killed = await rig.db.run(Store.interview, rig.interview.id)
    if not in_order:  # as the store was left by a kill
        assert killed is not None
        await rig.db.run(Store.set_state, killed.id, killed.state, None)
    rig.plant.admission.draining = False
    async with open_hub(rig.plant) as hub:
        rig.plant.admission.measured(Load(disk_bytes=0), rig.now)
        back = rig.participant(Role.CANDIDATE)
        interview = await hub.enter(rig.interview.id, back)
        await interview.publish(back, "offer")
        assert hub.running == 1
    assert [each.name for each in await rig.db.run(Store.events, rig.interview.id)] == [
        "joined",
        "server-stopped",
        *([] if in_order else ["server-restarted"]),
        "server-stopped",
    ]


async def test_stopping_seals_every_recording(rig: Rig) -> None:
    async with open_hub(rig.plant) as hub:
        candidate = rig.participant(Role.CANDIDATE)
        interview = await hub.enter(rig.interview.id, candidate)
        await interview.publish(candidate, "offer")
    assert rig.recorder.recordings[0].closed


async def test_a_link_revoked_in_the_store_closes_what_is_open(rig: Rig) -> None:
    async with open_hub(rig.plant) as hub:
        observer = rig.participant(Role.OBSERVER)
        await hub.enter(rig.interview.id, observer)
        await told(observer)
        await hub.close_revoked()
        assert await told(observer) == []
        await rig.db.run(Store.revoke, observer.link_id, 1.0)
        await hub.close_revoked()
        assert [message["id"] for message in await told(observer)] == ["token-revoked"]


async def test_one_interviews_fault_ends_that_one_only(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    other = await rig.db.run(Store.create_interview, "Other", 1.0)
    async with open_hub(rig.plant) as hub:
        candidate = rig.participant(Role.CANDIDATE)
        broken = await hub.enter(rig.interview.id, candidate)
        sound = await hub.enter(other.id, rig.participant(Role.OBSERVER))
        await broken.publish(candidate, "offer")

        def fail(_: float) -> None:
            raise RuntimeError("a fault in the code")

        broken._source.stats = fail  # type: ignore[method-assign, assignment]
        async with asyncio.timeout(10):
            while hub.find(broken.id):  # noqa: ASYNC110 - the hub tells nobody
                await asyncio.sleep(0.005)
        assert "a fault in the code" in caplog.text
        assert rig.recorder.recordings[0].closed
        assert hub.live == (sound,)
