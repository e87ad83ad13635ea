import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.core.frames import Codec, TrackName
from server.core.indicators import Alert, Indicator
from server.core.interviews import SERVER_STOPPED, InterviewState, Role
from server.media.errors import SdpError
from server.media.server import PeerState
from server.media.source import SourceStats, TrackStats
from server.recorder.format.manifest import Policy
from server.signaling.admission import Load
from server.signaling.errors import Refusal
from server.signaling.interview import GRACE_S, RESUME_S, LiveInterview
from server.signaling.outbox import CLOSE_SLOW_READER
from server.signaling.participant import Participant
from server.signaling.protocol import Connection, ErrorId
from server.store import Store
from tests.media.test_source import picture, screen
from tests.signaling.plant import Rig, open_rig, told

UP, DOWN = Connection.UP, Connection.DOWN
LOUDNESS = Indicator("voice.loudness", -20.0, "dBFS", 1.0, 2.0)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as opened:
        yield opened


def close_code(participant: Participant) -> int | None:
    assert participant.outbox is not None
    return participant.outbox.close_code


async def test_a_visitor_is_told_where_the_interview_stands(rig: Rig) -> None:
    observer = rig.enter(Role.OBSERVER)
    welcome, state, recording, interviewer, screen, watchers = await told(observer)
    assert (welcome["type"], welcome["role"]) == ("welcome", "observer")
    assert welcome["ice_servers"] == []
    assert welcome["interview"] == {"id": rig.interview.id, "title": "Backend engineer"}
    assert state == {"type": "state", "state": "waiting", "started_s": None}
    assert recording == {"type": "recording", "active": False}
    assert interviewer == {"type": "interviewer", "active": False}
    assert screen == {"type": "screen", "active": False}
    assert watchers == {"type": "watchers", "roles": ["observer"]}
    candidate, _ = await rig.join()
    types = [message["type"] for message in await told(candidate)]
    assert "screen" not in types


async def test_everybody_learns_that_the_candidate_is_live_and_recorded(rig: Rig) -> None:
    observer = rig.enter(Role.OBSERVER)
    await told(observer)
    candidate, _ = await rig.join()
    live = {"type": "state", "state": "live", "started_s": None}
    for one in (observer, candidate):
        messages = await told(one)
        assert live in messages
        assert messages[-1] == {"type": "recording", "active": True}
    assert rig.recorder.recordings[0].events == ["joined"]


async def test_the_recording_is_made_under_what_the_candidate_agreed_to(rig: Rig) -> None:
    candidate = rig.enter(Role.CANDIDATE)
    await rig.interview.publish(candidate, "offer", "3/zh")
    policy = rig.recorder.recordings[0].policy
    assert policy == Policy("3/zh", tuple(TrackName), analysis=rig.plant.analysis is not None)


async def test_the_start_is_told_when_media_has_come(rig: Rig) -> None:
    candidate, _ = await rig.join()
    await told(candidate)
    rig.interview._source._tracks[TrackName.CAMERA].first_frame_s = 1_000.25
    await rig.interview.tick(rig.now)
    assert await told(candidate) == [{"type": "state", "state": "live", "started_s": 1_000.25}]
    row = await rig.db.run(Store.interview, rig.interview.id)
    assert row is not None
    assert (row.state, row.started_s) == (InterviewState.LIVE, 1_000.25)


async def test_a_bad_offer_leaves_everything_as_it_was(rig: Rig) -> None:
    candidate, peer = await rig.join()
    with pytest.raises(SdpError):
        await rig.interview.publish(candidate, "bad")
    assert not peer.closed
    assert rig.state() is InterviewState.LIVE
    assert len(rig.recorder.recordings) == 1


async def test_a_bad_first_offer_starts_no_recording(rig: Rig) -> None:
    candidate = rig.enter(Role.CANDIDATE)
    with pytest.raises(SdpError):
        await rig.interview.publish(candidate, "bad")
    assert rig.recorder.recordings == []


