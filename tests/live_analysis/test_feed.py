import itertools
from collections.abc import Callable

import pytest

from server.core.frames import Codec, EncodedFrame, Gap, GapCause, TrackName
from server.core.indicators import Alert, Indicator
from server.core.vp9 import join_superframe
from server.live_analysis import wire
from server.live_analysis.feed import (
    BLAME_S,
    KEYFRAME_RETRY_S,
    LONGEST_RETRY_S,
    Feed,
    FrameCounters,
)
from server.live_analysis.network import NetworkSample
from tests.live_analysis.planted import camera, microphone
from tests.media.spatial import vp9_frame


class Pipe:
    """Takes what it has room for, as a worker's pipe does."""

    def __init__(self) -> None:
        self.got: list[wire.ToWorker] = []
        self.room_for_frames = True

    def send(self, message: wire.ToWorker) -> bool:
        if isinstance(message, wire.Frame) and not self.room_for_frames:
            return False
        self.got.append(message)
        return True

    @property
    def frames(self) -> list[wire.Frame]:
        return [message for message in self.got if isinstance(message, wire.Frame)]


class Subscriber:
    def __init__(self) -> None:
        self.pipe = Pipe()
        self.counters = FrameCounters()
        self.indicators: list[tuple[Indicator, ...]] = []
        self.alerts: list[Alert] = []
        self.asked = 0
        self.forgotten = 0
        self.feed = self.open(self.indicators.append)

    def open(self, on_indicators: Callable[[tuple[Indicator, ...]], None]) -> Feed:
        return Feed(
            7, self.pipe, self.counters, on_indicators, self.alerts.append, self.ask, self.forget
        )

    def ask(self) -> None:
        self.asked += 1

    def forget(self, feed: Feed) -> None:
        self.forgotten += 1


@pytest.fixture
def it() -> Subscriber:
    return Subscriber()


def key(at_s: float) -> EncodedFrame:
    return camera(Codec.VP8, b"key", True, at_s)


def delta(at_s: float) -> EncodedFrame:
    return camera(Codec.VP8, b"delta", False, at_s)


def test_it_is_opened_before_its_frames(it: Subscriber) -> None:
    it.feed.on_frame(microphone(b"sound", 1.0))
    assert it.pipe.got[0] == wire.Open(7, {})
    assert it.pipe.frames == [
        wire.Frame(7, TrackName.MICROPHONE, Codec.OPUS, b"sound", 1.0, 1.0, True)
    ]


def test_video_waits_for_a_keyframe_and_asks_for_one_now_and_then(it: Subscriber) -> None:
    for n in range(30):
        it.feed.on_frame(delta(10 + n / 30))
    assert it.pipe.frames == []
    assert it.asked == 1
    it.feed.on_frame(delta(10 + KEYFRAME_RETRY_S))
    assert it.asked == 2
    it.feed.on_frame(key(13.0))
    it.feed.on_frame(delta(13.1))
    assert [frame.payload for frame in it.pipe.frames] == [b"key", b"delta"]
    assert it.counters == FrameCounters(sent=2, dropped=31, keyframes_requested=2)


def test_a_full_pipe_drops_video_to_the_next_keyframe(it: Subscriber) -> None:
    it.feed.on_frame(key(1.0))
    it.pipe.room_for_frames = False
    it.feed.on_frame(delta(1.1))
    it.pipe.room_for_frames = True
    it.feed.on_frame(delta(1.2))
    it.feed.on_frame(key(1.3))
    assert [frame.capture_s for frame in it.pipe.frames] == [1.0, 1.3]
    assert it.counters.dropped == 2
    assert it.asked == 1


def test_a_full_pipe_drops_sound_only_while_it_is_full(it: Subscriber) -> None:
    it.pipe.room_for_frames = False
    it.feed.on_frame(microphone(b"1", 1.0))
    it.pipe.room_for_frames = True
    it.feed.on_frame(microphone(b"2", 1.02))
    assert [frame.payload for frame in it.pipe.frames] == [b"2"]


def test_a_gap_of_the_camera_ends_the_deltas(it: Subscriber) -> None:
    it.feed.on_frame(key(1.0))
    it.feed.on_gap(Gap(TrackName.MICROPHONE, 1.0, 1.02, GapCause.PACKETS_LOST))
    it.feed.on_frame(delta(1.1))
    it.feed.on_gap(Gap(TrackName.CAMERA, 1.1, 1.2, GapCause.PACKETS_LOST))
    it.feed.on_frame(delta(1.3))
    assert [frame.capture_s for frame in it.pipe.frames] == [1.0, 1.1]


