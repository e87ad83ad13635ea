"""`/metrics`, `/healthz` and `/readyz`: what an operator's monitoring asks."""

import asyncio
import hmac
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from server.core.interviews import InterviewState
from server.recorder.catalog.derived import Left
from server.signaling.access import token_of
from server.signaling.errors import Refusal
from server.signaling.hub import Hub
from server.signaling.load import LoopLag
from server.signaling.plant import Plant
from server.signaling.protocol import ErrorId


class _Collector(Collector):
    """Reads the parts' own counters at each scrape; nothing is counted twice.

    `whole`: also what an observer more or less changes.
    """

    def __init__(self, hub: Hub, plant: Plant, lag: LoopLag, whole: bool) -> None:
        self._hub = hub
        self._plant = plant
        self._lag = lag
        self._whole = whole

    def collect(self) -> Iterable[Metric]:
        yield self._loop_lag()
        yield from self._running()
        yield from self._recorder()
        yield from self._compressing()
        yield from self._analysis()
        if self._whole:
            yield from self._admission()
            yield _thread_cpu()
            yield _gauge("tasks", "Tasks of the event loop", len(asyncio.all_tasks()))
            yield from self._interviews()
            yield from self._media()

    def _loop_lag(self) -> Metric:
        gauge = GaugeMetricFamily(
            "vivavoce_event_loop_lag_seconds",
            "How late the event loop was in the last minute, by quantile",
            labels=["quantile"],
        )
        for q in (0.5, 0.95, 0.99, 1.0):
            gauge.add_metric([f"{q:g}"], self._lag.quantile(q))
        return gauge

    def _admission(self) -> Iterable[Metric]:
        admission, now = self._plant.admission, self._plant.clock()
        headroom = GaugeMetricFamily(
            "vivavoce_headroom",
            "What is left for one more candidate: 1 all, 0 too little",
            labels=["resource"],
        )
        for each, left in admission.headroom(now).items():
            headroom.add_metric([each], left)
        yield headroom
        refused = CounterMetricFamily(
            "vivavoce_refused", "Newcomers refused, and for want of what", labels=["role", "reason"]
        )
        for (role, reason), count in admission.refused.items():
            refused.add_metric([role, reason], count)
        yield refused

    def _running(self) -> Iterable[Metric]:
        admission = self._plant.admission
        yield _gauge("interviews_running", "Interviews being recorded", admission.running)
        yield _gauge("draining", "1 once no new interviews are taken", admission.draining)

    def _interviews(self) -> Iterable[Metric]:
        live = self._hub.live
        states = GaugeMetricFamily(
            "vivavoce_interviews", "Interviews with somebody in them", labels=["state"]
        )
        for state in InterviewState:
            states.add_metric([state], sum(each.state is state for each in live))
        yield states
        yield _gauge("observers", "Open observers", sum(each.observers for each in live))
        told = self._plant.counters
        yield _counter("messages_dropped", "Indicators too old for an observer", told.dropped)
        yield _counter("slow_observers", "Sockets closed as too slow", told.slow_readers)

    def _media(self) -> Iterable[Metric]:
        stats = self._plant.media.stats()
        yield _gauge("peers", "WebRTC peers", stats.peers)
        yield _counter("datagrams_in", "Datagrams, TCP frames received", stats.datagrams_in)
        yield _counter("datagrams_out", "Datagrams, TCP frames sent", stats.datagrams_out)
        yield _counter(
            "datagrams_refused", "Datagrams, TCP frames refused", stats.datagrams_refused
        )
        yield _counter("datagrams_failed", "Datagrams lost by a bug", stats.datagrams_failed)
        yield _counter("datagrams_dropped", "Not sent: full sockets", stats.datagrams_dropped)
        yield _gauge("tcp_connections", "TCP connections to the media", stats.tcp_connections)
        yield _counter("tcp_refused", "TCP connections refused", stats.tcp_refused)
        counted = CounterMetricFamily(
            "vivavoce_media", "Packets, frames and requests of all streams", labels=["what"]
        )
        for what, count in sorted(stats.counted.items()):
            counted.add_metric([what], count)
        yield counted

    def _recorder(self) -> Iterable[Metric]:
        now = self._plant.recorder.metrics
        yield _counter("recorder_fragments", "Fragments written", now.fragments_written)
        yield _counter("recorder_bytes", "Bytes written", now.bytes_written)
        yield _counter("recorder_fsyncs", "Files synced", now.fsyncs)
        yield _counter("recorder_write_failures", "Writes failed", now.write_failures)
        yield _counter("recorder_frames_dropped", "Frames the disk missed", now.frames_dropped)
        if self._plant.recorder.uploader is not None:
            stored = self._plant.recorder.uploader.metrics
            yield _counter("store_files", "Files brought into the store", stored.files)
            yield _counter("store_bytes", "Bytes brought into the store", stored.bytes)
            yield _counter("store_failures", "Rounds that the store refused", stored.failures)
            yield _gauge("store_waiting_bytes", "Closed, and here alone", stored.waiting_bytes)
            behind_s = self._plant.recorder.store_behind_s()
            yield _gauge("store_behind_seconds", "Since the store had all that is closed", behind_s)
        yield _gauge("recorder_write_lag_seconds", "From arrival to durable", now.write_lag_s)

    def _compressing(self) -> Iterable[Metric]:
        now = self._plant.compressing
        yield _counter("recordings_compressed", "Finished recordings made small", now.compressed)
        yield _counter("compress_source_bytes", "Of those, before", now.source_bytes)
        yield _counter("compress_bytes", "Of those, after", now.bytes)
        left = CounterMetricFamily(
            "vivavoce_recordings_left", "Recordings that stay as they are", labels=["reason"]
        )
        for reason in Left:
            left.add_metric([reason], now.left[reason])
        yield left
        yield _counter("compress_failures", "Recordings not compressed by a fault", now.failures)
        yield _gauge("compress_running", "1 while one is being compressed", now.running)
        yield _gauge("compress_paused", "1 while it waits for interviews or exports", now.paused)
        yield _gauge("compress_done", "Share of it that is done, 0 to 1", now.done)

    def _analysis(self) -> Iterable[Metric]:
        if self._plant.analysis is None:
            return
        now = self._plant.analysis.counters()
        yield _gauge("analysis_feeds", "Interviews being analysed", now.feeds)
        yield _counter("analysis_frames_sent", "Frames sent to workers", now.frames_sent)
        yield _counter("analysis_frames_dropped", "Frames shed", now.frames_dropped)
        yield _counter("analysis_frames_skipped", "Frames not sampled", now.frames_skipped)
        yield _counter(
            "analysis_frames_undecodable", "Frames not decodable", now.frames_undecodable
        )
        yield _counter("analysis_worker_restarts", "Workers restarted", now.worker_restarts)
        yield _counter("analysis_cpu_seconds", "CPU of the workers", now.worker_cpu_s)
        yield _gauge("analysis_queue_delay_seconds", "Wait before analysis", now.queue_delay_s)