async def test_leaving_closes_the_recording_and_ends_the_interview(rig: Rig) -> None:
    candidate, peer = await rig.join()
    observer = rig.enter(Role.OBSERVER)
    await told(observer)
    await rig.interview.leave(candidate)
    (recording,) = rig.recorder.recordings
    assert recording.closed
    assert recording.events == ["joined", "left"]
    assert peer.closed
    assert rig.analysis.feeds[0].closed
    assert {"type": "state", "state": "ended", "started_s": None} in await told(observer)
    assert await rig.events() == ["joined", "left"]


async def test_an_observer_that_leaves_ends_nothing(rig: Rig) -> None:
    await rig.join()
    observer = rig.enter(Role.OBSERVER)
    await rig.interview.watch(observer, "offer")
    await rig.interview.leave(observer)
    assert rig.media.peers[-1].closed
    assert rig.state() is InterviewState.LIVE
    assert not rig.recorder.recordings[0].closed


async def test_a_lost_candidate_may_come_back_into_the_same_recording(rig: Rig) -> None:
    candidate, peer = await rig.join()
    peer.on_state(PeerState.DISCONNECTED)
    assert rig.state() is InterviewState.INTERRUPTED
    await rig.interview.tick(rig.now + GRACE_S - 0.1)
    assert not rig.recorder.recordings[0].closed
    await rig.interview.publish(candidate, "again")
    rig.media.peers[-1].on_state(PeerState.CONNECTED)
    await rig.interview.tick(rig.now + GRACE_S + 1)
    assert rig.state() is InterviewState.LIVE
    (recording,) = rig.recorder.recordings
    assert not recording.closed
    assert recording.events == ["joined", "disconnected", "joined"]


async def test_a_peer_that_recovers_by_itself_is_live_again(rig: Rig) -> None:
    _, peer = await rig.join()
    peer.on_state(PeerState.DISCONNECTED)
    peer.on_state(PeerState.CONNECTED)
    await rig.interview.tick(rig.now + GRACE_S + 1)
    assert rig.state() is InterviewState.LIVE
    assert not rig.recorder.recordings[0].closed


async def test_the_recording_closes_when_the_candidate_stays_away(rig: Rig) -> None:
    candidate, peer = await rig.join()
    peer.on_state(PeerState.CLOSED)
    await told(candidate)
    await rig.interview.tick(rig.now + GRACE_S)
    assert rig.recorder.recordings[0].closed
    assert rig.state() is InterviewState.INTERRUPTED
    await rig.interview.publish(candidate, "much later")
    rig.media.peers[-1].on_state(PeerState.CONNECTED)
    assert rig.state() is InterviewState.LIVE
    assert len(rig.recorder.recordings) == 2


async def test_the_recording_sign_goes_out_with_the_connection(rig: Rig) -> None:
    candidate, peer = await rig.join()
    await told(candidate)
    peer.on_state(PeerState.DISCONNECTED)
    assert {"type": "recording", "active": False} in await told(candidate)


@pytest.mark.parametrize("socket", [True, False])
async def test_an_offer_on_its_way_while_its_link_is_revoked_gets_nothing(
    rig: Rig, socket: bool
) -> None:
    candidate, observer = rig.enter(Role.CANDIDATE, socket), rig.enter(Role.OBSERVER, socket)
    await rig.interview.close_links({candidate.link_id, observer.link_id})
    for late in (rig.interview.publish(candidate, "o"), rig.interview.watch(observer, "o")):
        with pytest.raises(Refusal):
            await late
    assert all(peer.closed for peer in rig.media.peers)
    assert rig.recorder.recordings == []


async def test_the_candidates_media_survives_the_end_of_its_socket(rig: Rig) -> None:
    candidate, peer = await rig.join()
    await rig.interview.exit(candidate)
    assert not peer.closed
    assert rig.state() is InterviewState.LIVE


