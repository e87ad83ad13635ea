"""One interview of a run: a candidate, its observer and the observer's socket."""

import asyncio
import time
from asyncio import FIRST_COMPLETED
from contextlib import suppress

import aiohttp

from loadtest.endpoints import Endpoints
from loadtest.histogram import merged
from loadtest.invites import Invite
from loadtest.observer import Observer
from loadtest.packets import PacketisedClip
from loadtest.peer import Candidate, Crowd
from loadtest.recording import Sent, SentTrack
from loadtest.report import InterviewResult
from loadtest.sdp import AnswerError
from loadtest.transport import ConnectError
from loadtest.watch import Watcher, WatchError
from loadtest.whip import Refused, Whip

JOIN_ERRORS = (Refused, ConnectError, AnswerError, WatchError, aiohttp.ClientError, TimeoutError)
WELCOME_TIMEOUT_S = 10


def _ways(
    http: aiohttp.ClientSession, url: str, invite: Invite | Endpoints
) -> tuple[Endpoints, Watcher | None]:
    if isinstance(invite, Endpoints):
        return invite, None
    whip = Whip(http, f"{url}/whip/{invite.candidate}")
    whep = Whip(http, f"{url}/whep/{invite.observer}")
    return Endpoints(whip, whep), Watcher(http, url, invite.observer)


class Interview:
    """`join`, then `collect` at any time, then `leave`; a failed join is in the result."""

    def __init__(
        self, crowd: Crowd, url: str, invite: Invite | Endpoints, clip: PacketisedClip
    ) -> None:
        """`invite`: to our own server at `url`, or the endpoints of another."""
        self.result = InterviewResult(error="interrupted before it began")
        ways, self.watcher = _ways(crowd.http, url, invite)
        self.candidate = Candidate(crowd, ways.whip, clip)
        ssrcs = {self.candidate.audio_ssrc, self.candidate.video_ssrc}
        self._observed = ways.whep is not None
        self.observer = Observer(crowd, ways.whep or url, ssrcs)
        self._watching: asyncio.Task[None] | None = None
        self._sent_before = (0, 0)

    async def join(self) -> None:
        began = time.monotonic()
        try:
            await self.candidate.join()
            self.result.join_s = time.monotonic() - began
            if self._observed:
                await self.observer.join()
                self._sent_before = self._frames_begun()
            if self.watcher is not None:
                await self._watch(self.watcher)
        except JOIN_ERRORS as error:
            self.result.error = str(error) or type(error).__name__
        else:
            self.result.error = None

    async def leave(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError, *JOIN_ERRORS):
                await self._watching
        with suppress(*JOIN_ERRORS):
            await self.observer.leave()
        with suppress(*JOIN_ERRORS):
            await self.candidate.leave()

    async def _watch(self, watcher: Watcher) -> None:
        self._watching = asyncio.create_task(watcher.run(), name="observer's socket")
        welcomed = asyncio.create_task(watcher.joined.wait(), name="welcome")
        either = {self._watching, welcomed}
        done, _ = await asyncio.wait(either, timeout=WELCOME_TIMEOUT_S, return_when=FIRST_COMPLETED)
        welcomed.cancel()
        if self._watching in done:
            await self._watching  # raises what went wrong
        if not watcher.joined.is_set():
            raise WatchError("the server closed the observer's socket, or said no welcome")

    def _frames_begun(self) -> tuple[int, int]:
        video, audio = self.candidate.video, self.candidate.audio
        return (video.frames if video else 0, audio.frames if audio else 0)

    def collect(self) -> InterviewResult:
        """The result so far."""
        result = self.result
        if result.error is None:
            result.connection_lost = self._what_was_lost()
            self._collect_sent()
            if self._observed:
                self._collect_received()
        return result

    def end_viewing(self) -> None:
        """Nobody looks on from here: a picture that stands now is no freeze later."""
        self.observer.end_viewing(time.time())

    def sent_tracks(self) -> Sent:
        """What the recording should hold."""
        tracks = (self.candidate.video, self.candidate.audio)
        return {
            track.ssrc: SentTrack(track is self.candidate.video, track.frames)
            for track in tracks
            if track is not None
        }

    def _what_was_lost(self) -> str | None:
        if self.candidate.lost.is_set():
            return "the candidate's media connection was lost"
        if self.observer.lost.is_set():
            return "the observer's media connection was lost"
        if self._watching is not None and self._watching.done():
            return f"the observer's socket: {self._watching.exception()}"
        return None

    def _collect_sent(self) -> None:
        result = self.result
        tracks = [each for each in (self.candidate.audio, self.candidate.video) if each]
        result.packets_sent = sum(track.packets for track in tracks)
        result.packets_retransmitted = sum(track.retransmitted for track in tracks)
        result.datagrams_refused = self.candidate.datagrams_refused
        if not self._observed:
            return
        begun = self._frames_begun()
        starts = (self.observer.first_frame(video=True), self.observer.first_frame(video=False))
        result.frames_sent, result.audio_frames_sent = (
            sent - (before if first is None else first)
            for sent, before, first in zip(begun, self._sent_before, starts, strict=True)
        )

    def _collect_received(self) -> None:
        result, tracks = self.result, self.observer.tracks.values()
        result.first_picture_s = self.observer.first_picture_s
        result.packets_received = sum(track.packets.received for track in tracks)
        result.packets_lost = sum(track.packets.lost for track in tracks)
        result.packets_duplicated = sum(track.packets.duplicates for track in tracks)
        result.frames_received = sum(track.frames.received for track in tracks if track.is_video)
        result.audio_frames_received = sum(
            track.frames.received for track in tracks if not track.is_video
        )
        result.frames_misrouted = sum(track.misrouted for track in tracks)
        self._collect_seen()
        result.forward_latency_s = self.observer.latency_s()
        if self.watcher is not None:
            result.indicator_latency_s = self.watcher.latency_s

    def _collect_seen(self) -> None:
        result = self.result
        video = [track for track in self.observer.tracks.values() if track.is_video]
        result.frames_expected = sum(track.frames.expected for track in video)
        result.frames_shown = sum(track.viewing.shown for track in video)
        result.frames_duplicated = sum(track.frames.duplicates for track in video)
        result.frames_out_of_order = sum(track.viewing.out_of_order for track in video)
        result.freezes_s = merged(track.viewing.freezes_s for track in video)
        result.av_offsets = self.observer.lip_sync.offsets
