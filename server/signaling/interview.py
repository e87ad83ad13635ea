"""One live interview: the candidate's media joined with its recording, its analysis and its
observers.

Calls come from sockets, WHIP and WHEP; `tick` is called about once a second, and soon after
something happened. Nothing here waits for an observer.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial

from server.core.frames import OF_CANDIDATE, OF_INTERVIEWER, TrackName
from server.core.indicators import Alert, Indicator
from server.core.interviews import SERVER_STOPPED, InterviewState, Role
from server.live_analysis.feed import Feed
from server.live_analysis.layers import ENOUGH_LINES
from server.media.server import Peer, PeerState, Source
from server.media.transport.ice import Credentials
from server.recorder.format.manifest import Policy
from server.recorder.writing.recording import Recording
from server.signaling.access import OBSERVERS
from server.signaling.audience import Audience
from server.signaling.devices import CAMERAS, MICROPHONES, Devices
from server.signaling.errors import TOKEN_MESSAGES, Refusal
from server.signaling.interviewer import InterviewerSeat
from server.signaling.journal import Journal
from server.signaling.network import NetworkMeter
from server.signaling.outbox import (
    CLOSE_SLOW_READER,
    Outbox,
)
from server.signaling.participant import Participant
from server.signaling.plant import Plant
from server.signaling.protocol import (
    PROTOCOL_VERSION,
    AlertChanged,
    CameraState,
    Connection,
    ErrorId,
    IceServer,
    Indicators,
    InterviewerState,
    InterviewInfo,
    RecordingState,
    ScreenState,
    StateChanged,
    Watchers,
    Welcome,
)
from server.signaling.states import TRANSITIONS, Happening
from server.store import Interview

log = logging.getLogger(__name__)

#: Nobody is sent what they send themselves; the candidate sees no screen but their own.
_SENT_TO = {Role.CANDIDATE: OF_INTERVIEWER, Role.INTERVIEWER: OF_CANDIDATE}
#: How long a recording stays open for a candidate whose connection is lost.
GRACE_S = 20.0
#: A candidate whose interview was interrupted comes back to it without being asked whether there
#: is room for a new one: whoever lost the connection, or the server, is not to lose the place too.
RESUME_S = 600.0
TICK_S = 1.0
RECORDING_FAILED = "recording-failed"
SOUND_ONLY = "sound-only"


@dataclass(eq=False, slots=True)
class _Seat:
    """Who publishes right now. There is one candidate in an interview."""

    participant: Participant
    peer: Peer | None = None
    connected: bool = False
    lost_s: float | None = None


@dataclass(slots=True)
class _Session:
    """One recording and one analysis, from the first offer until the candidate is gone."""

    recording: Recording
    feed: Feed | None
    meter: NetworkMeter = field(default_factory=NetworkMeter)


class LiveInterview:
    """Changes of state reach the store at the next `tick`; `idle` says when it may go."""

    def __init__(
        self, interview: Interview, plant: Plant, interrupted_s: float | None = None
    ) -> None:
        self.id = interview.id
        self.info = InterviewInfo(interview.id, interview.title)
        self.state = interview.state
        self.started_s = interview.started_s
        self._interrupted_s = interrupted_s
        self._plant = plant
        self._source = Source(interview.id)
        self._seat: _Seat | None = None
        self._interviewer = InterviewerSeat(plant.media, self._source)
        self._session: _Session | None = None
        self._audience = Audience()
        self._journal = Journal(interview.id, plant.db)
        self._alerts: dict[str, Alert] = {}
        self._shows_screen = False
        self._devices = Devices()
        self._lock = asyncio.Lock()  # one change of the seat or the session at a time
        self._wake = asyncio.Event()

    # ---- participants ----

    def enter(self, participant: Participant) -> None:
        """Somebody opened a link; who had a candidate's or an interviewer's place is told so.

        Raises Refusal when one link has too many openings.
        """
        if self._audience.enter(participant):
            self._begin_anew(participant.role)  # unless the newer page says otherwise
        if participant.outbox is not None and not participant.closed:
            self._greet(participant, participant.outbox)

    async def exit(self, participant: Participant) -> None:
        """A socket or a session is gone. The candidate's media goes on without its socket."""
        self._audience.remove(participant)
        if participant.outbox is not None:
            self._plant.counters.dropped += participant.outbox.dropped
            slow = participant.outbox.close_code == CLOSE_SLOW_READER
            self._plant.counters.slow_readers += slow
        await participant.close_peer()
        self._wake.set()

    async def publish(
        self, participant: Participant, sdp: str, notice: str = "", *, whole: bool = False
    ) -> str:
        """The answer to the offer of a candidate or an interviewer, which takes their seat.

        ``notice`` is what a candidate agreed to. ``whole``: all that is offered, or nothing.
        Raises SdpError, Refusal.
        """
        if participant.role is Role.INTERVIEWER:
            return await self._interviewer.publish(participant, sdp, self._interviewer_changed)
        async with self._lock:
            participant.refuse_if_closed()
            self._admit_candidate()
            seat = _Seat(participant)
            seat.peer, answer = await self._plant.media.publish(
                self._source, sdp, partial(self._candidate_changed, seat), whole=whole
            )
            try:
                self._open_session(notice)
            except BaseException:
                await seat.peer.close()
                raise
            older, self._seat = self._seat, seat
            if older is not None:
                await self._unseat(older)
            # A page has replaced others by its socket, WHIP has none.
            if participant.outbox is None and self._audience.replace_sockets(participant):
                self._begin_anew(participant.role)
            return answer

    def _admit_candidate(self) -> None:
        """Raises Refusal where this is a new interview and there is no room for one."""
        admission, now = self._plant.admission, self._plant.clock()
        interrupted_s = self._interrupted_s
        comes_back = interrupted_s is not None and now - interrupted_s <= RESUME_S
        if not self.running and (admission.draining or not comes_back):
            admission.admit_candidate(now)

    async def watch(self, participant: Participant, sdp: str) -> str:
        """The answer to an offer to receive. Raises SdpError, Refusal."""
        # One that is renewed adds nothing, and those who speak are inside.
        if participant.peer is None and participant.role in OBSERVERS:
            self._plant.admission.admit_observer(self._plant.clock())
        peer, answer = await self._plant.media.observe(
            self._source,
            sdp,
            lambda state: self._observer_changed(participant, state),
            lambda held_back: self._picture_held_back(participant, held_back),
            tracks=_SENT_TO.get(participant.role, tuple(TrackName)),
        )
        await participant.close_peer()
        participant.peer = peer
        # It may have gone away, or its link been revoked, while this was negotiated.
        if participant.closed or participant not in self._audience:
            await participant.close_peer()
        participant.refuse_if_closed()
        return answer

    def restart(self, participant: Participant, sdp: str, connection: Connection) -> str:
        """The answer to an offer with new ICE credentials. Raises SdpError, Refusal.

        Whoever speaks and whose network changed comes on a new socket, with the connection of
        the former one: that the link and the certificate are the same says so.
        """
        participant.refuse_if_closed()
        up = connection is Connection.UP
        seat = self._seat_of(participant) if up else None
        peer = participant.peer if not up else self._up_peer(participant, seat)
        if peer is None or peer.state is PeerState.CLOSED:
            raise Refusal(ErrorId.RESTART_REFUSED, "There is no connection to restart: offer anew.")
        answer = self._plant.media.restart(peer, sdp)
        if seat is not None:
            seat.participant = participant
        return answer

    def _up_peer(self, participant: Participant, seat: _Seat | None) -> Peer | None:
        if participant.role is Role.INTERVIEWER:
            return self._interviewer.peer_of(participant)
        return seat.peer if seat is not None else None

    def _seat_of(self, participant: Participant) -> _Seat | None:
        """The seat that a candidate's page took, with this socket or a former one."""
        seat = self._seat if participant.role is Role.CANDIDATE else None
        if seat is None or seat.participant.outbox is None:
            return None
        return seat if seat.participant.link_id == participant.link_id else None

    def peer_of(self, participant: Participant) -> Peer | None:
        """The open peer of a WHIP or WHEP session."""
        seated = self._seat is not None and self._seat.participant is participant
        peer = self._seat.peer if self._seat is not None and seated else participant.peer
        return peer if peer is not None and peer.state is not PeerState.CLOSED else None

    def restart_by_fragment(self, peer: Peer, remote: Credentials) -> str:
        """Our half of a session's ICE restart. Raises SdpError."""
        return self._plant.media.restart_by_fragment(peer, remote)

    def session(self, session_id: str, link_id: str) -> Participant | None:
        """The WHIP or WHEP session of that id, if it was opened with that link."""
        for participant in self._audience:
            # A page's socket has an id, too, which its relays' user name tells.
            same = (participant.id, participant.link_id) == (session_id, link_id)
            if same and participant.outbox is None:
                return participant
        return None

    async def leave(self, participant: Participant) -> None:
        """A goodbye: the candidate's closes the recording, others' only their own peers."""
        await participant.close_peer()
        if participant.role is not Role.CANDIDATE:
            await self._interviewer.leave(participant)
            return
        async with self._lock:
            await self._end(Happening.LEFT, "left", participant.link_id)

    async def hang_up(self, participant: Participant) -> None:
        """The end of one WHIP session: like `leave`, unless a newer one has the seat."""
        if self._seat is not None and self._seat.participant is participant:
            await self.leave(participant)
        await self.exit(participant)

    async def close_links(self, link_ids: Collection[str]) -> None:
        """These links were revoked: close what is open with them."""
        message = TOKEN_MESSAGES[ErrorId.TOKEN_REVOKED]
        for participant in [p for p in self._audience if p.link_id in link_ids]:
            participant.closed = True
            if participant.outbox is not None:
                participant.outbox.refuse(ErrorId.TOKEN_REVOKED, message)
            await participant.close_peer()
        if self._interviewer.link_id in link_ids:
            await self._interviewer.empty()
        async with self._lock:
            if self._seat is not None and self._seat.participant.link_id in link_ids:
                await self._end(Happening.LEFT, "revoked", self._seat.participant.link_id)

    @property
    def open_links(self) -> set[str]:
        """The links with which something is open here."""
        candidate = self._seat.participant.link_id if self._seat is not None else None
        seated = {candidate, self._interviewer.link_id} - {None}
        return {*filter(None, seated), *(each.link_id for each in self._audience)}

    @property
    def running(self) -> bool:
        """Whether it is being recorded: its candidate is there, or was a moment ago."""
        return self._session is not None

    @property
    def recording_failed(self) -> bool:
        """Whether what comes in is not being recorded at present."""
        return RECORDING_FAILED in self._alerts

    @property
    def observers(self) -> int:
        return len(self._audience.watchers)

    # ---- time ----

    async def run(self) -> None:
        """Tick until idle."""
        while not self.idle:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            self._wake.clear()
            await self.tick(self._plant.clock())

    @property
    def idle(self) -> bool:
        """Nobody is here and everything is written down."""
        taken = self._seat or self._interviewer.link_id or self._audience or self._session
        return not taken and self._journal.is_written

    async def tick(self, now: float) -> None:
        """Measure the network, end a lost candidate's recording, write down what happened."""
        if self.started_s is None and self._source.first_media_s is not None:
            self._set_state(self.state, self._source.first_media_s)
        self._look_at_screen(now)
        self._look_at_devices(now)
        self._look_at_storage(now)
        if self._session is not None and self._session.feed is not None:
            sample = self._session.meter.sample(self._source.stats(now), now)
            if sample is not None:
                self._session.feed.on_network(sample)
        seat = self._seat
        if seat is not None and seat.lost_s is not None and now - seat.lost_s >= GRACE_S:
            async with self._lock:
                if self._seat is seat and seat.lost_s is not None:
                    await self._end(Happening.LOST, "gone", seat.participant.link_id)
        await self._journal.save()

    def unshare(self, participant: Participant) -> None:
        """The screen is not shared any more, says the candidate's page."""
        if self._seat_of(participant) is not None:
            self._source.end_screen()
            self._wake.set()

    def show_camera(self, participant: Participant, active: bool) -> None:
        """A camera is on, or off, says the page of whoever speaks. Raises Refusal."""
        participant.refuse_if_closed()
        self._camera_changed(participant.role, active)

    def note_microphone(self, participant: Participant, active: bool) -> None:
        """A microphone is on, or off, says the page of whoever speaks. Raises Refusal."""
        participant.refuse_if_closed()
        self._devices.turn(MICROPHONES[participant.role], active)

    def _begin_anew(self, role: Role) -> None:
        """With another page, of which nothing is known to be off."""
        self._camera_changed(role, True)
        self._devices.turn(MICROPHONES[role], True)

    def _camera_changed(self, role: Role, active: bool) -> None:
        if self._devices.turn(CAMERAS[role], active):
            self._audience.tell_everyone(CameraState(role, active))

    def _look_at_screen(self, now: float) -> None:
        shows = self._source.shows_screen(now)
        if shows is not self._shows_screen:
            self._shows_screen = shows
            link_id = self._seat.participant.link_id if self._seat is not None else None
            self._note("screen-shown" if shows else "screen-hidden", link_id, now)
            self._audience.tell_others(ScreenState(shows))

    def _look_at_devices(self, now: float) -> None:
        """Once a second at most, however often pages say so."""
        if self._session is not None:
            for event in self._devices.events():
                self._note(event, None, now)

    def _look_at_storage(self, now: float) -> None:
        if self._session is not None:
            for alert in self._plant.storage.changes(self._alerts, now):
                self._alert_changed(alert)

    async def shut_down(self) -> None:
        """The server stops: seal the recording; the same links work after its next start."""
        for participant in self._audience:
            if participant.outbox is not None:
                participant.outbox.refuse(ErrorId.SERVER_RESTARTING, "The server restarts.")
            await participant.close_peer()
        await self._interviewer.empty()
        async with self._lock:
            await self._end(Happening.LOST, SERVER_STOPPED, None)
        await self._journal.save()

    # ---- what media, recorder and analysis tell ----

    def _candidate_changed(self, seat: _Seat, state: PeerState) -> None:
        if self._seat is not seat:
            return  # an older peer, on its way out
        link_id, now = seat.participant.link_id, self._plant.clock()
        match state:
            case PeerState.NEW:
                return
            case PeerState.CONNECTED:
                seat.lost_s = None
                if not seat.connected:
                    self._note("joined", link_id, now)
                    self._happen(Happening.CONNECTED)
                seat.connected = True
            case PeerState.DISCONNECTED | PeerState.CLOSED:
                if seat.lost_s is None:
                    seat.lost_s = now
                    self._note("disconnected", link_id, now)
                    self._happen(Happening.LOST)
                seat.connected = False
        self._announce_recording()

    def _observer_changed(self, participant: Participant, state: PeerState) -> None:
        # A WHEP session has no socket whose end would tell that its viewer is gone.
        if state is PeerState.CLOSED and participant.outbox is None:
            self._audience.remove(participant)
            self._wake.set()

    def _picture_held_back(self, participant: Participant, held_back: bool) -> None:
        """Its network is too slow for the picture: nobody else needs to know."""
        if participant.outbox is not None and participant.role is not Role.CANDIDATE:
            alert = Alert(SOUND_ONLY, held_back, self._plant.clock())
            participant.outbox.send(AlertChanged(alert))

    def _interviewer_changed(self, present: bool, link_id: str) -> None:
        name = "interviewer-joined" if present else "interviewer-left"
        self._note(name, link_id, self._plant.clock())
        self._audience.tell_everyone(InterviewerState(present))

    def _recording_failed(self, reason: str) -> None:
        log.error("recording failed interview=%s reason=%s", self.id, reason)
        self._alert_changed(Alert(RECORDING_FAILED, True, self._plant.clock()))
        self._announce_recording()

    def _recording_mended(self) -> None:
        if RECORDING_FAILED in self._alerts:
            log.info("recording goes on interview=%s", self.id)
            self._alert_changed(Alert(RECORDING_FAILED, False, self._plant.clock()))
            self._announce_recording()

    def _indicators(self, values: tuple[Indicator, ...]) -> None:
        self._audience.tell_others(Indicators(values))

    def _alert_changed(self, alert: Alert) -> None:
        if alert.active:
            self._alerts[alert.id] = alert
        else:
            self._alerts.pop(alert.id, None)
        self._audience.tell_others(AlertChanged(alert))

    # ---- the session ----

    def _open_session(self, notice: str) -> None:
        if self._session is not None:
            return
        recording = self._plant.recorder.record(
            self.id,
            self.info.title,
            Policy(notice, tuple(TrackName), self._plant.analysis is not None),
            self._recording_failed,
            self._recording_mended,
        )
        self._session = _Session(recording, self._open_feed())
        self._plant.admission.opened(self._plant.clock())
        self._source.add_sink(recording)
        if self._session.feed is not None:
            self._source.add_sink(self._session.feed, ENOUGH_LINES, tracks=OF_CANDIDATE)
        self._devices.begin()
        if self._interviewer.present:  # who came before the candidate
            recording.mark("interviewer-joined", self._plant.clock())

    def _open_feed(self) -> Feed | None:
        if self._plant.analysis is None:
            return None
        return self._plant.analysis.feed(
            self.id,
            self._indicators,
            self._alert_changed,
            partial(self._source.request_keyframe, TrackName.CAMERA, ENOUGH_LINES),
        )

    async def _end(self, happening: Happening, event: str, link_id: str | None) -> None:
        """Close the candidate's peer, then its analysis and recording. The lock is held."""
        self._look_at_devices(self._plant.clock())
        seat, self._seat = self._seat, None
        session, self._session = self._session, None
        if seat is None and session is None:
            return
        self._happen(happening)
        if session is not None:
            session.recording.mark(event, self._plant.clock())
        self._note(event, link_id, self._plant.clock())
        if seat is not None:
            await self._unseat(seat)
        if session is not None:
            self._plant.admission.closed()
            await self._close_session(session)

    async def _unseat(self, older: _Seat) -> None:
        if older.participant.outbox is None:  # a WHIP session ends with its peer
            self._audience.remove(older.participant)
        if older.peer is not None:
            await older.peer.close()

    async def _close_session(self, session: _Session) -> None:
        self._source.remove_sink(session.recording)
        if session.feed is not None:
            self._source.remove_sink(session.feed)
            session.feed.close()
        for alert in list(self._alerts.values()):
            self._alert_changed(Alert(alert.id, False, self._plant.clock()))
        await session.recording.close()
        self._announce_recording()

    # ---- telling ----

    def ice_servers(self, participant: Participant) -> tuple[IceServer, ...]:
        """Relays that this participant may use, with credentials that name nobody."""
        return self._plant.turn.ice_servers(participant.id, self._plant.clock())

    def _greet(self, participant: Participant, outbox: Outbox) -> None:
        role, now = participant.role, self._plant.clock()
        relays = self.ice_servers(participant)
        outbox.send(Welcome(PROTOCOL_VERSION, role, self.info, self.state, now, relays))
        outbox.send(StateChanged(self.state, self.started_s))
        outbox.send(RecordingState(self._is_recording))
        outbox.send(InterviewerState(self._interviewer.present))
        for each in self._devices.cameras_off:
            outbox.send(CameraState(each, False))
        if role is not Role.CANDIDATE:
            outbox.send(ScreenState(self._shows_screen))
            outbox.send(Watchers(self._audience.watchers))
            for alert in self._alerts.values():
                outbox.send(AlertChanged(alert))

    @property
    def _is_recording(self) -> bool:
        publishing = self._seat is not None and self._seat.connected
        return publishing and self._session is not None and not self.recording_failed

    def _announce_recording(self) -> None:
        self._audience.tell_everyone(RecordingState(self._is_recording))

    def _happen(self, happening: Happening) -> None:
        self._set_state(TRANSITIONS[self.state, happening], self.started_s)

    def _set_state(self, state: InterviewState, started_s: float | None) -> None:
        if (state, started_s) == (self.state, self.started_s):
            return
        if state is not self.state:
            log.info("interview interview=%s state=%s", self.id, state)
            interrupted = state is InterviewState.INTERRUPTED
            self._interrupted_s = self._plant.clock() if interrupted else None
        self.state, self.started_s = state, started_s
        self._journal.set_state(state, started_s)
        self._audience.tell_everyone(StateChanged(state, started_s))
        self._wake.set()

    def _note(self, name: str, link_id: str | None, now: float) -> None:
        if self._session is not None:
            self._session.recording.mark(name, now)
        self._journal.note(name, link_id, now)
        self._wake.set()
