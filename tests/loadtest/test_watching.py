from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.media import TEMPORAL_IDS
from loadtest.packets import packetise_vp8, vp8_descriptor
from loadtest.watching import (
    MAX_WAITING,
    STANDING_S,
    Freezes,
    Place,
    Screen,
    decodable,
    read_place,
)

KEYFRAME = bytes([0, 0, 0]) + b"\x9d\x01\x2a" + bytes(20)
EVERY_S = 1 / 30


def places(count: int, keyframes: tuple[int, ...] = (0,)) -> list[Place]:
    """Of pictures as the load test's clips have them."""
    made, base, since = [], -1, 0
    for number in range(count):
        since = 0 if number in keyframes else since + 1
        temporal_id = TEMPORAL_IDS[since % 4]
        base += temporal_id == 0
        made.append(Place(number in keyframes, base & 0xFF, temporal_id, since % 4 in (1, 2)))
    return made


def watch(
    pictures: list[Place], lost: Collection[int] = (), late_s: dict[int, float] | None = None
) -> Screen:
    """Thirty a second."""
    screen, late_s = Screen(), late_s or {}
    arrivals = sorted(
        (number * EVERY_S + late_s.get(number, 0.0), number)
        for number in range(len(pictures))
        if number not in lost
    )
    for at_s, number in arrivals:
        screen.take(number, pictures[number], at_s)
    screen.freezes.end(len(pictures) * EVERY_S)
    return screen


# ---- Place


def test_the_place_is_read_from_what_the_load_test_sends() -> None:
    (packet,) = packetise_vp8(KEYFRAME, layer=0)
    payload = packet.payload(vp8_descriptor(packet, 7, 300), bytes(18))
    assert read_place(payload) == Place(True, 300 & 0xFF, 0, False)
    (packet,) = packetise_vp8(b"\x01" + bytes(20), layer=2 << 6 | 1 << 5)
    assert read_place(packet.payload(vp8_descriptor(packet, 7, 5), b"")) == Place(False, 5, 2, True)


def test_a_packet_that_does_not_begin_a_picture_has_none() -> None:
    first, second = packetise_vp8(KEYFRAME + bytes(1200))
    assert read_place(first.payload(vp8_descriptor(first, 7, 0), b"")) is not None
    assert read_place(second.payload(vp8_descriptor(second, 7, 0), bytes(18))) is None


def test_where_no_layers_are_told_each_picture_refers_to_the_one_before() -> None:
    # RFC 7741 4.2: X; I alone; M, and 15 bits of a picture id.
    described = b"\x90\x80\x81\x2c"
    assert read_place(described + KEYFRAME) == Place(True, 0x2C, 0, False)
    assert read_place(b"\x90\x80\x2d\x01" + bytes(20)) == Place(False, 0x2D, 0, False)
    assert read_place(b"\x90\xc0" + described[2:] + KEYFRAME) is None


@given(st.binary(max_size=20))
def test_any_payload_has_a_place_or_none(payload: bytes) -> None:
    assert isinstance(read_place(payload), Place | None)


# ---- Screen


def test_all_pictures_of_a_whole_stream_are_shown() -> None:
    screen = watch(places(300, (0, 60, 121)))
    assert (screen.pictures, screen.freezes.count) == (300, 0)


def test_nothing_is_shown_before_the_first_keyframe() -> None:
    screen = watch(places(20, (0, 10)), lost={0})
    assert screen.pictures == 10


def test_a_lost_picture_of_the_base_layer_stops_all_until_the_next_keyframe() -> None:
    screen = watch(places(120, (0, 60)), lost={20})
    assert screen.pictures == 20 + 60
    assert screen.freezes.count == 1
    assert screen.freezes.longest_s == pytest.approx(41 * EVERY_S)


def test_a_lost_picture_of_the_top_layer_stops_nothing() -> None:
    screen = watch(places(60), lost={21, 23})
    assert (screen.pictures, screen.freezes.count) == (58, 0)


def test_a_lost_picture_of_the_middle_layer_costs_the_one_that_refers_to_it() -> None:
    screen = watch(places(60), lost={22})
    assert screen.pictures == 58


