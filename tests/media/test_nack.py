import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import rtcp
from server.media.receiving.nack import (
    DOUBLED_AFTER_S,
    FLOODED_MAX_SAVED,
    FLOODED_SHARE,
    MAX_DOUBLED,
    MAX_MISSING,
    MAX_PATIENCE_S,
    MAX_PER_REQUEST,
    MAX_SAVED,
    MAX_TRIES,
    MIN_PATIENCE_S,
    MIN_RETRY_S,
    SHARE_OF_CAME,
    NackTracker,
)


def received(tracker: NackTracker, loss: list[int], now: float = 0.0) -> None:
    """Packets 1000, 1001, ... arrive but for those marked 1."""
    highest = 999
    for index, lost in enumerate(loss):
        if not lost:
            if 1000 + index > highest + 1:
                tracker.hole(range(highest + 1, 1000 + index), now)
            highest = 1000 + index


def test_stream_without_holes_asks_for_nothing() -> None:
    tracker = NackTracker(limited=False)
    received(tracker, [0] * 10)
    assert not tracker
    assert tracker.due(1.0, 0.05, 0) == []


def test_hole_is_asked_for_at_once() -> None:
    tracker = NackTracker(limited=False)
    received(tracker, [0, 0, 1, 1, 0])
    assert tracker.due(0.0, 0.05, 0) == [1002, 1003]
    assert tracker.requested == 2


@pytest.mark.parametrize(("flooded", "share"), [(False, SHARE_OF_CAME), (True, FLOODED_SHARE)])
def test_pictures_are_asked_for_as_far_as_packets_come(flooded: bool, share: float) -> None:
    """A network that loses most of them is full: what is sent again takes the place of others."""
    tracker, asked, came, early = NackTracker(limited=True), 0, 0, 0
    tracker.flooded = flooded
    for tick in range(1000):  # 10 s of 100 packets a second, of which seven of ten are lost
        lost = tick % 10 < 7
        if lost:
            tracker.hole(range(tick, tick + 1), tick / 100)
            tracker.forget_before(tick - 80)
        came += not lost
        asked += len(set(tracker.due(tick / 100, 0.06, came)))
        if tick == 300:
            early = asked
    allowed = share * 0.3 * 700
    assert 0.9 * allowed < asked - early < 1.1 * allowed


def test_of_a_line_that_is_flooded_the_newest_are_asked_for_and_nothing_is_saved_up() -> None:
    tracker = NackTracker(limited=True)
    tracker.hole(range(1000, 1020), 0.0)
    tracker.flooded = True
    few = int(FLOODED_MAX_SAVED)
    assert tracker.due(0.0, 0.06, 0) == list(range(1020 - few, 1020))
    tracker.flooded = False
    assert len(tracker.due(0.005, 0.06, 200)) == 20 - few, (
        "what is left, once it is flooded no more"
    )


def test_packet_that_was_only_late_is_not_asked_for() -> None:
    tracker = NackTracker(limited=False)
    received(tracker, [0, 1, 0])
    tracker.late(1001)
    assert not tracker


def test_request_is_repeated_once_a_round_trip_has_passed() -> None:
    tracker = NackTracker(limited=False)
    received(tracker, [0, 1, 0])
    asked = [ms for ms in range(0, 1000, 5) if tracker.due(1.0 + ms / 1000, 0.2, 0)]
    assert asked[:6] == [0, 10, 210, 220, 420, 430], "twice: requests get lost, too"


def test_many_holes_are_asked_for_once_a_round_trip() -> None:
    tracker = NackTracker(limited=False)
    tracker.hole(range(1000, 1000 + MAX_DOUBLED + 1), 0.0)
    asked = [ms for ms in range(0, 500, 5) if tracker.due(1.0 + ms / 1000, 0.2, 0)]
    assert asked == [0, 210, 420]


def test_short_round_trip_does_not_make_a_storm() -> None:
    tracker = NackTracker(limited=False)
    received(tracker, [0, 1, 0])
    asked = [ms for ms in range(0, 200, 5) if tracker.due(1.0 + ms / 1000, 0.001, 0)]
    retry_ms, twice_ms = int(1000 * MIN_RETRY_S), int(1000 * DOUBLED_AFTER_S)
    assert asked[:5] == [0, twice_ms, retry_ms, retry_ms + twice_ms, 2 * retry_ms]


def test_packet_is_given_up_after_ten_tries() -> None:
    tracker = NackTracker(limited=False)
    received(tracker, [0, 1, 0])
    asked = [tracker.due(float(second), 0.05, 0) for second in range(1, 30)]
    assert asked.count([1001]) == 2 * MAX_TRIES
    assert not tracker


@pytest.mark.parametrize(
    ("round_trip_s", "expected"), [(0.001, MIN_PATIENCE_S), (0.1, 1.155), (2.0, MAX_PATIENCE_S)]
)
def test_a_hole_is_waited_for_until_all_tries_are_made_within_bounds(
    round_trip_s: float, expected: float
) -> None:
    assert NackTracker(limited=True).patience_s(round_trip_s) == pytest.approx(expected)


def test_pictures_that_may_not_be_asked_for_are_waited_for_no_longer_than_they_have_to() -> None:
    for limited, expected in ((True, MIN_PATIENCE_S), (False, MAX_PATIENCE_S)):
        tracker = NackTracker(limited=limited)
        tracker.hole(range(int(MAX_SAVED) + 1), 0.0)
        tracker.due(0.0, 0.3, 0)
        assert tracker.patience_s(0.3) == expected


def test_what_nobody_waits_for_is_forgotten() -> None:
    tracker = NackTracker(limited=False)
    received(tracker, [0, 1, 0, 1, 0])
    tracker.forget_before(1002)
    assert tracker.due(1.0, 0.05, 0) == [1003]


def test_outage_is_left_to_a_keyframe() -> None:
    tracker = NackTracker(limited=False)
    received(tracker, [0, 1, 0])
    tracker.hole(range(1003, 1003 + MAX_MISSING), 0.0)
    assert not tracker


def test_hostile_losses_stay_bounded_and_each_request_fits_a_packet() -> None:
    """Every seventeenth packet is missing: no two share an entry of a request."""
    tracker = NackTracker(limited=False)
    received(tracker, [int(index % 18 == 1) for index in range(18 * 3 * MAX_MISSING)])
    assert len(tracker._missing) == MAX_MISSING
    asked: list[int] = []
    for tick in range(MAX_MISSING // MAX_PER_REQUEST):
        due = tracker.due(1.0 + tick * 0.02, 1.0, 0)
        # pylibsrtp's buffer holds 1500 bytes, of which it keeps 148 for its trailer.
        assert len(rtcp.nack(1, 2, [seqno & 0xFFFF for seqno in due])) < 1352
        asked += due
    assert sorted(asked) == sorted(tracker._missing), "none is starved"


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 0.2)), max_size=60))
def test_any_arrival_order_asks_only_for_what_has_not_arrived(
    arrivals: list[tuple[int, float]],
) -> None:
    tracker, seen, now, highest = NackTracker(limited=False), set[int](), 0.0, -1
    for seqno, elapsed_s in arrivals:
        now += elapsed_s
        seen.add(seqno)
        if seqno > highest:
            tracker.hole(range(highest + 1, seqno), now)
            highest = seqno
        else:
            tracker.late(seqno)
        due = tracker.due(now, 0.05, 0)
        assert due == sorted(due)
        assert not seen & set(due)
        assert len(due) <= MAX_PER_REQUEST
        assert len(tracker._missing) <= MAX_MISSING
