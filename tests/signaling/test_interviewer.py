"""The interviewer's seat, within an interview."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.core.frames import OF_CANDIDATE, OF_INTERVIEWER, TrackName
from server.core.indicators import Alert
from server.core.interviews import InterviewState, Role
from server.media.errors import SdpError
from server.media.server import PeerState
from server.signaling.errors import Refusal
from server.signaling.outbox import CLOSE_REPLACED
from server.signaling.protocol import Connection, ErrorId
from tests.media.test_source import camera, picture
from tests.signaling.plant import FakeFeed, FakeRecording, Rig, open_rig, told


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as opened:
        yield opened


def presence(messages: list[dict[str, Any]]) -> list[bool]:
    return [message["active"] for message in messages if message["type"] == "interviewer"]


async def test_everybody_learns_that_an_interviewer_is_there_and_is_gone(rig: Rig) -> None:
    candidate, _ = await rig.join()
    observer = rig.enter(Role.OBSERVER)
    interviewer, peer = await rig.interviewer_joins()
    late = rig.enter(Role.RECRUITER)
    peer.on_state(PeerState.DISCONNECTED)
    peer.on_state(PeerState.CONNECTED)
    await rig.interview.leave(interviewer)
    assert peer.closed
    assert presence(await told(candidate)) == [False, True, False, True, False]
    assert presence(await told(observer)) == [False, True, False, True, False]
    assert presence(await told(interviewer)) == [False, True, False, True, False]
    assert presence(await told(late)) == [True, False, True, False]
    assert rig.recorder.recordings[0].events == [
        "joined",
        *["interviewer-joined", "interviewer-left"] * 2,
    ]
    assert await rig.events() == rig.recorder.recordings[0].events


def cameras(messages: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    return [(each["role"], each["active"]) for each in messages if each["type"] == "camera"]


async def test_everybody_learns_of_a_camera_that_is_off_until_it_is_on(rig: Rig) -> None:
    candidate, interviewer = rig.enter(Role.CANDIDATE), rig.enter(Role.INTERVIEWER)
    for active in (False, False, True, False):
        rig.interview.show_camera(interviewer, active)
    rig.interview.show_camera(candidate, False)
    late = rig.enter(Role.OBSERVER)
    rig.interview.show_camera(candidate, True)
    changes = [("interviewer", False), ("interviewer", True), ("interviewer", False)]
    assert cameras(await told(candidate)) == [*changes, ("candidate", False), ("candidate", True)]
    first, second, last = cameras(await told(late))
    assert {first, second} == {("interviewer", False), ("candidate", False)}
    assert last == ("candidate", True)


async def test_the_recording_says_when_a_camera_or_a_microphone_is_off(rig: Rig) -> None:
    interviewer = rig.enter(Role.INTERVIEWER)
    rig.interview.show_camera(interviewer, False)
    await rig.interview.tick(rig.now)
    candidate, newer = (rig.participant(Role.CANDIDATE) for _ in range(2))
    candidate.opening, newer.opening = "one", "two"
    rig.interview.enter(candidate)
    await rig.interview.publish(candidate, "offer")
    rig.media.peers[-1].on_state(PeerState.CONNECTED)
    for active in (True, False, True, False):  # more often than anybody looks
        rig.interview.show_camera(candidate, active)
    await rig.interview.tick(rig.now)
    await rig.interview.tick(rig.now + 1)
    rig.interview.show_camera(candidate, True)
    rig.interview.show_camera(interviewer, True)
    rig.interview.note_microphone(candidate, False)
    await rig.interview.tick(rig.now + 2)
    rig.interview.enter(newer)  # of which nothing is known to be off
    await rig.interview.tick(rig.now + 3)
    joined, *others = rig.recorder.recordings[0].events
    assert joined == "joined"
    assert others == [
        *("camera-off", "interviewer-camera-off"),
        *("camera-on", "interviewer-camera-on", "microphone-off", "microphone-on"),
    ]


async def test_what_was_turned_off_right_before_the_end_is_told_too(rig: Rig) -> None:
    candidate, _ = await rig.join()
    rig.interview.note_microphone(candidate, False)
    await rig.interview.leave(candidate)
    assert rig.recorder.recordings[0].events == ["joined", "microphone-off", "left"]


async def test_a_newer_page_begins_with_its_camera_on(rig: Rig) -> None:
    observer = rig.enter(Role.OBSERVER)
    page, again, newer = (rig.participant(Role.INTERVIEWER) for _ in range(3))
    page.opening = again.opening = "one"  # on another socket
    newer.opening = "two"
    rig.interview.enter(page)
    rig.interview.show_camera(page, False)
    rig.interview.enter(again)
    rig.interview.enter(newer)
    with pytest.raises(Refusal):
        rig.interview.show_camera(page, False)
    assert cameras(await told(observer)) == [("interviewer", False), ("interviewer", True)]


async def test_an_interviewer_changes_neither_state_nor_recording(rig: Rig) -> None:
    interviewer, peer = await rig.interviewer_joins()
    assert rig.state() is InterviewState.WAITING
    assert rig.recorder.recordings == []
    candidate, candidates_peer = await rig.join()
    assert rig.recorder.recordings[0].events == ["interviewer-joined", "joined"]
    await rig.interview.leave(interviewer)
    assert (rig.state(), candidates_peer.closed) == (InterviewState.LIVE, False)
    await rig.interview.exit(interviewer)
    _, peer = await rig.interviewer_joins()
    await rig.interview.leave(candidate)
    assert (rig.state(), peer.closed) == (InterviewState.ENDED, False)
    assert rig.recorder.recordings[0].closed


async def test_an_interviewer_who_leaves_or_is_sent_away_leaves_no_gap(rig: Rig) -> None:
    """But one who is lost does: the source is told who says goodbye."""
    source = rig.interview._source
    _, peer = await rig.interviewer_joins()
    await peer.close()
    assert source._left == set()
    interviewer, _ = await rig.interviewer_joins()
    await rig.interview.leave(interviewer)
    assert source._left == set(OF_INTERVIEWER)


async def test_each_is_sent_what_the_others_send(rig: Rig) -> None:
    wanted = {
        Role.CANDIDATE: OF_INTERVIEWER,
        Role.INTERVIEWER: OF_CANDIDATE,
        Role.OBSERVER: tuple(TrackName),
        Role.RECRUITER: tuple(TrackName),
    }
    for role, tracks in wanted.items():
        await rig.interview.watch(rig.enter(role), "offer")
        assert rig.media.peers[-1].tracks == tracks
    await rig.interviewer_joins()
    assert rig.media.peers[-1].tracks == OF_INTERVIEWER


async def test_the_candidates_two_connections_end_apart(rig: Rig) -> None:
    candidate, up = await rig.join()
    await rig.interview.watch(candidate, "offer")
    down = rig.media.peers[-1]
    await rig.interview.exit(candidate)
    assert (up.closed, down.closed) == (False, True)
    candidate = rig.enter(Role.CANDIDATE)
    await rig.interview.watch(candidate, "offer")
    rig.interview.restart(candidate, "offer", Connection.DOWN)
    rig.interview.restart(candidate, "offer", Connection.UP)
    assert rig.media.restarted == [rig.media.peers[-1], up]
    await rig.interview.leave(candidate)
    assert up.closed
    assert rig.media.peers[-1].closed


async def test_a_newer_interviewer_takes_over_and_the_former_is_told(rig: Rig) -> None:
    older, olders_peer = await rig.interviewer_joins()
    newer, peer = await rig.interviewer_joins()
    assert (olders_peer.closed, peer.closed) == (True, False)
    messages = await told(older)
    assert messages[-1] == {"type": "replaced"}
    assert older.outbox is not None
    assert older.outbox.close_code == CLOSE_REPLACED
    with pytest.raises(Refusal) as caught:
        await rig.interview.publish(older, "late")
    assert caught.value.id is ErrorId.FORBIDDEN
    await rig.interview.exit(older)
    assert not peer.closed
    candidate = rig.enter(Role.CANDIDATE)
    assert presence(await told(candidate)) == [True]
    assert presence(await told(newer)) == [True, False, True], "as they took over"


async def test_an_interviewer_on_another_network_restarts_on_a_new_socket(rig: Rig) -> None:
    older, peer = await rig.interviewer_joins()
    newer = rig.enter(Role.INTERVIEWER)
    await rig.interview.exit(older)
    assert rig.interview.restart(newer, "new", Connection.UP) == "answer to new"
    assert rig.media.restarted == [peer]
    assert not peer.closed
    await rig.interview.leave(newer)
    assert peer.closed
    with pytest.raises(Refusal) as caught:
        rig.interview.restart(newer, "new", Connection.UP)
    assert caught.value.id is ErrorId.RESTART_REFUSED


async def test_a_bad_offer_leaves_the_seat_as_it_was(rig: Rig) -> None:
    interviewer, peer = await rig.interviewer_joins()
    with pytest.raises(SdpError):
        await rig.interview.publish(interviewer, "bad")
    assert not peer.closed
    assert rig.interview._interviewer.present


async def test_a_withdrawn_link_ends_the_interviewers_part(rig: Rig) -> None:
    interviewer, peer = await rig.interviewer_joins()
    await rig.interview.exit(interviewer)
    link = rig.links[Role.INTERVIEWER].id
    assert rig.interview.open_links == {link}
    assert not rig.interview.idle
    await rig.interview.close_links({link})
    assert peer.closed
    await rig.interview.tick(rig.now)
    assert rig.interview.idle


async def test_a_lost_interviewer_frees_the_seat(rig: Rig) -> None:
    interviewer, peer = await rig.interviewer_joins()
    await rig.interview.exit(interviewer)
    await peer.close()
    await rig.interview.tick(rig.now)
    assert rig.interview.idle


async def test_a_server_that_stops_lets_the_interviewer_go(rig: Rig) -> None:
    _, peer = await rig.interviewer_joins()
    await rig.interview.shut_down()
    assert peer.closed


async def test_the_interviewer_gets_what_an_observer_gets_and_is_none(rig: Rig) -> None:
    await rig.join()
    interviewer, _ = await rig.interviewer_joins()
    rig.enter(Role.OBSERVER)
    rig.analysis.feeds[0].on_alert(Alert("no-face", True, 3.0))
    messages = await told(interviewer)
    assert {"type": "watchers", "roles": ["observer"]} in messages
    assert messages[-1]["type"] == "alert"
    assert rig.interview.observers == 1


async def test_no_frame_of_the_interviewer_reaches_the_analysis(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.join()
    await rig.interviewer_joins()
    seen: dict[str, list[TrackName]] = {"analysed": [], "recorded": []}
    monkeypatch.setattr(FakeFeed, "on_frame", lambda _, f: seen["analysed"].append(f.track))
    monkeypatch.setattr(FakeRecording, "on_frame", lambda _, f: seen["recorded"].append(f.track))
    source = rig.interview._source
    for ssrc, name in enumerate(name for name in TrackName if not name.is_sound):
        picture(camera(source, ssrc, name), 1, rig.now)
    assert seen["recorded"] == [*OF_CANDIDATE[::2], OF_INTERVIEWER[0]]
    assert seen["analysed"] == [*OF_CANDIDATE[::2]]