def test_what_waited_for_a_late_picture_is_shown_with_it() -> None:
    screen = watch(places(60), late_s={20: 0.3})
    assert screen.pictures == 60
    assert screen.freezes.count == 1
    assert screen.freezes.total_s == pytest.approx(0.3 + EVERY_S)


def test_a_picture_that_comes_after_a_newer_one_was_shown_is_not() -> None:
    screen = watch(places(60), late_s={21: 0.05})
    assert screen.pictures == 59


def test_of_a_stream_without_keyframes_little_is_remembered() -> None:
    screen = Screen()
    for number in range(1, MAX_WAITING + 10):
        screen.take(number, Place(False, number & 0xFF, 0, False), number * EVERY_S)
    assert len(screen._waiting) == MAX_WAITING


@given(st.lists(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_no_picture_is_shown_twice_whatever_comes(order: list[int], keyframes: set[int]) -> None:
    pictures = places(100, tuple(keyframes | {0}))
    screen = Screen()
    for number in dict.fromkeys(order):
        screen.take(number, pictures[number], 0.0)
    assert screen.pictures <= len(set(order))


def test_what_of_a_recording_can_be_decoded_is_what_could_be_shown() -> None:
    packets = [packetise_vp8(bytes([number > 0]) + KEYFRAME[1:])[0] for number in range(4)]
    payloads = [
        (number, each.payload(vp8_descriptor(each, number, number), b""))
        for number, each in enumerate(packets)
    ]
    assert decodable(reversed(payloads)) == 4
    assert decodable([*payloads[:2], *payloads[3:]]) == 2
    assert decodable([(0, b"")]) == 0


# ---- Freezes


def frozen(*intervals_s: float) -> Freezes:
    freezes, now = Freezes(), 100.0
    freezes.show(now)
    for interval_s in intervals_s:
        now += interval_s
        freezes.show(now)
    return freezes


def test_an_interval_is_a_freeze_from_150_ms_above_the_mean() -> None:
    steady = [EVERY_S] * 29
    assert frozen(*steady, 0.186).count == 0  # the mean, 38 ms, has it in it
    assert frozen(*steady, 0.190).count == 1
    assert frozen(*steady, 0.190).total_s == pytest.approx(0.190)


def test_slow_pictures_freeze_from_three_times_the_mean() -> None:
    slow = [0.2] * 29
    assert frozen(*slow, 0.64).count == 0
    assert frozen(*slow, 0.68).count == 1


def test_only_the_last_thirty_intervals_count() -> None:
    assert frozen(*[1.0] * 5, *[EVERY_S] * 29, 0.190).count == 1


def test_of_fewer_than_five_intervals_none_is_a_freeze() -> None:
    assert frozen(EVERY_S, EVERY_S, EVERY_S, 5.0).count == 0
    assert frozen(EVERY_S, EVERY_S, EVERY_S, EVERY_S, 5.0).count == 1


def test_who_shows_next_to_nothing_hardly_freezes_but_stands() -> None:
    slow = frozen(*[0.5] * 20)
    assert slow.count == 0
    assert slow.standing_s == pytest.approx(10.0)
    assert frozen(5.0, 5.0).standing_s == pytest.approx(10.0)
    assert frozen(*[EVERY_S, 0.15] * 10).standing_s == 0
    assert pytest.approx(EVERY_S + 0.15) == STANDING_S


def test_what_comes_when_nobody_looks_any_more_counts_not() -> None:
    freezes = frozen(*[EVERY_S] * 10)
    freezes.end(101.0)
    before = freezes.count, freezes.total_s, freezes.standing_s
    for late_s in (103.0, 106.0):
        freezes.show(late_s)
    assert (freezes.count, freezes.total_s, freezes.standing_s) == before


def test_the_picture_that_stands_at_the_end_counts_once() -> None:
    freezes = frozen(*[EVERY_S] * 10)
    began_s = freezes.shown_s
    assert began_s is not None
    freezes.end(began_s + 2.0)
    freezes.end(began_s + 9.0)
    assert freezes.count == 1
    assert freezes.longest_s == pytest.approx(2.0)