async def test_a_candidate_on_another_network_restarts_on_a_new_socket(rig: Rig) -> None:
    observer = rig.enter(Role.OBSERVER)
    older, peer = await rig.join()
    newer = rig.enter(Role.CANDIDATE)
    assert rig.interview.restart(newer, "new network", UP) == "answer to new network"
    assert rig.media.restarted == [peer]
    await rig.interview.exit(older)
    assert (peer.closed, rig.state()) == (False, InterviewState.LIVE)
    assert [e.events for e in rig.recorder.recordings] == [["joined"]]
    states = [m["state"] for m in await told(observer) if m["type"] == "state"]
    assert states == ["waiting", "live"]
    # The seat is the newer socket's by now: its goodbye ends the interview.
    await rig.interview.leave(newer)
    assert peer.closed


async def test_an_observer_restarts_its_own_connection(rig: Rig) -> None:
    await rig.join()
    one, two = rig.enter(Role.OBSERVER), rig.enter(Role.OBSERVER)
    for observer in (one, two):
        await rig.interview.watch(observer, "offer")
    rig.interview.restart(two, "offer", DOWN)
    assert rig.media.restarted == [rig.media.peers[-1]]


async def test_without_a_connection_there_is_nothing_to_restart(rig: Rig) -> None:
    refused = [rig.enter(Role.OBSERVER), rig.enter(Role.CANDIDATE)]
    _, peer = await rig.join(socket=False)  # WHIP has PATCH for this
    refused.append(rig.enter(Role.CANDIDATE))
    for participant, way in itertools.product(refused, (UP, DOWN)):
        with pytest.raises(Refusal) as caught:
            rig.interview.restart(participant, "offer", way)
        assert caught.value.id in (ErrorId.RESTART_REFUSED, ErrorId.FORBIDDEN)
    candidate, peer = await rig.join()
    await peer.close()
    with pytest.raises(Refusal) as caught:
        rig.interview.restart(candidate, "offer", UP)
    assert caught.value.id is ErrorId.RESTART_REFUSED


async def test_another_connections_offer_restarts_nothing(rig: Rig) -> None:
    candidate, peer = await rig.join()
    newer = rig.enter(Role.CANDIDATE)
    with pytest.raises(SdpError):
        rig.interview.restart(newer, "bad", UP)
    with pytest.raises(Refusal) as caught:
        rig.interview.restart(candidate, "replaced by the newer", UP)
    assert caught.value.id is ErrorId.FORBIDDEN
    assert (rig.media.restarted, peer.closed) == ([], False)


async def test_observers_get_indicators_and_alerts_and_the_candidate_nothing(rig: Rig) -> None:
    candidate, _ = await rig.join()
    observers = [rig.enter(Role.OBSERVER), rig.enter(Role.RECRUITER)]
    for each in (candidate, *observers):
        await told(each)
    feed = rig.analysis.feeds[0]
    feed.on_indicators((LOUDNESS,))
    feed.on_alert(Alert("no-face", True, 3.0))
    for observer in observers:
        assert [m["type"] for m in await told(observer)] == ["indicators", "alert"]
    assert await told(candidate) == []


async def test_a_late_observer_hears_of_what_is_wrong_already(rig: Rig) -> None:
    await rig.join()
    feed = rig.analysis.feeds[0]
    feed.on_alert(Alert("no-face", True, 3.0))
    feed.on_alert(Alert("audio-lost", True, 3.0))
    feed.on_alert(Alert("audio-lost", False, 4.0))
    *_, alert = await told(rig.enter(Role.OBSERVER))
    assert alert == {"type": "alert", "alert": {"id": "no-face", "active": True, "since_s": 3.0}}


async def test_a_recording_that_fails_is_an_alert_and_turns_the_sign_off(rig: Rig) -> None:
    candidate, _ = await rig.join()
    observer = rig.enter(Role.OBSERVER)
    await told(candidate)
    await told(observer)
    rig.recorder.recordings[0].on_fault("disk full")
    alert, sign = await told(observer)
    assert (alert["alert"]["id"], alert["alert"]["active"]) == ("recording-failed", True)
    assert sign == {"type": "recording", "active": False}
    assert await told(candidate) == [{"type": "recording", "active": False}]


