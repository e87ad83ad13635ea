"""A plant for one interview: a media server, recorder and analysis that do what they are told.

The real ones are used in the tests of the routes; here a test says when a peer connects, is lost,
or when a disk fails, which no real part does on demand.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from server.core.frames import OF_CANDIDATE, TrackName
from server.core.indicators import Alert, Indicator
from server.core.interviews import InterviewState, Role
from server.live_analysis.network import NetworkSample
from server.live_analysis.pool import Analysis
from server.media.errors import SdpError
from server.media.server import MediaServer, PeerState, Source
from server.recorder.format.manifest import Policy
from server.recorder.recorder import Recorder
from server.signaling.interview import LiveInterview
from server.signaling.outbox import Outbox
from server.signaling.participant import Participant
from server.signaling.plant import Plant
from server.store import AsyncStore, Link, Store, open_store


@dataclass(eq=False)
class FakePeer:
    on_state: Callable[[PeerState], None]
    tracks: tuple[TrackName, ...]
    on_held_back: Callable[[bool], None] = lambda held_back: None
    closed: bool = False

    @property
    def state(self) -> PeerState:
        return PeerState.CLOSED if self.closed else PeerState.CONNECTED

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.on_state(PeerState.CLOSED)


@dataclass
class FakeMedia:
    """`bad` as an offer is refused; every other one gets a peer."""

    peers: list[FakePeer] = field(default_factory=list)
    restarted: list[FakePeer] = field(default_factory=list)

    async def publish(
        self,
        source: Source,
        sdp: str,
        on_state: Callable[[PeerState], None],
        *,
        tracks: Sequence[TrackName] = OF_CANDIDATE,
        whole: bool = False,
    ) -> tuple[FakePeer, str]:
        if sdp == "bad":
            raise SdpError("line 1: no")
        self.peers.append(FakePeer(on_state, tuple(tracks)))
        return self.peers[-1], f"answer to {sdp}"

    async def observe(
        self,
        source: Source,
        sdp: str,
        on_state: Callable[[PeerState], None],
        on_held_back: Callable[[bool], None],
        *,
        tracks: Sequence[TrackName],
    ) -> tuple[FakePeer, str]:
        peer, answer = await self.publish(source, sdp, on_state, tracks=tracks)
        peer.on_held_back = on_held_back
        return peer, answer

    def restart(self, peer: FakePeer, sdp: str) -> str:
        if sdp == "bad":
            raise SdpError("another connection's")
        self.restarted.append(peer)
        return f"answer to {sdp}"


@dataclass(eq=False)
class FakeRecording:
    on_fault: Callable[[str], None]
    on_mended: Callable[[], None]
    policy: Policy
    events: list[str] = field(default_factory=list)
    closed: bool = False

    def on_frame(self, frame: object) -> None: ...

    def on_gap(self, gap: object) -> None: ...

    def mark(self, event: str, at_s: float) -> None:
        self.events.append(event)

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed = True


@dataclass
class FakeRecorder:
    recordings: list[FakeRecording] = field(default_factory=list)

    def record(
        self,
        interview_id: str,
        title: str,
        policy: Policy,
        on_fault: Callable[[str], None],
        on_mended: Callable[[], None],
    ) -> FakeRecording:
        self.recordings.append(FakeRecording(on_fault, on_mended, policy))
        return self.recordings[-1]


@dataclass(eq=False)
class FakeFeed:
    on_indicators: Callable[[tuple[Indicator, ...]], None]
    on_alert: Callable[[Alert], None]
    samples: list[NetworkSample] = field(default_factory=list)
    closed: bool = False

    def on_frame(self, frame: object) -> None: ...

    def on_gap(self, gap: object) -> None: ...

    def on_network(self, sample: NetworkSample) -> None:
        self.samples.append(sample)

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeAnalysis:
    feeds: list[FakeFeed] = field(default_factory=list)

    def feed(
        self,
        interview_id: str,
        on_indicators: Callable[[tuple[Indicator, ...]], None],
        on_alert: Callable[[Alert], None],
        request_keyframe: Callable[[], None],
    ) -> FakeFeed:
        self.feeds.append(FakeFeed(on_indicators, on_alert))
        return self.feeds[-1]


class Rig:
    """One interview, its parts, and a clock that a test sets."""

    def __init__(self, db: AsyncStore) -> None:
        self.db = db
        self.now = 1_000.0
        self.media = FakeMedia()
        self.recorder = FakeRecorder()
        self.analysis = FakeAnalysis()
        self.plant = Plant(
            cast(MediaServer, self.media),
            cast(Recorder, self.recorder),
            cast(Analysis, self.analysis),
            db,
            lambda: self.now,
        )
        self.interview: LiveInterview
        self.links: dict[Role, Link] = {}

    async def open(self) -> "Rig":
        row = await self.db.run(Store.create_interview, "Backend engineer", self.now)
        for role in set(Role) - {Role.OWNER}:
            self.links[role] = await self.db.run(Store.create_link, row.id, role, 0.0, 9_999)
        self.interview = LiveInterview(row, self.plant)
        return self

    def state(self) -> InterviewState:
        return self.interview.state

    def participant(self, role: Role, socket: bool = True) -> Participant:
        return Participant(self.links[role].id, role, Outbox() if socket else None)

    def enter(self, role: Role, socket: bool = True) -> Participant:
        made = self.participant(role, socket)
        self.interview.enter(made)
        return made

    async def join(self, socket: bool = True) -> tuple[Participant, FakePeer]:
        """A candidate whose media flows."""
        candidate = self.enter(Role.CANDIDATE, socket)
        await self.interview.publish(candidate, "offer")
        self.media.peers[-1].on_state(PeerState.CONNECTED)
        return candidate, self.media.peers[-1]

    async def interviewer_joins(self) -> tuple[Participant, FakePeer]:
        """One whose media flows."""
        interviewer = self.enter(Role.INTERVIEWER)
        await self.interview.publish(interviewer, "offer")
        self.media.peers[-1].on_state(PeerState.CONNECTED)
        return interviewer, self.media.peers[-1]

    async def events(self) -> list[str]:
        await self.interview.tick(self.now)
        return [e.name for e in await self.db.run(Store.events, self.interview.id)]


@asynccontextmanager
async def open_rig(folder: Path) -> AsyncIterator[Rig]:
    async with open_store(folder / "db") as db:
        yield await Rig(db).open()


async def told(participant: Participant) -> list[dict[str, Any]]:
    """What this socket was sent since the last time."""
    assert participant.outbox is not None
    messages = []
    while participant.outbox.waiting:
        messages.append(json.loads(await participant.outbox.next() or "null"))
    return messages
