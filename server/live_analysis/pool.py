"""The live analysis as the server sees it: feeds spread over worker processes.

The server's own process never decodes: neither PyAV nor a model is imported here. A worker that
dies takes a second of its interviews' indicators with it and nothing else.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import assert_never

from server.live_analysis import wire
from server.live_analysis.feed import Feed, FrameCounters, OnAlert, OnIndicators, RequestKeyframe
from server.live_analysis.process import WorkerProcess


@dataclass(frozen=True, slots=True)
class Counters:
    """For metrics: totals since the start, and the state now."""

    feeds: int
    frames_sent: int
    frames_dropped: int
    frames_skipped: int
    frames_undecodable: int
    keyframes_requested: int
    worker_restarts: int
    worker_cpu_s: float
    decode_cpu_s: float
    audio_cpu_s: float
    video_cpu_s: float
    #: How late the latest windows were begun, the worst worker.
    queue_delay_s: float


_NOTHING = wire.Report(0, 0, 0, 0, 0, 0)


@dataclass(slots=True)
class _Place:
    """A worker of the pool, the feeds it serves, and what its processes reported."""

    feeds: dict[int, Feed] = field(default_factory=dict)
    now: wire.Report = _NOTHING
    #: Sum of the last reports of processes that have ended.
    past: wire.Report = _NOTHING
    process: WorkerProcess = field(init=False)

    def __post_init__(self) -> None:
        self.process = WorkerProcess(self._on_message, self._on_start, self._on_end)

    @property
    def total(self) -> wire.Report:
        return _sum(self.past, self.now)

    def forget(self, feed: Feed) -> None:
        del self.feeds[feed.id]

    def _on_start(self) -> None:
        self.past, self.now = self.total, _NOTHING
        for feed in self.feeds.values():
            feed.reopen()

    def _on_end(self, id_: int) -> None:
        if (feed := self.feeds.get(id_)) is not None:
            feed.blame()

    def _on_message(self, message: wire.FromWorker) -> None:
        match message:
            case wire.Report():
                self.now = message
            # A feed closed meanwhile is no longer there.
            case wire.Measured(id_, indicators):
                if (feed := self.feeds.get(id_)) is not None:
                    feed.deliver(indicators)
            case wire.Keep(id_, kept):
                if (feed := self.feeds.get(id_)) is not None:
                    feed.keep(kept)
            case wire.NeedKeyframe(id_, dropped):
                if (feed := self.feeds.get(id_)) is not None:
                    feed.resume_at_keyframe(dropped)
            case _:
                assert_never(message)


def _sum(one: wire.Report, other: wire.Report) -> wire.Report:
    return wire.Report(
        one.cpu_s + other.cpu_s,
        one.decode_s + other.decode_s,
        one.audio_s + other.audio_s,
        one.video_s + other.video_s,
        other.queue_delay_s,
        one.undecodable + other.undecodable,
    )


class Analysis:
    """The pool: made by ``open_analysis``, used from its event loop's thread."""

    def __init__(self, workers: int) -> None:
        self._places = [_Place() for _ in range(workers)]
        self._ids = itertools.count(1)
        self._frames = FrameCounters()

    def feed(
        self,
        interview_id: str,
        on_indicators: OnIndicators,
        on_alert: OnAlert,
        request_keyframe: RequestKeyframe = lambda: None,
    ) -> Feed:
        """Analyse an interview until the feed is closed, in the worker with the fewest.

        The callbacks are called in the event loop's thread and must not block.
        ``interview_id`` stays here: a worker needs no name for what it sees.
        """
        place = min(self._places, key=lambda place: len(place.feeds))
        feed = Feed(
            next(self._ids),
            place.process,
            self._frames,
            on_indicators,
            on_alert,
            request_keyframe,
            on_close=place.forget,
        )
        place.feeds[feed.id] = feed
        return feed

    @property
    def worker_pids(self) -> list[int]:
        """Of the processes that run now."""
        return [place.process.pid for place in self._places if place.process.pid is not None]

    def counters(self) -> Counters:
        totals = [place.total for place in self._places]
        return Counters(
            feeds=sum(len(place.feeds) for place in self._places),
            frames_sent=self._frames.sent,
            frames_dropped=self._frames.dropped,
            frames_skipped=self._frames.skipped,
            frames_undecodable=sum(total.undecodable for total in totals),
            keyframes_requested=self._frames.keyframes_requested,
            worker_restarts=sum(place.process.restarts for place in self._places),
            worker_cpu_s=sum(total.cpu_s for total in totals),
            decode_cpu_s=sum(total.decode_s for total in totals),
            audio_cpu_s=sum(total.audio_s for total in totals),
            video_cpu_s=sum(total.video_s for total in totals),
            queue_delay_s=max(total.queue_delay_s for total in totals),
        )

    def start(self) -> list[asyncio.Task[None]]:
        """Keep the workers alive until these tasks are cancelled."""
        return [
            asyncio.create_task(place.process.run(), name=f"analysis worker {number}")
            for number, place in enumerate(self._places)
        ]


@asynccontextmanager
async def open_analysis(workers: int) -> AsyncIterator[Analysis]:
    """Start ``workers`` processes (at least one) and end them on leaving."""
    if workers < 1:
        raise ValueError("the analysis needs at least one worker")
    analysis = Analysis(workers)
    tasks = analysis.start()
    try:
        yield analysis
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