async def test_a_recording_that_goes_on_ends_the_alert_and_turns_the_sign_on(rig: Rig) -> None:
    candidate, peer = await rig.join()
    peer.on_state(PeerState.CONNECTED)
    observer = rig.enter(Role.OBSERVER)
    recording = rig.recorder.recordings[0]
    recording.on_mended()  # nothing had failed: nothing is said
    recording.on_fault("disk full")
    await told(candidate)
    await told(observer)
    recording.on_mended()
    alert, sign = await told(observer)
    assert (alert["alert"]["id"], alert["alert"]["active"]) == ("recording-failed", False)
    assert sign == {"type": "recording", "active": True}
    assert await told(candidate) == [sign]


async def test_what_threatens_recordings_is_an_alert_while_one_is_made(rig: Rig) -> None:
    observer = rig.enter(Role.OBSERVER)
    rig.plant.storage.measured(Load(store_behind_s=90), 1, rig.now)
    await rig.interview.tick(rig.now)
    assert not [m for m in await told(observer) if m["type"] == "alert"], "nothing is recorded"
    candidate, _ = await rig.join()
    for each in (candidate, observer):
        await told(each)
    await rig.interview.tick(rig.now)
    assert await told(observer) == [
        {"type": "alert", "alert": {"id": "store-behind", "active": True, "since_s": 910.0}}
    ]
    rig.plant.storage.measured(Load(), 1, rig.now)
    await rig.interview.tick(rig.now)
    (over,) = await told(observer)
    assert (over["alert"]["id"], over["alert"]["active"]) == ("store-behind", False)
    assert await told(candidate) == [], "the recording goes on: nothing to tell who is recorded"


async def test_a_picture_that_is_held_back_is_told_to_its_observer_alone(rig: Rig) -> None:
    candidate, _ = await rig.join()
    slow, other = rig.enter(Role.OBSERVER), rig.enter(Role.OBSERVER)
    await rig.interview.watch(slow, "offer")
    for each in (candidate, slow, other):
        await told(each)
    for held_back in (True, False):
        rig.media.peers[-1].on_held_back(held_back)
        (alert,) = await told(slow)
        assert (alert["alert"]["id"], alert["alert"]["active"]) == ("sound-only", held_back)
    assert await told(candidate) == await told(other) == []


async def test_alerts_end_with_the_session(rig: Rig) -> None:
    candidate, _ = await rig.join()
    rig.analysis.feeds[0].on_alert(Alert("no-face", True, 3.0))
    observer = rig.enter(Role.OBSERVER)
    await told(observer)
    await rig.interview.leave(candidate)
    alerts = [m["alert"] for m in await told(observer) if m["type"] == "alert"]
    assert [(a["id"], a["active"]) for a in alerts] == [("no-face", False)]


async def test_a_slow_observer_is_closed_and_hurts_nobody(rig: Rig) -> None:
    slow, quick = rig.enter(Role.OBSERVER), rig.enter(Role.OBSERVER)
    for number in range(200):
        rig.interview._alert_changed(Alert(f"alert-{number}", True, 1.0))
        await told(quick)
    assert close_code(slow) == CLOSE_SLOW_READER
    assert close_code(quick) is None
    await rig.interview.exit(slow)
    assert rig.plant.counters.slow_readers == 1


async def test_a_revoked_observer_is_closed_at_once(rig: Rig) -> None:
    observer, other = rig.enter(Role.OBSERVER), rig.enter(Role.RECRUITER)
    await rig.interview.watch(observer, "offer")
    await told(observer)
    await rig.interview.close_links({observer.link_id})
    (error,) = await told(observer)
    assert (error["id"], error["fatal"]) == ("token-revoked", True)
    assert close_code(observer) == 4401
    assert rig.media.peers[-1].closed
    assert close_code(other) is None


@pytest.mark.parametrize("socket", [True, False])
async def test_a_revoked_candidate_is_off_the_air_and_the_recording_is_closed(
    rig: Rig, socket: bool
) -> None:
    candidate, peer = await rig.join(socket)
    await rig.interview.close_links({candidate.link_id})
    assert peer.closed
    assert rig.recorder.recordings[0].closed
    assert rig.state() is InterviewState.ENDED
    assert (await rig.events())[-1] == "revoked"


