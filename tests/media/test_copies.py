from server.media.forwarding.copies import (
    APART_S,
    AWAY_S,
    LITTLE_LOST,
    MAX_WAITING,
    MUCH_LOST,
    STALE_S,
    Copies,
    Doubling,
)
from server.media.forwarding.estimate import LOSS_INTERVAL_S, Arrival, Estimate
from server.media.forwarding.thinner import ALL_LAYERS


def test_copies_are_due_a_little_later_in_their_order() -> None:
    copies = Copies()
    assert not copies
    copies.add(7, 1.0)
    copies.add(5, 1.01)
    assert list(copies.due(1.0 + APART_S / 2)) == []
    assert list(copies.due(1.005 + APART_S)) == [7]
    assert copies
    assert list(copies.due(1.05)) == [5]
    assert not copies


def test_what_had_to_wait_for_long_comes_no_more() -> None:
    copies = Copies()
    copies.add(7, 1.0)
    copies.add(8, 1.05)
    assert list(copies.due(1.0 + APART_S + STALE_S)) == [8]
    assert not copies


def test_of_too_many_the_newest_are_kept() -> None:
    copies = Copies()
    for seqno in range(MAX_WAITING + 5):
        copies.add(seqno, 1.0)
    assert list(copies.due(1.05)) == list(range(5, MAX_WAITING + 5))


class Path:
    """Which loses as it is told to, and delivers 1 Mbit/s with what is doubled."""

    def __init__(self) -> None:
        self.estimate = Estimate(0.0)
        self.now = 0.0

    def loses(self, share: float, seconds: float, round_trip_s: float = 0.06) -> None:
        for _ in range(round(seconds / LOSS_INTERVAL_S)):
            at = self.now
            came = [Arrival(at + i / 200, at + i / 200, 1250) for i in range(50)]
            self.now += LOSS_INTERVAL_S
            lost = round(50 * share / (1 - share))
            self.estimate.feedback(came, lost, self.now, round_trip_s)

    def waits(self, seconds: float) -> None:
        """A queue builds up: each packet comes a little later than the one before."""
        at = self.now
        for tenth in range(round(10 * seconds)):
            sent = [at + tenth / 10 + i / 100 for i in range(10)]
            came = [Arrival(each, each + (each - at) / 2, 1250) for each in sent]
            self.now += 0.1
            self.estimate.feedback(came, 1, self.now, 0.06)


def test_what_a_lossy_path_has_room_for_is_doubled_until_it_loses_little() -> None:
    path, doubling = Path(), Doubling()
    path.loses(LITTLE_LOST / 2, 10)
    assert doubling.look(1e6, path.estimate, path.now) is None
    path.loses(2 * MUCH_LOST, 10)
    for room, through in ((2.1, ALL_LAYERS), (1.6, 0), (1.4, None)):
        path.estimate.bitrate_bps = room * 1e6
        assert doubling.look(1e6, path.estimate, path.now) == through
    path.estimate.bitrate_bps = 2.1e6
    assert doubling.look(1e6, path.estimate, path.now) == ALL_LAYERS
    path.loses((LITTLE_LOST + MUCH_LOST) / 2, 10)
    assert doubling.look(1e6, path.estimate, path.now) == ALL_LAYERS
    path.loses(0.0, 10)
    assert doubling.look(1e6, path.estimate, path.now) is None


def test_what_a_full_queue_loses_is_not_doubled() -> None:
    path, doubling = Path(), Doubling()
    path.loses(0.0, 10)
    path.loses(0.25, 2, round_trip_s=0.26)
    path.estimate.bitrate_bps = 3e6
    assert doubling.look(1e6, path.estimate, path.now) is None, "it has lost nothing before"
    path.loses(0.25, 2)
    path.estimate.bitrate_bps = 3e6
    assert doubling.look(1e6, path.estimate, path.now) == ALL_LAYERS, "it is the path's own"
    path.loses(0.4, 20)
    path.estimate.bitrate_bps = 3e6
    assert doubling.look(1e6, path.estimate, path.now) is None, "no path loses so much"


def test_a_path_that_does_not_take_the_copies_gets_none_for_a_while() -> None:
    path, doubling = Path(), Doubling()
    path.loses(0.1, 10)
    assert doubling.look(1e6, path.estimate, path.now) is not None
    path.waits(1)
    assert path.estimate.bitrate_bps < 1e6
    assert doubling.look(1e6, path.estimate, path.now) is None
    path.estimate.bitrate_bps = 2e6
    assert doubling.look(1e6, path.estimate, path.now + AWAY_S - 1) is None
    assert doubling.look(1e6, path.estimate, path.now + AWAY_S) == ALL_LAYERS