def test_upper_temporal_layers_are_not_sent_once_the_base_is_known_to_be_enough(
    it: Subscriber,
) -> None:
    for n in range(30):
        it.feed.on_frame(key(1.0) if n == 0 else delta(1 + n / 15))
    it.feed.on_frame(key(3.0))
    it.feed.on_frame(EncodedFrame(TrackName.CAMERA, Codec.VP8, b"t", 3.1, False, 3.1, 1))
    it.feed.on_frame(delta(3.2))
    assert [frame.capture_s for frame in it.pipe.frames[30:]] == [3.0, 3.2]
    assert (it.counters.skipped, it.counters.dropped) == (1, 0)


def test_of_spatial_layers_a_worker_gets_the_smallest_that_is_enough(it: Subscriber) -> None:
    layers = [vp9_frame(each, keyframe=True, octets=100) for each in range(3)]
    it.feed.on_frame(camera(Codec.VP9, join_superframe(layers), True, 1.0))
    assert [frame.payload for frame in it.pipe.frames] == layers[:1]


def test_the_worker_may_ask_for_a_keyframe(it: Subscriber) -> None:
    it.feed.on_frame(key(10.0))
    it.feed.resume_at_keyframe(5)
    it.feed.on_frame(delta(10.1))
    assert it.asked == 1
    assert it.counters.dropped == 6


def test_a_worker_that_cannot_keep_up_costs_ever_fewer_keyframes(it: Subscriber) -> None:
    asked_s = []
    for n in range(3000):
        at_s = 100 + n / 10
        before = it.asked
        it.feed.on_frame(delta(at_s))
        if it.asked > before:
            asked_s.append(at_s)
            it.feed.on_frame(key(at_s))
            it.feed.resume_at_keyframe(1)
    waits_s = [round(later - earlier) for earlier, later in itertools.pairwise(asked_s)]
    assert waits_s[:6] == [2, 4, 8, 16, 32, 32]
    it.feed.on_frame(key(500))
    it.feed.resume_at_keyframe(1)
    it.feed.on_frame(delta(500 + KEYFRAME_RETRY_S))
    assert it.asked == len(asked_s) + 1
    assert max(waits_s) <= LONGEST_RETRY_S


def test_a_new_worker_is_told_what_the_last_one_kept(it: Subscriber) -> None:
    it.feed.on_frame(key(10.0))
    it.feed.keep({"speaking": b"state"})
    it.feed.reopen()
    it.feed.on_frame(delta(10.1))
    assert it.pipe.got[-1] == wire.Open(7, {"speaking": b"state"})
    assert it.asked == 1


def test_a_feed_that_ends_workers_is_left_out_for_a_while(it: Subscriber) -> None:
    it.feed.on_frame(key(10.0))
    it.feed.blame()
    it.feed.on_frame(key(11.0))
    assert len(it.pipe.frames) == 2
    it.feed.blame()
    it.feed.on_frame(key(12.0))
    it.feed.on_frame(microphone(b"sound", 12.0))
    assert len(it.pipe.frames) == 2
    it.feed.on_frame(key(11.0 + BLAME_S))
    assert len(it.pipe.frames) == 3


def test_two_ends_far_apart_are_an_accident(it: Subscriber) -> None:
    it.feed.on_frame(key(10.0))
    it.feed.blame()
    it.feed.on_frame(key(10.0 + BLAME_S))
    it.feed.blame()
    it.feed.on_frame(key(11.0 + BLAME_S))
    assert len(it.pipe.frames) == 3


def test_network_counters_become_indicators_and_alerts(it: Subscriber) -> None:
    for second in range(5):
        it.feed.on_network(NetworkSample(second, second + 1, 10_000, 80, 20, 0.001, 0.02))
    assert len(it.indicators) == 5
    assert [(alert.id, alert.active) for alert in it.alerts] == [("poor-connection", True)]


def test_closing_ends_everything_and_may_be_done_twice(it: Subscriber) -> None:
    it.feed.close()
    it.feed.close()
    it.feed.on_frame(key(1.0))
    it.feed.on_network(NetworkSample(0, 1, 1, 1, 0, 0, None))
    it.feed.deliver((Indicator("face.count", 1, "count", 0, 1),))
    assert it.pipe.got == [wire.Open(7, {}), wire.Close(7)]
    assert it.forgotten == 1
    assert it.indicators == []


def test_a_subscriber_that_fails_is_logged(
    it: Subscriber, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(values: tuple[Indicator, ...]) -> None:
        raise RuntimeError("a bug of the caller")

    it.open(fail).deliver((Indicator("face.count", 1, "count", 0, 1),))
    assert "a bug of the caller" in caplog.text


def test_a_shared_screen_is_not_analysed(it: Subscriber) -> None:
    screen = EncodedFrame(TrackName.SCREEN, Codec.VP8, b"small print", 1.0, True, 1.0)
    it.feed.on_frame(screen)
    assert it.pipe.frames == []
