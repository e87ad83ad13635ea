from dataclasses import dataclass, field
from itertools import pairwise
from math import floor, inf

import pytest

from loadtest.network import Link, parse_network
from server.media.receiving.uplink import (
    AGAIN_S,
    HELD_S,
    KEYFRAME_SPACING_S,
    LOOK_S,
    MAX_HELD_S,
    MAX_QUEUE_S,
    MIN_BPS,
    Counted,
    Uplink,
)

NOW = 1_800_000_000.0
NOTHING = Counted(0, 0, 0)
FPS, SOUNDS_PER_S = 30, 50
PACKET_OCTETS, SOUND_OCTETS = 1000, 200
SOUND_BPS = 8 * SOUNDS_PER_S * SOUND_OCTETS
#: Of each stream's clock against ours, as RTP timestamps begin anywhere.
OFFSETS_S = {1: -12_345.0, 2: 777.0}


@dataclass
class Call:
    """A camera and a microphone over a line, which `obeys` what is told, or sends on."""

    network: str
    bitrate_bps: float = 1_000_000.0
    obeys: bool = True
    seed: str = "seed"
    uplink: Uplink = field(default_factory=Uplink)
    octets: int = 0
    sent: int = 0
    came: int = 0
    told: list[tuple[float, float]] = field(default_factory=list)  #: seconds, limit in bit/s
    anew_s: list[float] = field(default_factory=list)
    flooded: int = 0  #: looks
    expected: int = 0

    def run(self, seconds: float) -> "Call":
        link = Link(parse_network(self.network), self.seed)
        arrivals: list[tuple[float, int, float, int, int]] = []  # at, stream, sent, size, number
        left = 0.0  # of a packet, for the next picture
        for step in range(int(seconds * 150)):
            at = step / 150
            if step % 3 == 0:
                self._send(link, arrivals, 2, at, SOUND_OCTETS, 0)
            if step % 5 == 0:
                limit = self.uplink.limit_bps if self.obeys else inf
                left += max(0.0, min(self.bitrate_bps, limit - SOUND_BPS)) / FPS
                for _ in range(floor(left / 8 / PACKET_OCTETS)):
                    self.sent += 1
                    self._send(link, arrivals, 1, at, PACKET_OCTETS, self.sent)
                left %= 8 * PACKET_OCTETS
            if step % round(150 * LOOK_S) == 0:
                self._look(arrivals, at)
        return self

    def _send(
        self,
        link: Link,
        arrivals: list[tuple[float, int, float, int, int]],
        stream: int,
        at: float,
        size: int,
        number: int,
    ) -> None:
        arrival = link.arrival(size - 28, at)
        if arrival is not None:
            arrivals.append((arrival, stream, at, size, number))

    def _look(self, arrivals: list[tuple[float, int, float, int, int]], at: float) -> None:
        arrivals.sort()
        transits_s = {}
        while arrivals and arrivals[0][0] <= at:
            arrived_s, stream, sent_s, size, number = arrivals.pop(0)
            self.octets += size
            self.came += stream == 1
            self.expected = max(self.expected, number)
            transits_s[stream] = arrived_s - sent_s + OFFSETS_S[stream]
        counted = Counted(self.octets, self.expected, self.came)
        self.uplink.look(counted, transits_s, NOW + at)
        self.flooded += self.uplink.is_flooded
        if self.uplink.begins_anew:
            self.anew_s.append(at)
        if not self.told or self.told[-1][1] != self.uplink.limit_bps:
            self.told.append((at, self.uplink.limit_bps))


@pytest.mark.parametrize("rate_bps", [300_000, 700_000])
def test_full_line_is_told_within_a_second_and_fits_what_is_told(rate_bps: int) -> None:
    call = Call(f"delay=30ms,rate={rate_bps / 1000}kbit/s").run(1.0)
    told_bps = call.uplink.limit_bps
    assert 0.8 * rate_bps < told_bps < 0.9 * rate_bps
    assert bool(call.anew_s) is (rate_bps < 500_000), "where most was lost, a keyframe that fits"
    sent, lost = call.sent, call.sent - call.came
    later = Call(f"delay=30ms,rate={rate_bps / 1000}kbit/s").run(5.0)
    assert later.sent - later.came - lost < 0.1 * (later.sent - sent), "little is lost from then on"
    assert later.flooded <= 10


def test_line_that_takes_all_is_not_limited() -> None:
    call = Call("delay=30ms,rate=1mbit/s", bitrate_bps=850_000).run(10.0)
    assert (call.told, call.anew_s) == ([(0.0, inf)], [])


@pytest.mark.parametrize(
    "network",
    [
        "loss=10%",
        "loss=20%",
        "loss=10%,burst=4",
        "loss=20%,burst=4",
        "jitter=30ms,reorder=2%",
        "bad,rate=20mbit/s",
    ],
)
def test_line_that_loses_without_being_full_is_left_to_its_sender(network: str) -> None:
    call = Call(f"{network},delay=30ms" if "bad" not in network else network).run(60.0)
    assert (call.told, call.flooded, call.anew_s) == ([(0.0, inf)], 0, [])


