"""One interview of a run: a candidate, its observer and the observer's socket."""

import asyncio
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import aiohttp

from loadtest.endpoints import Endpoints
from loadtest.histogram import merged
from loadtest.invites import Invite
from loadtest.media import TrackName
from loadtest.network import Network
from loadtest.observer import Observer
from loadtest.packets import PacketisedClip
from loadtest.peer import Candidate, Crowd
from loadtest.receiver import TrackReceiver
from loadtest.recording import Sent, SentTrack
from loadtest.results import InterviewResult
from loadtest.sdp import AnswerError
from loadtest.transport import ConnectError
from loadtest.truth import Offsets
from loadtest.watch import Watcher, WatchError
from loadtest.whip import Refused, Whip

NOT_BEGUN = "interrupted before it began"
#: What is still on its way, repairs included, after the candidates have stopped.
DRAIN_S = 0.5
JOIN_ERRORS = (Refused, ConnectError, AnswerError, WatchError, aiohttp.ClientError, TimeoutError)
WELCOME_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Networks:
    """The emulated networks of one interview; None: the machine's own."""

    candidate: Network | None = None
    observer: Network | None = None


class Interview:
    """`join`, then `collect` at any time, then `leave`; a failed join is in the result.

    In between it may `reconnect`, or be ended before the others by `finish`.
    """

    def __init__(
        self,
        crowd: Crowd,
        url: str,
        invite: Invite | Endpoints,
        clip: PacketisedClip,
        networks: Networks | None = None,
    ) -> None:
        """`invite`: to our own server at `url`, or the endpoints of another."""
        networks = networks or Networks()
        self.result = InterviewResult(error=NOT_BEGUN)
        self._ways = _ways(crowd.http, url, invite)
        self.candidate = Candidate(crowd, self._ways.whip, clip, networks.candidate)
        self.observers: list[Observer] = []  #: the last one is there now
        self.watchers: list[Watcher] = []
        self._token = invite.observer if isinstance(invite, Invite) else None
        self._crowd, self._url, self._network = crowd, url, networks.observer
        self._watching: asyncio.Task[None] | None = None
        self._sent_before: dict[TrackName, int] = {}
        self._up_since: float | None = None
        self._refused_before = 0  #: by earlier connections' sockets
        self._finished = False

    async def join(self, observed: bool = True) -> None:
        """The candidate, and with `observed` the observer after it."""
        began = time.monotonic()
        with self._noting_errors():
            await self.candidate.join()
            self.result.join_s = time.monotonic() - began
            self._up_since = time.monotonic()
            if observed:
                await self._observe()

    async def observe(self) -> None:
        """The observer of an interview that was joined without one."""
        with self._noting_errors():
            await self._observe()

    async def reconnect(self) -> None:
        """Both lose their network without a word and come back by the same links."""
        if self.result.error is not None:
            return
        self.collect()
        self._refused_before += self.candidate.datagrams_refused
        self.candidate = self.candidate.vanish()
        for observer in self.observers[-1:]:
            observer.end_viewing(time.time())
            observer.vanish()
        await self._stop_watching()
        began = time.monotonic()
        with self._noting_errors():
            await self.candidate.join()
            self.result.rejoin_s.add(time.monotonic() - began)
            if self.observers:
                await self._observe()

    def begin_measuring(self) -> None:
        """From now on it counts how long the interview is up."""
        if self._up_since is not None:
            self._up_since = time.monotonic()

    async def finish(self) -> None:
        """Ends it for good, what is on its way included in the result."""
        self.end_viewing()
        self.candidate.pause()
        await asyncio.sleep(DRAIN_S)
        self.collect()
        self._finished = self.result.left = True
        await self.leave()

    async def leave(self) -> None:
        await self._stop_watching()
        for observer in self.observers[-1:]:
            with suppress(*JOIN_ERRORS):
                await observer.leave()
        with suppress(*JOIN_ERRORS):
            await self.candidate.leave()

    async def _observe(self) -> None:
        if self._ways.whep is None:
            return
        candidate = self.candidate
        ssrcs = {candidate.audio_ssrc, candidate.video_ssrc}
        if candidate.screen_ssrc is not None:
            ssrcs.add(candidate.screen_ssrc)
        self.observers.append(
            Observer(self._crowd, self._ways.whep, ssrcs, self._network, candidate.screen_ssrc)
        )
        await self.observers[-1].join()
        self._sent_before = self._frames_begun()
        if self._token is not None:
            await self._watch(Watcher(self._crowd.http, self._url, self._token))

    @contextmanager
    def _noting_errors(self) -> Iterator[None]:
        try:
            yield
        except JOIN_ERRORS as error:
            self.result.error = str(error) or type(error).__name__
        else:
            self.result.error = None

    async def _stop_watching(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            with suppress(asyncio.CancelledError, *JOIN_ERRORS):
                await watching

    async def _watch(self, watcher: Watcher) -> None:
        self.watchers.append(watcher)
        self._watching = asyncio.create_task(watcher.run(), name="observer's socket")
        welcomed = asyncio.create_task(watcher.joined.wait(), name="welcome")
        either = {self._watching, welcomed}
        done, _ = await asyncio.wait(either, timeout=WELCOME_TIMEOUT_S, return_when=FIRST_COMPLETED)
        welcomed.cancel()
        if self._watching in done:
            await self._watching  # raises what went wrong
        if not watcher.joined.is_set():
            raise WatchError("the server closed the observer's socket, or said no welcome")

    def _frames_begun(self) -> dict[TrackName, int]:
        return {name: track.frames for name, track in self.candidate.tracks().items()}

    def collect(self) -> InterviewResult:
        """The result so far."""
        result = self.result
        if result.error is None and not self._finished:
            result.connection_lost = self._what_was_lost()
            if self._up_since is not None:
                result.up_s = time.monotonic() - self._up_since
            self._collect_sent()
            self._collect_received()
            self._collect_seen()
        return result

    def end_viewing(self) -> None:
        """Nobody looks on from here: a picture that stands now is no freeze later."""
        for observer in self.observers[-1:]:
            observer.end_viewing(time.time())

    def sent_tracks(self) -> Sent:
        """What the recording should hold."""
        return {
            track.ssrc: SentTrack(name, track.frames)
            for name, track in self.candidate.tracks().items()
        }

    def _what_was_lost(self) -> str | None:
        if self.candidate.lost.is_set():
            return "the candidate's media connection was lost"
        if self.observers and self.observers[-1].lost.is_set():
            return "the observer's media connection was lost"
        if self._watching is not None and self._watching.done():
            return f"the observer's socket: {self._watching.exception()}"
        return None

    def _collect_sent(self) -> None:
        result = self.result
        tracks = self.candidate.streams()
        result.packets_sent = sum(track.packets for track in tracks)
        result.octets_sent = sum(track.octets for track in tracks)
        result.packets_retransmitted = sum(track.retransmitted for track in tracks)
        once = [track for track in tracks if track.red is None]
        result.packets_sent_once = sum(track.packets for track in once)
        result.packets_asked_for = sum(track.asked_for for track in once)
        result.datagrams_refused = self._refused_before + self.candidate.datagrams_refused
        result.datagrams_refused += sum(each.datagrams_refused for each in self.observers)
        result.max_bitrate_bps = self.candidate.max_bitrate_bps
        if self.observers:
            result.frames_sent = self._frames_sent("camera")
            result.audio_frames_sent = self._frames_sent("microphone")
            result.screen_frames_sent = self._frames_sent("screen")
        result.layers_offered = len(self.candidate.rids)
        layers = self.candidate.layers
        result.layers_accepted = 1 + len(layers) if layers else 0
        result.screen_offered = self.candidate.screen_ssrc is not None
        result.screen_accepted = self.candidate.screen is not None

    def _frames_sent(self, name: TrackName) -> int:
        """Those that the observers of each connection should have seen."""
        *earlier, last = self.observers
        first, before = last.first_frame(name), self._sent_before.get(name, 0)
        now = self._frames_begun().get(name, 0) - (before if first is None else first)
        return now + sum(
            track.frames.expected
            for observer in earlier
            for track in observer.tracks.values()
            if track.name == name
        )

    def _collect_received(self) -> None:
        result, tracks = self.result, self._tracks()
        if self.observers:
            result.first_picture_s = self.observers[0].first_picture_s
        result.packets_received = sum(track.packets.received for track in tracks)
        result.packets_lost = sum(track.packets.lost for track in tracks)
        result.packets_repaired = sum(track.repaired for track in tracks)
        result.packets_duplicated = sum(track.packets.duplicates for track in tracks)
        result.frames_received = self._frames_received("camera")
        result.audio_frames_received = self._frames_received("microphone")
        result.screen_frames_received = self._frames_received("screen")
        result.frames_misrouted = sum(track.misrouted for track in tracks)
        result.forward_latency_s = merged(each.latency_s() for each in self.observers)
        result.indicator_latency_s = merged(each.latency_s for each in self.watchers)

    def _frames_received(self, name: TrackName) -> int:
        return sum(track.frames.received for track in self._tracks() if track.name == name)

    def _collect_seen(self) -> None:
        result = self.result
        video = [track for track in self._tracks() if track.name == "camera"]
        result.frames_expected = sum(track.frames.expected for track in video)
        result.frames_shown = sum(track.viewing.shown for track in video)
        result.frames_duplicated = sum(track.frames.duplicates for track in video)
        result.frames_out_of_order = sum(track.viewing.out_of_order for track in video)
        result.freezes_s = merged(track.viewing.freezes_s for track in video)
        result.layer_switches_s = merged(track.switches_s for track in video)
        result.av_offsets = Offsets()
        for observer in self.observers:
            result.av_offsets.merge(observer.lip_sync.offsets)

    def _tracks(self) -> list[TrackReceiver]:
        return [track for observer in self.observers for track in observer.tracks.values()]


def _ways(http: aiohttp.ClientSession, url: str, invite: Invite | Endpoints) -> Endpoints:
    if isinstance(invite, Endpoints):
        return invite
    whip = Whip(http, f"{url}/whip/{invite.candidate}")
    return Endpoints(whip, Whip(http, f"{url}/whep/{invite.observer}"))
