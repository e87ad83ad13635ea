import pytest

from server.core.frames import Codec, TrackName
from server.live_analysis.sight import MOST_FRAMES, OLDEST_S, Sight
from server.live_analysis.wire import Frame
from tests.live_analysis.planted import FPS, scene, video

STREAMS = {
    codec: video(codec, [scene((0.3 + 0.02 * n, 0.5)) for n in range(8)], (320, 180))
    for codec in (Codec.H264, Codec.VP8)
}
NOW_S = 100.5


def frames(codec: Codec = Codec.H264) -> list[Frame]:
    return [
        Frame(1, TrackName.CAMERA, codec, payload, 100 + n / FPS, 100 + n / FPS, keyframe)
        for n, (payload, keyframe) in enumerate(STREAMS[codec])
    ]


def test_the_newest_picture_of_what_came_is_given_once() -> None:
    sight, (key, *deltas) = Sight(), frames()
    sight.add(key)
    assert sight.picture(NOW_S) is not None
    for frame in deltas:
        sight.add(frame)
    picture = sight.picture(NOW_S)
    assert picture is not None
    assert picture.capture_s == deltas[-1].capture_s
    assert sight.picture(NOW_S) is None
    assert sight.take_losses() is None


def test_a_keyframe_among_what_came_is_the_picture_and_the_newest_the_next() -> None:
    sight, (key, *deltas) = Sight(), frames()
    for frame in (key, *deltas):
        sight.add(frame)
    picture = sight.picture(NOW_S)
    assert picture is not None
    assert (picture.keyframe, picture.capture_s) == (True, key.capture_s)
    for frame in deltas:
        sight.add(frame)
    picture = sight.picture(NOW_S)
    assert picture is not None
    assert (picture.keyframe, picture.capture_s) == (False, deltas[-1].capture_s)


def test_deltas_before_a_keyframe_are_lost_and_said_so() -> None:
    sight = Sight()
    for frame in frames()[1:4]:
        sight.add(frame)
    assert sight.picture(NOW_S) is None
    assert sight.take_losses() == 3
    assert sight.take_losses() is None


def test_after_bytes_that_do_not_decode_it_waits_for_a_keyframe() -> None:
    sight, (key, *deltas) = Sight(), frames()
    broken = Frame(1, TrackName.CAMERA, Codec.H264, b"\0\0\0\x09x", 100, 100, False)
    for frame in (key, broken, *deltas):
        sight.add(frame)
    assert sight.picture(NOW_S) is None
    assert sight.undecodable == 1
    assert sight.take_losses() == 1 + len(deltas)
    sight.add(deltas[0])
    assert sight.picture(NOW_S) is None
    sight.add(key)
    assert sight.picture(NOW_S) is not None


def test_a_keyframe_already_there_ends_the_wait() -> None:
    sight, (key, *_) = Sight(), frames()
    broken = Frame(1, TrackName.CAMERA, Codec.H264, b"\0\0\0\x09x", 100, 100, False)
    for frame in (key, broken, key):
        sight.add(frame)
    assert sight.picture(NOW_S) is None
    assert sight.picture(NOW_S) is not None
    assert sight.take_losses() is None


def test_frames_that_waited_too_long_are_dropped_for_newer_ones() -> None:
    sight = Sight()
    for frame in frames():
        sight.add(frame)
    assert sight.picture(100 + OLDEST_S + 0.1) is None
    assert sight.take_losses() == len(frames())


def test_what_waits_is_bounded() -> None:
    sight, (key, delta, *_) = Sight(), frames()
    sight.add(key)
    for _ in range(MOST_FRAMES):
        sight.add(delta)
    assert sight.picture(NOW_S) is None
    assert sight.take_losses() == MOST_FRAMES + 1


@pytest.mark.parametrize("first", [Codec.H264, Codec.VP8])
def test_the_codec_may_change_at_a_keyframe(first: Codec) -> None:
    second = Codec.VP8 if first is Codec.H264 else Codec.H264
    sight = Sight()
    for frame in (*frames(first), *frames(second)):
        sight.add(frame)
    assert sight.picture(NOW_S) is not None
    assert sight.undecodable == 0
