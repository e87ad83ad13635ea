import itertools
import mmap
import socket
import threading

import pytest

from server.core.frames import Codec, TrackName
from server.live_analysis import wire
from server.live_analysis.worker import PERIOD_S, Worker, run
from tests.live_analysis.planted import PACKET_S, opus, tone

PACKETS = opus(tone(440, 0.4))


def frames(feed: int, at_s: float) -> list[wire.Frame]:
    return [
        wire.Frame(feed, TrackName.MICROPHONE, Codec.OPUS, payload, at_s, at_s, True)
        for at_s, payload in zip(itertools.count(at_s, PACKET_S), PACKETS, strict=False)
    ]


def next_due(worker: Worker) -> tuple[float, int]:
    due = worker.next_due()
    assert due is not None
    return due


def measure(worker: Worker, feed: int, now_s: float) -> list[wire.FromWorker]:
    """Hear and see an interview."""
    return [*worker.measure(feed, now_s), *worker.measure(feed, now_s)]


def test_all_feeds_are_heard_and_then_all_seen_once_a_period() -> None:
    worker = Worker()
    for feed in (1, 2, 3):
        worker.receive(wire.Open(feed, {}), 100.0 + 0.01 * feed)
    order, times = [], []
    for _ in range(18):
        due_s, feed = next_due(worker)
        list(worker.measure(feed, due_s + 0.01))
        order.append(feed)
        times.append(due_s)
    assert order == [1, 2, 3] * 6
    for n in range(3):
        assert times[6 * n : 6 * n + 6] == [pytest.approx(times[0] + n * PERIOD_S)] * 6


def test_a_late_worker_measures_less_often_and_says_how_late_it_is() -> None:
    worker = Worker()
    worker.receive(wire.Open(1, {}), 100.0)
    due_s, feed = next_due(worker)
    measure(worker, feed, due_s + 1)
    assert due_s + 1 <= next_due(worker)[0] <= due_s + 1 + 1.01 * PERIOD_S
    report = list(worker.reports())[-1]
    assert isinstance(report, wire.Report)
    assert report.queue_delay_s == pytest.approx(1)


def test_frames_become_indicators_of_their_feed() -> None:
    worker = Worker()
    worker.receive(wire.Open(5, {}), 100.0)
    for frame in frames(5, 100.0):
        worker.receive(frame, 100.0)
    (measured,) = measure(worker, 5, 100.4)
    assert isinstance(measured, wire.Measured)
    assert measured.feed == 5
    assert "voice.loudness" in {indicator.name for indicator in measured.indicators}


def test_a_delta_without_its_keyframe_asks_for_one() -> None:
    worker = Worker()
    worker.receive(wire.Open(1, {}), 100.0)
    delta = wire.Frame(1, TrackName.CAMERA, Codec.VP8, b"delta", 100.0, 100.0, False)
    worker.receive(delta, 100.0)
    assert wire.NeedKeyframe(1, 1) in measure(worker, 1, 100.2)


def test_a_closed_feed_is_forgotten_but_not_what_it_cost() -> None:
    worker = Worker()
    worker.receive(wire.Open(1, {}), 100.0)
    broken = wire.Frame(1, TrackName.MICROPHONE, Codec.OPUS, b"\xff\xff\xff", 100, 100, True)
    worker.receive(broken, 100.0)
    measure(worker, 1, 100.2)
    worker.receive(wire.Close(1), 100.2)
    assert worker.next_due() is None
    (report,) = worker.reports()
    assert isinstance(report, wire.Report)
    assert report.undecodable == 1


def test_what_is_kept_is_reported_for_each_feed() -> None:
    worker = Worker()
    worker.receive(wire.Open(3, {}), 100.0)
    kept, _ = worker.reports()
    assert isinstance(kept, wire.Keep)
    assert set(kept.kept) == {"speaking"}


def test_it_ends_quietly_where_the_pipe_closes_while_it_speaks() -> None:
    ours, theirs = socket.socketpair()
    with mmap.mmap(-1, wire.DESK_BYTES) as desk, theirs:
        ours.sendall(wire.encode(wire.Open(9, {})))
        theirs.shutdown(socket.SHUT_WR)  # reads on, but every word fails
        run(theirs, desk)
        assert desk[:] == bytes(wire.DESK_BYTES)
    ours.close()


def test_it_serves_its_pipe_until_that_closes() -> None:
    ours, theirs = socket.socketpair()
    with mmap.mmap(-1, wire.DESK_BYTES) as desk, ours:
        thread = threading.Thread(target=run, args=(theirs, desk))
        thread.start()
        deframer = wire.Deframer()
        ours.sendall(wire.encode(wire.Open(9, {})))
        names: set[str] = set()
        while not {"Keep", "Report"} <= names:
            bodies = deframer.feed(ours.recv(1 << 16))
            names |= {type(wire.from_worker.decode(body)).__name__ for body in bodies}
        ours.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        assert not thread.is_alive()
        assert desk[:] == bytes(wire.DESK_BYTES)
    theirs.close()
