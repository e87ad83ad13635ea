import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.frames import Codec, TrackName
from server.live_analysis.port import BLOCK, BLOCK_S
from server.live_analysis.sound import MOST_PACKETS, Sound
from server.live_analysis.wire import Frame
from tests.live_analysis.planted import PACKET_S, opus, tone

PACKETS = opus(tone(440, 4.0))


def packet(number: int, payload: bytes | None = None) -> Frame:
    data = PACKETS[number % len(PACKETS)] if payload is None else payload
    capture_s = 100 + number * PACKET_S
    return Frame(1, TrackName.MICROPHONE, Codec.OPUS, data, capture_s, capture_s, True)


def add(sound: Sound, *numbers: int) -> None:
    for number in numbers:
        sound.add(packet(number))


def test_windows_are_whole_blocks_in_media_time_that_follow_each_other() -> None:
    sound, end_s = Sound(), 100.0
    for start in range(0, 100, 10):
        add(sound, *range(start, start + 10))
        for window in sound.windows():
            assert window is not None
            assert len(window.samples) % BLOCK == 0
            assert window.start_s == pytest.approx(end_s, abs=1e-6)
            assert window.end_s - window.start_s == pytest.approx(len(window.samples) / 16_000)
            end_s = window.end_s
    assert end_s == pytest.approx(102, abs=BLOCK_S)


def test_a_lost_packet_is_silence_and_not_a_gap() -> None:
    sound = Sound()
    add(sound, *(number for number in range(50) if number not in (20, 21)))
    (window,) = sound.windows()
    assert window is not None
    assert window.end_s == pytest.approx(101, abs=BLOCK_S)
    quiet = np.abs(window.samples[int(0.41 * 16_000) : int(0.43 * 16_000)]).max()
    assert quiet < 0.1 < np.abs(window.samples).max()


def test_a_long_hole_is_a_gap_between_windows() -> None:
    sound = Sound()
    add(sound, *range(10), *range(30, 40))
    before, gap, after = sound.windows()
    assert gap is None
    assert before is not None
    assert after is not None
    assert before.end_s < 100.2 + 1e-6
    assert after.start_s == pytest.approx(100.6, abs=1e-3)


def test_a_clock_that_steps_back_is_a_gap() -> None:
    sound = Sound()
    add(sound, *range(100, 110), *range(10))
    assert [window is None for window in sound.windows()] == [False, True, False]


def test_what_waits_is_bounded_and_the_newest_stays() -> None:
    sound = Sound()
    add(sound, *range(MOST_PACKETS + 100))
    windows = [window for window in sound.windows() if window is not None]
    assert sum(len(window.samples) for window in windows) <= MOST_PACKETS * PACKET_S * 16_000
    assert windows[-1].end_s == pytest.approx(100 + (MOST_PACKETS + 100) * PACKET_S, abs=BLOCK_S)


def test_packets_that_do_not_decode_are_counted_and_the_rest_heard() -> None:
    sound = Sound()
    add(sound, *range(10))
    sound.add(packet(10, b"\xff\xff\xff"))
    add(sound, *range(11, 20))
    windows = [window for window in sound.windows() if window is not None]
    assert sound.undecodable == 1
    assert windows[-1].end_s == pytest.approx(100.4, abs=BLOCK_S)


def test_without_packets_there_is_no_window() -> None:
    assert list(Sound().windows()) == []


@given(st.lists(st.tuples(st.integers(0, 400), st.none() | st.binary(max_size=30)), max_size=40))
@settings(deadline=None, max_examples=50)
def test_any_order_and_any_bytes_give_whole_blocks(
    packets: list[tuple[int, bytes | None]],
) -> None:
    sound = Sound()
    for number, payload in packets:
        sound.add(packet(number, payload))
    for window in sound.windows():
        assert window is None or len(window.samples) % BLOCK == 0
