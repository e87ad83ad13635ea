"""A worker process: reads frames from its socket, writes indicators to it, ends when it closes.

Started by the pool as ``python -m server.live_analysis.worker FD``. It decodes what candidates
send, so it is made poor: no core dumps, no files to write, bounded memory, low priority, and
none of the server's environment.
"""

import os
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

import av.logging

from server.live_analysis import wire
from server.live_analysis.blazeface import FULL_RANGE, SHORT_RANGE
from server.live_analysis.models import face_model, speech_model
from server.live_analysis.session import Costs, Session

#: Each interview is measured this often.
PERIOD_S = 0.2
REPORT_S = 1.0
#: Address space: models and decoders of fifty interviews need under a fifth of it.
MOST_MEMORY = 8 << 30
NICENESS = 10
_CHUNK = 1 << 18


class Worker:
    """The sessions of one process and when each is due. Time is an argument."""

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}
        self._due_s: dict[int, float] = {}
        self._costs = Costs(time.thread_time)
        self._delay_s = 0.0
        self._undecodable = 0

    def receive(self, message: wire.ToWorker, now_s: float) -> None:
        match message:
            case wire.Open(feed):
                self._sessions[feed] = Session(self._costs)
                # Spread, so that interviews that began together don't wait for each other.
                self._due_s[feed] = now_s + PERIOD_S * (feed * 0.618 % 1)
            case wire.Frame(feed):
                self._sessions[feed].add(message)
            case wire.Close(feed):
                self._undecodable += self._sessions.pop(feed).undecodable
                del self._due_s[feed]
            case _:
                assert_never(message)

    def next_due_s(self) -> float | None:
        return min(self._due_s.values(), default=None)

    def measure_next(self, now_s: float) -> Iterator[wire.FromWorker]:
        """Measure the interview that has waited longest, if it is due."""
        feed, due_s = min(self._due_s.items(), key=lambda item: item[1], default=(0, now_s + 1))
        if due_s > now_s:
            return
        session = self._sessions[feed]
        self._delay_s = now_s - due_s
        self._due_s[feed] = max(due_s + PERIOD_S, now_s)
        if indicators := session.measure(now_s):
            yield wire.Measured(feed, indicators)
        if (lost := session.sight.take_losses()) is not None:
            yield wire.NeedKeyframe(feed, lost)

    def report(self) -> wire.Report:
        undecodable = sum(session.undecodable for session in self._sessions.values())
        return wire.Report(
            time.process_time(),
            self._costs.decode_s,
            self._costs.audio_s,
            self._costs.video_s,
            self._delay_s,
            self._undecodable + undecodable,
        )


def run(pipe: socket.socket) -> None:
    """Serve until the pipe closes."""
    worker = Worker()
    deframer = wire.Deframer()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    report_s = time.time()
    while True:
        due_s = min(worker.next_due_s() or report_s, report_s)
        readable = poll.poll(max(0.0, due_s - time.time()) * 1000)
        if readable:
            data = pipe.recv(_CHUNK)
            if not data:
                return
            for body in deframer.feed(data):
                worker.receive(wire.to_worker.decode(body), time.time())
            if len(data) == _CHUNK:
                continue  # Read all there is first: the newest frames matter most.
        for message in worker.measure_next(time.time()):
            pipe.sendall(wire.encode(message))
        if time.time() >= report_s:
            report_s = time.time() + REPORT_S
            pipe.sendall(wire.encode(worker.report()))


def _become_poor() -> None:
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


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
    _become_poor()
    # Candidates' bytes must not write to the server's log.
    av.logging.set_level(None)
    with _quiet_native_code():
        speech_model()
        for detector in (SHORT_RANGE, FULL_RANGE):
            face_model(detector.model)
    with socket.socket(fileno=int(sys.argv[1])) as pipe:
        run(pipe)


if __name__ == "__main__":
    main()
