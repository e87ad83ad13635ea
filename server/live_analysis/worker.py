"""A worker process: reads frames from its socket, writes indicators to it, ends when it closes.

Started by the pool as ``python -m server.live_analysis.worker PIPE DESK``. It decodes what
candidates send, so it is made poor: no core dumps, no files, nobody to connect to, bounded memory,
low priority, and none of the server's environment.
"""

import enum
import mmap
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import assert_never

import av.logging

from server.confine import confine
from server.core.indicators import Indicator
from server.live_analysis import wire
from server.live_analysis.blazeface import CLOSE_RANGE, FULL_RANGE, SHORT_RANGE
from server.live_analysis.models import face_model, speech_model
from server.live_analysis.session import Costs, Session
from server.priority import give_way, leave_terminal

#: Each interview is measured this often.
PERIOD_S = 0.2
REPORT_S = 1.0
#: Address space: models and decoders of fifty interviews need under a fifth of it.
MOST_MEMORY = 8 << 30
NICENESS = 10
_CHUNK = 1 << 18


class Step(enum.IntEnum):
    """What is done for each interview in a period: first all are heard, then all are seen."""

    HEAR = 0
    SEE = 1


@dataclass(slots=True)
class _Interview:
    session: Session
    #: In which period it is due; these have the same numbers for all interviews, so that they
    #: are measured together.
    period: int
    step: Step = Step.HEAR
    heard: tuple[Indicator, ...] = ()


class Worker:
    """The interviews of one process and when each is due. Time is an argument."""

    def __init__(self) -> None:
        self._interviews: dict[int, _Interview] = {}
        self._costs = Costs(time.thread_time)
        self._delay_s = 0.0
        self._undecodable = 0

    def receive(self, message: wire.ToWorker, now_s: float) -> None:
        match message:
            case wire.Open(feed, kept):
                session = Session(self._costs, kept)
                self._interviews[feed] = _Interview(session, _period(now_s) + 1)
            case wire.Frame(feed):
                self._interviews[feed].session.add(message)
            case wire.Close(feed):
                self._undecodable += self._interviews.pop(feed).session.undecodable
            case _:
                assert_never(message)

    def next_due(self) -> tuple[float, int] | None:
        """When which feed is due: of those that have waited longest, sound before sight."""
        due = ((it.period, it.step, feed) for feed, it in self._interviews.items())
        first = min(due, default=None)
        return None if first is None else (first[0] * PERIOD_S, first[2])

    def measure(self, feed: int, now_s: float) -> Iterator[wire.FromWorker]:
        """Take the next step of an interview that is due."""
        it = self._interviews[feed]
        if it.step is Step.HEAR:
            self._delay_s = now_s - it.period * PERIOD_S
            it.heard, it.step = tuple(it.session.hear(now_s)), Step.SEE
            return
        if indicators := (*it.heard, *it.session.see(now_s)):
            yield wire.Measured(feed, indicators)
        if (lost := it.session.sight.take_losses()) is not None:
            yield wire.NeedKeyframe(feed, lost)
        it.heard, it.step, it.period = (), Step.HEAR, max(it.period, _period(now_s)) + 1

    def reports(self) -> Iterator[wire.FromWorker]:
        """What the server is to know once a second."""
        for feed, it in self._interviews.items():
            yield wire.Keep(feed, it.session.keep())
        undecodable = sum(it.session.undecodable for it in self._interviews.values())
        yield wire.Report(
            time.process_time(),
            self._costs.decode_s,
            self._costs.audio_s,
            self._costs.video_s,
            self._delay_s,
            self._undecodable + undecodable,
        )


def _period(now_s: float) -> int:
    """The number of the period in which a moment lies."""
    return int(now_s / PERIOD_S)


def run(pipe: socket.socket, desk: mmap.mmap) -> None:
    """Serve until the pipe closes, at whichever end of a sentence that is."""
    with suppress(ConnectionError):
        _serve(pipe, desk)
    # What was being measured then is nobody's fault.
    desk[:] = bytes(wire.DESK_BYTES)


def _serve(pipe: socket.socket, desk: mmap.mmap) -> None:
    worker = Worker()
    deframer = wire.Deframer()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    report_s = time.time()
    while True:
        due_s, feed = worker.next_due() or (report_s, 0)
        wait_s = max(0.0, min(due_s, report_s) - time.time())
        if poll.poll(wait_s * 1000):
            data = pipe.recv(_CHUNK)
            if not data:
                return
            for body in deframer.feed(data):
                worker.receive(wire.to_worker.decode(body), time.time())
            # Read all there is before measuring: the newest frames matter most.
            continue
        if feed and time.time() >= due_s:
            desk[:] = feed.to_bytes(wire.DESK_BYTES, "big")
            _say(pipe, worker.measure(feed, time.time()))
            desk[:] = bytes(wire.DESK_BYTES)
        if time.time() >= report_s:
            report_s = time.time() + REPORT_S
            _say(pipe, worker.reports())


def _say(pipe: socket.socket, messages: Iterable[wire.FromWorker]) -> None:
    for message in messages:
        pipe.sendall(wire.encode(message))


@contextmanager
def _quiet_native_code() -> Iterator[None]:
    """Discard what libraries print to file descriptor 2 while they load models."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def main() -> None:
    leave_terminal()
    give_way(NICENESS)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # where `confine` finds no Landlock
    # Candidates' bytes must not write to the server's log.
    av.logging.set_level(None)
    with _quiet_native_code():
        speech_model()
        for detector in (CLOSE_RANGE, SHORT_RANGE, FULL_RANGE):
            face_model(detector.model, detector.side)
    confine(MOST_MEMORY)
    pipe, desk = (int(argument) for argument in sys.argv[1:])
    with socket.socket(fileno=pipe) as ours, mmap.mmap(desk, wire.DESK_BYTES) as memory:
        run(ours, memory)


if __name__ == "__main__":
    main()
