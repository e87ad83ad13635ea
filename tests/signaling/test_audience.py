from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.core.interviews import InterviewState, Role
from server.media.server import PeerState
from server.signaling.errors import Refusal
from server.signaling.limits import MAX_OPENINGS_PER_LINK
from server.signaling.outbox import CLOSE_REPLACED
from server.signaling.participant import Participant
from server.signaling.protocol import ErrorId
from tests.signaling.plant import Rig, open_rig, told


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as opened:
        yield opened


def close_code(participant: Participant) -> int | None:
    assert participant.outbox is not None
    return participant.outbox.close_code


async def test_a_second_opening_replaces_the_first(rig: Rig) -> None:
    older, peer = await rig.join()
    await told(older)
    newer = rig.enter(Role.CANDIDATE)
    assert await told(older) == [{"type": "replaced"}]
    assert close_code(older) == CLOSE_REPLACED
    assert not peer.closed  # until the newer one sends
    await rig.interview.publish(newer, "offer")
    assert peer.closed
    rig.media.peers[-1].on_state(PeerState.CONNECTED)
    assert rig.state() is InterviewState.LIVE
    assert "disconnected" not in rig.recorder.recordings[0].events


async def test_a_page_that_was_replaced_while_it_was_away_does_not_replace_in_turn(
    rig: Rig,
) -> None:
    def enter(opening: str | None) -> Participant:
        page = rig.participant(Role.CANDIDATE)
        page.opening = opening
        rig.interview.enter(page)
        return page

    first = enter("first")
    await rig.interview.exit(first)  # its network is gone
    enter("first")  # and comes back
    second = enter("second")
    third = enter("first")
    assert await told(third) == [{"type": "replaced"}]
    assert close_code(third) == CLOSE_REPLACED
    assert close_code(second) is None
    with pytest.raises(Refusal):
        await rig.interview.publish(third, "offer")
    # The same page anew, by a person's wish, is another opening; so is one without a name.
    fourth = enter("fourth")
    assert close_code(second) == CLOSE_REPLACED
    nameless = enter(None)
    assert close_code(fourth) == CLOSE_REPLACED
    assert close_code(enter("fourth")) == CLOSE_REPLACED
    assert close_code(nameless) is None


async def test_a_session_by_whip_replaces_the_page(rig: Rig) -> None:
    page, peer = await rig.join()
    await told(page)
    whip = rig.enter(Role.CANDIDATE, socket=False)
    assert await told(page) == []  # until it has offered
    await rig.interview.publish(whip, "offer")
    assert {"type": "replaced"} in await told(page)
    assert (close_code(page), peer.closed) == (CLOSE_REPLACED, True)
    assert rig.state() is InterviewState.LIVE


async def test_a_replaced_opening_can_not_take_the_seat_back(rig: Rig) -> None:
    older, _ = await rig.join()
    newer, peer = await rig.join()
    with pytest.raises(Refusal) as caught:
        await rig.interview.publish(older, "offer")
    assert caught.value.id is ErrorId.FORBIDDEN
    assert not peer.closed
    assert newer in rig.interview._audience


async def test_the_candidate_learns_nothing_of_observers(rig: Rig) -> None:
    candidate, _ = await rig.join()
    await told(candidate)
    observer = rig.enter(Role.OBSERVER)
    await rig.interview.watch(observer, "offer")
    await rig.interview.exit(observer)
    await rig.interview.tick(rig.now)
    assert await told(candidate) == []


async def test_one_link_can_be_open_only_so_often(rig: Rig) -> None:
    for _ in range(MAX_OPENINGS_PER_LINK):
        rig.enter(Role.OBSERVER)
    with pytest.raises(Refusal) as caught:
        rig.enter(Role.OBSERVER)
    assert caught.value.id is ErrorId.TOO_MANY_REQUESTS
