"""One interview's recording as the event loop has it: a bounded queue to the writer thread."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator

from server.core.frames import EncodedFrame, Gap, GapCause, TrackName
from server.recorder.format.manifest import Policy
from server.recorder.writing.writer import Metrics

log = logging.getLogger(__name__)

#: Bytes that may wait for the disk, per recording: a minute of 4 Mbit/s.
QUEUE_BYTES = 30 << 20
#: What came waits so long for the writer thread: the disk hangs. Nothing is lost by that yet.
SLOW_S = 3.0
_FRAME_OVERHEAD = 256  # so that tiny frames are bounded too

_Event = tuple[str, float]


class Recording:
    """One interview's recording, a FrameSink: calls return at once and belong to the event loop.

    What finds the queue full is dropped, and becomes a gap (queue-full) and a call of ``on_fault``.
    What waits there for `SLOW_S` is such a call, too. After a fault, ``on_mended`` is called once
    everything that comes in is recorded again.
    """

    def __init__(
        self,
        interview_id: str,
        title: str,
        policy: Policy,
        on_fault: Callable[[str], None],
        on_mended: Callable[[], None],
        metrics: Metrics,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.interview_id = interview_id
        self.title = title
        self.policy = policy
        self.closing = False
        self.refused_s: float | None = None  #: the writer thread could not open it, when last tried
        self._on_fault = on_fault
        self._on_mended = on_mended
        self._disk_fails = False  # as the writer thread last told
        self._metrics = metrics
        self._loop = loop
        self._closed = asyncio.Event()
        self._queue: deque[EncodedFrame | Gap | _Event] = deque()
        self._bytes_in = 0  # written by the loop alone
        self._bytes_out = 0  # written by the writer thread alone
        self._dropped: dict[TrackName, Gap] = {}
        self._waits_since_s: float | None = None  # the oldest in the queue, or a bit longer
        self._slow = False

    def on_frame(self, frame: EncodedFrame) -> None:
        if self.closing:
            return
        size = len(frame.payload) + _FRAME_OVERHEAD
        if self._bytes_in - self._bytes_out + size > QUEUE_BYTES:
            self._drop(frame)
            return
        if self._dropped:
            self._declare_dropped()
        self._watch(time.monotonic())
        self._bytes_in += size
        self._queue.append(frame)

    def on_gap(self, gap: Gap) -> None:
        if not self.closing:
            self._queue.append(gap)

    def mark(self, event: str, at_s: float) -> None:
        """Note an event at Unix time ``at_s`` in the recording's manifest."""
        if not self.closing:
            self._queue.append((event, at_s))

    async def close(self) -> None:
        """Flush, seal and sign; returns when that is on the disk (or has failed). Idempotent."""
        if self._dropped:
            self._declare_dropped()
        self.closing = True
        await self._closed.wait()

    def fault(self, message: str) -> None:
        """From the writer thread: deliver ``on_fault`` on the loop."""
        self._call_on_loop(self._disk_failed, message)

    def mended(self) -> None:
        """From the writer thread: what came in is on the disk again."""
        self._call_on_loop(self._disk_mended)

    def closed(self) -> None:
        """From the writer thread: everything is written."""
        self._call_on_loop(self._closed.set)

    def drain(self) -> Iterator[EncodedFrame | Gap | _Event]:
        """From the writer thread: what came in so far."""
        self._waits_since_s = None
        for _ in range(len(self._queue)):
            item = self._queue.popleft()
            if isinstance(item, EncodedFrame):
                self._bytes_out += len(item.payload) + _FRAME_OVERHEAD
            yield item

    def _watch(self, now_s: float) -> None:
        """Tell when the writer thread has taken nothing for long, and when it does again."""
        since_s = self._waits_since_s
        if since_s is None:
            self._waits_since_s = now_s
            if self._slow:
                self._slow = False
                self._tell_mended()
        elif not self._slow and now_s - since_s >= SLOW_S:
            self._slow = True
            self._on_fault(f"what comes has waited for {SLOW_S:.0f} s to be written")

    def _tell_mended(self) -> None:
        if not (self._disk_fails or self._dropped or self._slow):
            self._on_mended()

    def _drop(self, frame: EncodedFrame) -> None:
        if not self._dropped:
            self._on_fault("more comes than can be written: frames are being dropped")
        known = self._dropped.get(frame.track)
        start_s = min(known.start_s, frame.capture_s) if known else frame.capture_s
        lost = known.lost + 1 if known else 1
        self._dropped[frame.track] = Gap(
            frame.track, start_s, frame.capture_s, GapCause.QUEUE_FULL, lost
        )
        self._metrics.frames_dropped += 1

    def _declare_dropped(self) -> None:
        self._queue.extend(self._dropped.values())
        self._dropped.clear()
        self._tell_mended()

    def _disk_failed(self, message: str) -> None:
        self._disk_fails = True
        self._on_fault(message)

    def _disk_mended(self) -> None:
        self._disk_fails = self._slow = False
        self._tell_mended()

    def _call_on_loop(self, call: Callable[..., None], *arguments: str) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            log.warning("the event loop is gone: %s", arguments)