class Metrics:
    """The three handlers; ``ready`` is false until all is open and again while stopping.

    `token`: with it come all metrics, without it those that tell no candidate whether somebody
    observes. (A request through a proxy comes from this machine, whoever made it.)
    """

    def __init__(self, hub: Hub, plant: Plant, lag: LoopLag, token: str) -> None:
        self._public, self._registry = CollectorRegistry(), CollectorRegistry()
        self._public.register(_Collector(hub, plant, lag, whole=False))
        self._registry.register(_Collector(hub, plant, lag, whole=True))
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._plant = plant
        self._token = token.encode()
        self.ready = False

    async def metrics(self, request: web.Request) -> web.Response:
        token = token_of(request)
        if token is None:
            body = generate_latest(self._public)
            return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
        if not hmac.compare_digest(token.encode(errors="replace"), self._token):
            raise Refusal(ErrorId.TOKEN_INVALID, "This is not the token of the metrics.")
        # /proc is read in a thread; our own counters belong to the loop.
        process = await asyncio.to_thread(generate_latest, self._process)
        body = generate_latest(self._registry) + process
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(self, _: web.Request) -> web.Response:
        """503 where the next request should go elsewhere. A busy server is ready: those inside
        come back to it. How much is left is not for everybody: one more observer takes of it."""
        admission = self._plant.admission
        if not self.ready or admission.draining:
            said = "draining" if admission.draining else "not ready"
            return web.Response(status=503, text=f"{said}\n")
        left = min(admission.headroom(self._plant.clock()).values())
        return web.Response(text="ready\n" if left > 0 else "busy\n")


def _thread_cpu() -> Metric:
    counter = CounterMetricFamily(
        "vivavoce_thread_cpu_seconds", "CPU of this process's threads", labels=["thread"]
    )
    spent: dict[str, float] = {}
    for thread in threading.enumerate():
        with suppress(OSError):  # it has just ended
            clock = time.pthread_getcpuclockid(thread.ident or 0)
            spent[thread.name] = spent.get(thread.name, 0.0) + time.clock_gettime(clock)
    for name, seconds in spent.items():
        counter.add_metric([name], seconds)
    return counter


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(f"vivavoce_{name}", help, value=value)


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(f"vivavoce_{name}", help, value=value)