async def test_stopping_seals_the_recording_and_says_goodbye(rig: Rig) -> None:
    candidate, peer = await rig.join()
    await rig.interview.shut_down()
    assert close_code(candidate) == 4503
    *_, goodbye = await told(candidate)
    assert (goodbye["id"], goodbye["fatal"]) == ("server-restarting", True)
    assert rig.recorder.recordings[0].events[-1] == SERVER_STOPPED
    assert peer.closed
    assert rig.recorder.recordings[0].closed
    row = await rig.db.run(Store.interview, rig.interview.id)
    assert row is not None
    assert row.state is InterviewState.INTERRUPTED


async def test_a_whip_session_ends_with_delete_but_not_a_newer_one(rig: Rig) -> None:
    first, _ = await rig.join(socket=False)
    second, peer = await rig.join(socket=False)
    await rig.interview.hang_up(first)
    assert rig.state() is InterviewState.LIVE
    assert rig.interview.session(first.id, first.link_id) is None
    assert rig.interview.session(second.id, second.link_id) is second
    assert rig.interview.session(second.id, "another link") is None
    await rig.interview.hang_up(second)
    assert peer.closed
    assert rig.state() is InterviewState.ENDED


async def test_a_whep_viewer_that_vanishes_is_forgotten(rig: Rig) -> None:
    viewer = rig.enter(Role.OBSERVER, socket=False)
    await rig.interview.watch(viewer, "offer")
    assert rig.interview.observers == 1
    rig.media.peers[-1].on_state(PeerState.CLOSED)
    assert rig.interview.observers == 0


async def test_an_observer_gone_while_negotiating_keeps_no_peer(rig: Rig) -> None:
    observer = rig.participant(Role.OBSERVER)
    await rig.interview.watch(observer, "offer")  # never entered, or exited meanwhile
    assert rig.media.peers[-1].closed


@pytest.mark.parametrize("socket", [True, False])
async def test_a_candidate_that_never_comes_back_is_forgotten(rig: Rig, socket: bool) -> None:
    candidate, peer = await rig.join(socket)
    if socket:
        await rig.interview.exit(candidate)
    peer.on_state(PeerState.CLOSED)
    await rig.interview.tick(rig.now + GRACE_S)
    assert rig.interview.idle