def test_limit_ends_and_holds_twice_as_long_where_it_was_right() -> None:
    call = Call("delay=30ms,rate=300kbit/s").run(200.0)
    began_s = [at for at, limit in call.told if limit < inf]
    freed_s = [at for at, limit in call.told[1:] if limit == inf]
    held_s = [freed - max(each for each in began_s if each < freed) for freed in freed_s]
    expected_s = [min(HELD_S * 2**number, MAX_HELD_S) for number in range(len(held_s))]
    assert held_s == pytest.approx(expected_s, abs=0.5)
    assert len(held_s) == 5


def test_who_does_not_follow_is_asked_for_keyframes_seldom() -> None:
    call = Call("delay=30ms,rate=300kbit/s", obeys=False).run(30.0)
    spacing_s = [later - earlier for earlier, later in pairwise(call.anew_s)]
    assert min(spacing_s) >= KEYFRAME_SPACING_S - 0.01
    assert call.flooded > 200


@dataclass
class Told:
    """An uplink that is told of so many packets at each look."""

    uplink: Uplink = field(default_factory=Uplink)
    now: float = NOW
    counted: Counted = NOTHING
    others_s: dict[int, float] = field(default_factory=dict)  #: transits of other streams

    def look(
        self,
        seconds: float,
        *,
        lost: float = 0.0,
        transit_s: float | None = 0.0,
        octets: int = 4000,
    ) -> float:
        """Ten packets a look, of which one in ten is `lost` if that is 0.1; the limit then."""
        for _ in range(round(seconds / LOOK_S)):
            before = self.counted
            self.counted = Counted(
                before.octets + octets,
                before.expected + 10,
                before.received + round(10 - 10 * lost),
            )
            self.now += LOOK_S
            transits_s = {1: transit_s} if transit_s is not None else {}
            self.uplink.look(self.counted, {**transits_s, **self.others_s}, self.now)
        return self.uplink.limit_bps


def test_clock_that_was_set_is_no_queue() -> None:
    told = Told()
    told.look(5, lost=0.2)
    assert told.look(5, lost=0.2, transit_s=MAX_QUEUE_S + 1) == inf
    assert told.look(1, lost=0.2, transit_s=MAX_QUEUE_S + 1.2) < inf, "but one from then on is"


def test_clock_that_runs_apart_is_no_queue() -> None:
    told, transit_s = Told(), 0.0
    while transit_s < 0.3:
        transit_s += 1e-4
        assert told.look(1, lost=0.2, transit_s=transit_s) == inf


def test_some_loss_on_a_queue_is_a_limit_and_no_flood() -> None:
    told = Told()
    told.look(1)
    assert told.look(1, lost=0.2, transit_s=0.2) == pytest.approx(0.85 * 8 * 40_000)
    assert not told.uplink.is_flooded
    assert not told.uplink.begins_anew


def test_next_to_nothing_that_comes_is_no_limit_below_sound() -> None:
    assert Told().look(1, lost=0.9, octets=10) == MIN_BPS


def test_of_few_packets_loss_tells_nothing() -> None:
    uplink = Uplink()
    for look in range(50):  # a picture a second, of which all are lost
        uplink.look(Counted(0, look // 10, 0), {1: 0.0}, NOW + look * LOOK_S)
    assert uplink.limit_bps == inf


def test_stream_that_is_replaced_has_lost_nothing() -> None:
    told = Told()
    told.look(5)
    told.counted = Counted(0, 12, 12)
    assert told.look(5) == inf


def test_limit_holds_shorter_again_where_the_line_was_good_for_long() -> None:
    told = Told()
    for seconds in (1, 1):
        assert told.look(seconds, lost=0.9) < inf
        assert told.look(HELD_S, lost=0.0) < inf
        told.look(HELD_S)
    assert told.uplink.limit_bps < inf, "twice as long the second time"
    assert told.look(HELD_S + 1) == inf
    told.look(AGAIN_S)
    told.look(1, lost=0.9)
    assert told.look(HELD_S + 1) == inf


def test_stream_that_ended_late_says_nothing_of_what_goes_on() -> None:
    told = Told()
    told.look(5)
    told.others_s[2] = 0.0
    told.look(5)
    told.others_s[2] = 0.3  # the last packets of a layer that the browser stops, say
    told.look(1)
    told.others_s.clear()
    assert told.look(20, lost=0.2) == inf


def test_seldom_pictures_are_late_until_the_next_one() -> None:
    told = Told()
    told.look(5)
    for look in range(20):
        told.look(LOOK_S, lost=0.2, transit_s=None if look % 4 else 0.2)
    assert told.uplink.limit_bps < inf


@pytest.mark.parametrize("away_s", [0.4, 2.0, 4.0])
def test_path_that_carried_nothing_for_a_while_was_not_full(away_s: float) -> None:
    told = Told()
    told.look(5)
    before = told.counted
    told.now += LOOK_S
    for _ in range(round(away_s / LOOK_S)):
        told.uplink.look(told.counted, {}, told.now)
        told.now += LOOK_S
    # Its sender went on.
    told.counted = before._replace(expected=before.expected + round(100 * away_s))
    assert told.look(5, transit_s=0.05) == inf
    assert not told.uplink.begins_anew


def test_longer_path_is_no_queue_for_ever() -> None:
    told = Told()
    told.look(60)
    told.look(60, transit_s=0.15)
    assert told.look(60, lost=0.2, transit_s=0.15) == inf
