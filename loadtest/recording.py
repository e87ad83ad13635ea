"""Finished recordings, fetched as a recruiter does, searched for the frames that were sent."""

import asyncio
import io
from collections import Counter
from dataclasses import dataclass, field
from math import inf

import aiohttp
import av
import msgspec

from loadtest.media import TrackName
from loadtest.results import RecordingResult
from loadtest.stamp import find_stamp
from loadtest.truth import LipSync
from loadtest.whip import REQUEST_TIMEOUT

#: A recording is sealed and signed within moments of the goodbye.
FINISH_TIMEOUT_S = 20.0
POLL_S = 0.25
#: A long recording is read faster than one link may ask.
TOO_MANY_REQUESTS = 429
#: A gap may begin and end so far from the frames next to it.
GAP_TOLERANCE_S = 0.1


class RecordingError(Exception):
    """The recording cannot be checked; the text says why."""


class Gap(msgspec.Struct, frozen=True):
    """One entry of the declared gap ledger; seconds since the recording's start."""

    track: str
    start_s: float
    end_s: float


class _Fragment(msgspec.Struct, frozen=True):
    seq: int
    init: int
    screen: int | None = None  #: the screen's own init; null: no picture of the screen


class Index(msgspec.Struct, frozen=True):
    """What is needed of `GET /api/recordings/ID` (docs/architecture.md)."""

    state: str
    fragments: tuple[_Fragment, ...]
    gaps: tuple[Gap, ...]
    tracks: tuple[str, ...]


_decode_index = msgspec.json.Decoder(Index).decode


@dataclass(frozen=True, slots=True)
class SentTrack:
    """What a candidate has sent under one SSRC: frames 0 up to `frames`."""

    name: TrackName
    frames: int


#: By SSRC; a candidate who joins again has new ones.
Sent = dict[int, SentTrack]


@dataclass(slots=True)
class _Missing:
    """A row of frames that are not there, between two that are (seconds of media time)."""

    frames: int
    from_s: float
    to_s: float


@dataclass(slots=True)
class _Track:
    """Walks along one track of a recording; memory does not grow with the frames it meets."""

    sent: Sent
    missing: list[_Missing] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)  #: sources
    source: int | None = None
    last: int = -1
    last_s: float = -inf

    def take(self, source: int, frame: int, media_s: float) -> None:
        if source != self.source:
            self._end_source(media_s)
            self.source, self.last = source, -1
            self.seen.add(source)
        if frame > self.last + 1:
            self.missing.append(_Missing(frame - self.last - 1, self.last_s, media_s))
        # The replay holds the first picture until it is due: its later time is the true one.
        self.last, self.last_s = max(self.last, frame), media_s

    def finish(self) -> None:
        self._end_source(inf)
        for source, track in self.sent.items():
            if source not in self.seen and track.frames:
                self.missing.append(_Missing(track.frames, -inf, inf))

    def _end_source(self, next_s: float) -> None:
        if self.source is not None:
            rest = self.sent[self.source].frames - self.last - 1
            if rest > 0:
                self.missing.append(_Missing(rest, self.last_s, next_s))


class Inspection:
    """Of one recording: `add` its fragments in their order, then read `result`."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        names: dict[TrackName, None] = {each.name: None for each in sent.values()}
        self._tracks = {
            name: _Track({ssrc: each for ssrc, each in sent.items() if each.name == name})
            for name in names
        }
        self._sync = LipSync()
        self._foreign = 0
        self._layers: Counter[int] = Counter()  # frames of the camera
        self._newest_s: dict[int, float] = {}  # by SSRC: Unix time at which a frame was sent

    def add(self, fragment: bytes) -> None:
        """An init segment with one media segment after it. Raises RecordingError."""
        try:
            with av.open(io.BytesIO(fragment), "r") as container:
                for packet in container.demux():
                    if packet.pts is not None and packet.time_base is not None:
                        media_s = float(packet.pts * packet.time_base)
                        self._take(packet.stream.type == "video", bytes(packet), media_s)
        except av.FFmpegError as error:
            raise RecordingError(f"a fragment that cannot be demuxed: {error}") from error

    def _take(self, video: bool, payload: bytes, media_s: float) -> None:
        stamp = find_stamp(payload)
        if stamp is None:
            return  # silence that fills a hole
        sent = self._sent.get(stamp.source)
        if sent is None or (sent.name != "microphone") is not video:
            self._foreign += 1
            return
        self._tracks[sent.name].take(stamp.source, stamp.frame, media_s)
        self._newest_s[stamp.source] = max(self._newest_s.get(stamp.source, 0.0), stamp.sent_s)
        if sent.name == "camera":
            self._layers[stamp.layer] += 1
        if sent.name != "screen":
            self._sync.add(video, stamp.sent_s, media_s)

    def result(self, gaps: tuple[Gap, ...]) -> RecordingResult:
        """Call it once, with the recording's own ledger."""
        self._sync.finish()
        result = RecordingResult(gaps_declared=len(gaps), layers=dict(self._layers))
        for name, track in self._tracks.items():
            track.finish()
            ledger = [gap for gap in gaps if gap.track == name]
            undeclared = [each for each in track.missing if not _declared(each, ledger)]
            result.frames_sent += sum(each.frames for each in track.sent.values())
            result.frames_missing += sum(each.frames for each in track.missing)
            result.frames_undeclared += sum(each.frames for each in undeclared)
            result.gaps_undeclared += len(undeclared)
            if name == "camera":
                result.video_missing = sum(each.frames for each in track.missing)
            elif name == "screen":
                result.screen_recorded = bool(track.seen)
        result.av_offsets, result.drift = self._sync.offsets, self._sync.drift()
        result.newest_s = self._newest_s
        if self._foreign:
            result.error = f"{self._foreign} frames of another candidate"
        return result