async def test_the_network_is_measured_once_a_second(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.join()

    def stats(now: float) -> SourceStats:
        count = int(now) - 1_000
        track = TrackStats(Codec.OPUS, 50 * count, 4_000 * count, count, 0.01, 0, 0, 0)
        return SourceStats({TrackName.MICROPHONE: track}, 0.02)

    monkeypatch.setattr(rig.interview._source, "stats", stats)
    for now in (1_000.0, 1_000.5, 1_001.0, 1_002.0):
        await rig.interview.tick(now)
    first, second = rig.analysis.feeds[0].samples
    assert (first.start_s, first.end_s, second.end_s) == (1_000.0, 1_001.0, 1_002.0)
    assert (first.packets_received, first.bytes_received, first.packets_lost) == (50, 4_000, 1)


async def test_observers_and_the_record_are_told_when_a_screen_is_shared(rig: Rig) -> None:
    observer = rig.enter(Role.OBSERVER)
    candidate, _ = await rig.join()
    rig.interview._source._tracks[TrackName.CAMERA].first_frame_s = rig.now
    await rig.interview.tick(rig.now)
    await told(observer)
    await told(candidate)
    up = screen(rig.interview._source)
    picture(up, 1, rig.now)
    for later_s, shows in ((0, [True]), (1, []), (20, [False]), (21, [])):
        await rig.interview.tick(rig.now + later_s)
        assert await told(observer) == [{"type": "screen", "active": each} for each in shows]
    assert await told(candidate) == []
    assert rig.recorder.recordings[0].events == ["joined", "screen-shown", "screen-hidden"]


async def test_the_candidate_says_when_a_screen_is_shared_no_more(rig: Rig) -> None:
    candidate, _ = await rig.join()
    up = screen(rig.interview._source)
    picture(up, 1, rig.now)
    await rig.interview.tick(rig.now)
    observer = rig.enter(Role.OBSERVER)
    assert {"type": "screen", "active": True} in await told(observer)
    rig.interview.unshare(candidate)
    await rig.interview.tick(rig.now)
    assert await told(observer) == [{"type": "screen", "active": False}]
    rig.interview.unshare(rig.enter(Role.CANDIDATE))


NO_DISK = Load(disk_bytes=0)
OVERLOADED = Load(busy=0.95)


async def refusal_of(rig: Rig, interview: LiveInterview, candidate: Participant) -> ErrorId | None:
    try:
        await interview.publish(candidate, "offer")
    except Refusal as refusal:
        return refusal.id
    return None


async def test_a_candidate_for_whom_there_is_no_room_is_refused_and_costs_nothing(rig: Rig) -> None:
    rig.plant.admission.measured(NO_DISK, rig.now)
    candidate = rig.enter(Role.CANDIDATE)
    assert await refusal_of(rig, rig.interview, candidate) is ErrorId.SERVER_BUSY
    assert (rig.media.peers, rig.recorder.recordings) == ([], [])
    rig.plant.admission.measured(Load(), rig.now)
    assert await refusal_of(rig, rig.interview, candidate) is None


async def test_who_is_inside_comes_back_however_busy_the_server_is(rig: Rig) -> None:
    candidate, _ = await rig.join()
    assert rig.plant.admission.running == 1
    rig.plant.admission.measured(NO_DISK, rig.now)
    assert await refusal_of(rig, rig.interview, candidate) is None
    reloaded = rig.enter(Role.CANDIDATE)
    assert await refusal_of(rig, rig.interview, reloaded) is None
    rig.media.peers[-1].on_state(PeerState.CONNECTED)
    rig.media.peers[-1].on_state(PeerState.DISCONNECTED)
    rig.now += GRACE_S
    await rig.interview.tick(rig.now)  # its recording is closed
    assert rig.plant.admission.running == 0
    rig.now += RESUME_S - GRACE_S - 1
    assert await refusal_of(rig, rig.interview, reloaded) is None


async def test_who_comes_back_much_later_or_after_a_goodbye_is_asked_as_anybody(rig: Rig) -> None:
    candidate, _ = await rig.join()
    rig.plant.admission.measured(NO_DISK, rig.now)
    await rig.interview.leave(candidate)
    assert await refusal_of(rig, rig.interview, candidate) is ErrorId.SERVER_BUSY
    rig.plant.admission.measured(Load(), rig.now)
    await rig.join()
    rig.media.peers[-1].on_state(PeerState.DISCONNECTED)
    rig.now += GRACE_S
    await rig.interview.tick(rig.now)
    rig.plant.admission.measured(NO_DISK, rig.now)
    rig.now += RESUME_S
    latecomer = rig.enter(Role.CANDIDATE)
    assert await refusal_of(rig, rig.interview, latecomer) is ErrorId.SERVER_BUSY


async def test_an_observer_too_many_is_refused_its_media_and_keeps_the_rest(rig: Rig) -> None:
    await rig.join()
    inside, late = rig.enter(Role.OBSERVER), rig.enter(Role.OBSERVER)
    await rig.interview.watch(inside, "offer")
    rig.plant.admission.measured(OVERLOADED, rig.now)
    with pytest.raises(Refusal) as caught:
        await rig.interview.watch(late, "offer")
    assert caught.value.id is ErrorId.SERVER_BUSY
    await rig.interview.watch(inside, "again")  # what it had is renewed
    rig.analysis.feeds[0].on_indicators((LOUDNESS,))
    assert (await told(late))[-1]["type"] == "indicators"


async def test_a_server_that_drains_takes_nobody_new(rig: Rig) -> None:
    candidate, _ = await rig.join()
    rig.plant.admission.draining = True
    assert await refusal_of(rig, rig.interview, candidate) is None
    await rig.interview.watch(rig.enter(Role.OBSERVER), "offer")
    rig.media.peers[-2].on_state(PeerState.DISCONNECTED)
    rig.now += GRACE_S
    await rig.interview.tick(rig.now)
    assert await refusal_of(rig, rig.interview, candidate) is ErrorId.SERVER_RESTARTING