def _declared(missing: _Missing, ledger: list[Gap]) -> bool:
    """Whether the ledger's gaps together cover the time of the missing frames."""
    covered_s = max(missing.from_s, 0.0)
    end_s = covered_s if missing.to_s == inf else missing.to_s
    covering = False
    for gap in sorted(ledger, key=lambda each: each.start_s):
        if gap.start_s <= covered_s + GAP_TOLERANCE_S and gap.end_s >= covered_s - GAP_TOLERANCE_S:
            covered_s, covering = max(covered_s, gap.end_s), True
    return covering and covered_s >= end_s - GAP_TOLERANCE_S


# ---- fetching -----------------------------------------------------------------------------


async def check_recording(
    http: aiohttp.ClientSession, url: str, interview_id: str, token: str, sent: Sent
) -> RecordingResult:
    """Waits until the recording at the server `url` is finished, then reads all of it."""
    fetch = _Fetch(http, f"{url}/api/recordings/{interview_id}", token)
    try:
        index = await fetch.finished()
        inspection = Inspection(sent)
        for fragment in index.fragments:
            inits = {"": fragment.init, "/screen": fragment.screen}
            for replay, init in inits.items():
                if init is not None:
                    media = await fetch.playable(replay, init, fragment.seq)
                    if media is not None:
                        await asyncio.to_thread(inspection.add, media)
        result = inspection.result(index.gaps)
        if result.screen_recorded is not None:
            result.screen_recorded &= "screen" in index.tracks
        return result
    except (RecordingError, aiohttp.ClientError, TimeoutError) as error:
        return RecordingResult(error=str(error) or type(error).__name__)


@dataclass(frozen=True, slots=True)
class _Fetch:
    http: aiohttp.ClientSession
    base: str
    token: str
    inits: dict[str, bytes] = field(default_factory=dict)

    async def playable(self, replay: str, init: int, seq: int) -> bytes | None:
        """The fragment with its init before it, if anything of it is played. Raises as `get`."""
        path = f"{replay}/init/{init}"
        if path not in self.inits:
            self.inits[path] = await self.get(path)
        media = await self.get(f"{replay}/fragment/{seq}")
        return self.inits[path] + media if media else None

    async def get(self, path: str = "") -> bytes:
        """Raises RecordingError, aiohttp.ClientError or TimeoutError."""
        headers = {"Authorization": f"Bearer {self.token}"}
        while True:
            async with self.http.get(
                self.base + path, headers=headers, timeout=REQUEST_TIMEOUT
            ) as response:
                body = await response.read()
                if response.status == 200:
                    return body
                if response.status != TOO_MANY_REQUESTS:
                    raise RecordingError(f"HTTP {response.status} for {path or 'the index'}")
            await asyncio.sleep(POLL_S)

    async def finished(self) -> Index:
        """Raises what `get` does."""
        async with asyncio.timeout(FINISH_TIMEOUT_S):
            while True:
                try:
                    index = _decode_index(await self.get())
                except msgspec.DecodeError as error:
                    raise RecordingError(f"not an index: {error}") from error
                if index.state != "recording":
                    return index
                await asyncio.sleep(POLL_S)
