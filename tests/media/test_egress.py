import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.rtp import extension, payload_span, unpack_header
from server.core.twcc import TransportFeedback
from server.media.forwarding.egress import (
    BURST_S,
    HISTORY_LENGTH,
    MAX_REPAIR_WAIT_S,
    MAX_WAIT_S,
    OVERHEAD_OCTETS,
    PACING_FACTOR,
    Egress,
)
from server.media.forwarding.probe import LENGTH_S, PATIENCE_S

NOW = 1_800_000_000.0


VIDEO, SOUND = 8, 9
TICKS_PER_S = 4000


class Sender:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.wakes: list[float] = []
        self.full: list[int] = []
        self.egress = Egress(5, self._sent, self.wakes.append, self.full.append, NOW)
        self.egress.never_waits(SOUND)
        self.told_of = 0

    def _sent(self, header: bytes, payload: bytes) -> None:
        self.sent.append(header + payload)

    def send(self, count: int, size: int = 1000, *, ssrc: int = VIDEO, at: float = NOW) -> None:
        """A hundred a second."""
        for index in range(count):
            self.egress.send(0x80, 96, index & 0xFFFF, 7, ssrc, bytes(size), at + index / 100)

    def told(self, base_seqno: int, *arrivals: int | None, at: float = NOW) -> None:
        feedback = TransportFeedback(1, 2, 0, base_seqno & 0xFFFF, arrivals)
        self.egress.feedback_received(feedback, at, 0.05)

    def counted(self) -> tuple[int, int]:
        return self.egress.packets_arrived, self.egress.packets_lost

    def pass_through(self, rate_bps: float, begin_s: float, seconds: float) -> None:
        """A stream that a link of that rate delays and limits, with feedback of ten a second."""
        free_s = begin_s
        for tenth in range(round(seconds * 10)):
            at = begin_s + tenth / 10
            first = self.egress._count
            self.send(10, at=at)
            arrivals = []
            for index in range(self.egress._count - first):
                free_s = max(free_s, at + index / 100) + 8 * 1064 / rate_bps
                arrivals.append(round((free_s - NOW) * TICKS_PER_S))
            self.told(first, *arrivals, at=at + 0.1)


def test_packets_carry_their_count_in_the_extension_and_wrap() -> None:
    sender = Sender()
    sender.send(66_000, size=1)
    counts = [int.from_bytes(extension(data, 5) or b"", "big") for data in sender.sent]
    assert counts == [index & 0xFFFF for index in range(66_000)]
    assert unpack_header(sender.sent[9]) == (0x90, 96, 9, 7, 8)
    assert payload_span(sender.sent[0]) == (20, 21)


def test_feedback_is_counted_once() -> None:
    sender = Sender()
    sender.send(3)
    for _ in range(2):
        sender.told(0, 400, 440, 481)
        assert sender.counted() == (3, 0)


def test_feedback_pairs_departures_with_arrivals() -> None:
    sender = Sender()
    sender.send(3)
    feedback = TransportFeedback(1, 2, 0, 0, (400, None, 481))
    news = sender.egress._arrivals(feedback)
    assert [(round(each.sent_s - NOW, 3), each.arrived_s, each.size) for each in news] == [
        (0.0, 0.0, 1000 + OVERHEAD_OCTETS),
        (0.02, 0.02025, 1000 + OVERHEAD_OCTETS),
    ]


def test_feedback_goes_on_after_the_count_has_wrapped() -> None:
    sender = Sender()
    sender.send(65_538)
    sender.told(65_534, 0, 1, 2, 3)
    assert sender.counted() == (4, 0)


def test_clock_of_the_observer_may_wrap_and_packets_overtake() -> None:
    sender = Sender()
    sender.send(3)
    feedback = TransportFeedback(1, 2, 0, 0, (0xFFFF_FFFE, 2, 0xFFFF_FFFA))
    assert [each.arrived_s for each in sender.egress._arrivals(feedback)] == [0.0, 0.001, -0.001]


def test_packet_is_lost_once_until_it_comes_after_all() -> None:
    sender = Sender()
    sender.send(3)
    sender.told(0, 1, None)
    sender.told(1, None, 9)
    assert sender.counted() == (2, 1)
    sender.told(1, 10)
    assert sender.counted() == (3, 0)


def test_feedback_on_what_was_never_sent_or_is_forgotten_tells_nothing() -> None:
    sender = Sender()
    sender.told(0, 1)
    sender.send(HISTORY_LENGTH + 10)
    sender.told(HISTORY_LENGTH + 9, 1, 2)
    assert sender.counted() == (0, 0)
    sender.told(0, *range(20))
    assert sender.counted() == (10, 0)


# ---- pace --------------------------------------------------------------------------------


def slowed(rate_bps: float = 500e3) -> tuple[Sender, float]:
    """A sender that has learnt what its network takes, a moment after all queues have drained."""
    sender = Sender()
    sender.pass_through(rate_bps, NOW, 3.0)
    for hundredth in range(200):
        sender.egress.drain(NOW + 3.0 + hundredth / 100)
    assert not sender.egress._waiting
    sender.sent.clear()
    sender.wakes.clear()
    sender.full.clear()
    return sender, NOW + 5.0


def test_nothing_waits_while_the_estimate_is_far_above_what_is_sent() -> None:
    sender = Sender()
    sender.pass_through(20e6, NOW, 3.0)
    sender.sent.clear()
    for _ in range(50):
        sender.send(1, at=NOW + 5)
    assert (len(sender.sent), sender.wakes) == (50, [])


def test_a_burst_is_spread_in_order_and_sound_overtakes_it() -> None:
    sender, now = slowed()
    pace_bps = PACING_FACTOR * sender.egress.estimate.bitrate_bps
    sent_s: list[float] = []
    for index in range(10):
        sender.egress.send(0x80, 96, index, 7, VIDEO, bytes(1000), now)
    at_once = len(sender.sent)
    assert 1 <= at_once <= 1 + BURST_S * pace_bps / 8 / 1000 + 1
    sender.egress.send(0x80, 111, 0, 7, SOUND, bytes(80), now)
    assert unpack_header(sender.sent[-1])[4] == SOUND
    while len(sender.sent) < 11:
        (wake_s,) = sender.wakes
        sender.wakes.clear()
        now += max(wake_s, 0.001)
        before = len(sender.sent)
        sender.egress.drain(now)
        sent_s += [now] * (len(sender.sent) - before)
    assert sender.wakes == [], "no timer when nothing waits"
    video = [unpack_header(data)[2] for data in sender.sent if unpack_header(data)[4] == VIDEO]
    assert video == list(range(10))
    counts = [int.from_bytes(extension(data, 5) or b"", "big") for data in sender.sent]
    assert counts == list(range(counts[0], counts[0] + 11)), "counted when they leave"
    whole_s = 8 * (9 * 1064 + 80 + OVERHEAD_OCTETS) / pace_bps
    assert sent_s[-1] - (NOW + 5.0) == pytest.approx(whole_s - BURST_S, abs=0.005)


def test_sound_takes_of_the_room_for_pictures() -> None:
    sender, now = slowed()
    for index in range(10):
        sender.egress.send(0x80, 111, index, 7, SOUND, bytes(1000), now)
    sender.egress.send(0x80, 96, 0, 7, VIDEO, bytes(1000), now)
    assert [unpack_header(data)[4] for data in sender.sent] == [SOUND] * 10


def test_so_does_what_is_sent_beside_uncounted() -> None:
    sender, now = slowed()
    for _ in range(10):
        sender.egress.makes_way(1000, now)
    sender.egress.send(0x80, 96, 0, 7, VIDEO, bytes(1000), now)
    assert sender.sent == []
    plain = Sender()
    plain.egress.makes_way(10**6, NOW)
    plain.send(1)
    assert len(plain.sent) == 1, "where nothing is paced nothing waits for it"


def test_queue_is_bounded_by_how_long_it_would_take() -> None:
    sender, now = slowed()
    egress, before = sender.egress, sender.egress.packets_dropped
    for index in range(500):
        egress.send(0x80, 96, index, 7, VIDEO, bytes(1000), now)
    most = MAX_WAIT_S * PACING_FACTOR * egress.estimate.bitrate_bps / 8
    assert egress._waiting_octets <= most
    dropped = egress.packets_dropped - before
    assert dropped == 500 - len(sender.sent) - len(egress._waiting) > 0
    assert sender.full == [VIDEO] * dropped


def test_what_may_be_sent_again_is_what_is_left_of_a_short_wait() -> None:
    sender, now = slowed()
    egress = sender.egress
    octets_per_s = PACING_FACTOR * egress.estimate.bitrate_bps / 8
    assert egress.spare_octets(now) == pytest.approx(MAX_REPAIR_WAIT_S * octets_per_s)
    for index in range(4):
        egress.send(0x80, 96, index, 7, VIDEO, bytes(1000), now)
    assert egress._waiting, "and what waits counts"
    left = MAX_REPAIR_WAIT_S * octets_per_s - 4 * 1064
    assert egress.spare_octets(now) == pytest.approx(left, abs=1)
    for index in range(10):
        egress.send(0x80, 96, index, 7, VIDEO, bytes(1000), now)
    assert egress.spare_octets(now) == 0
    sender = Sender()
    sender.pass_through(20e6, NOW, 3.0)
    assert sender.egress.spare_octets(NOW + 3) == math.inf


def test_what_waits_of_a_stream_can_be_dropped() -> None:
    other = 10
    sender, now = slowed()
    for index in range(40):
        ssrc = other if index % 4 == 3 else VIDEO
        sender.egress.send(0x80, 96, index, 7, ssrc, bytes(1000), now)
    waiting = [packet[4] for packet in sender.egress._waiting]
    before = sender.egress.packets_dropped
    sender.egress.drop(VIDEO)
    assert sender.egress.packets_dropped - before == waiting.count(VIDEO) > 10
    sender.sent.clear()
    for _ in range(100):
        now += 0.02
        sender.egress.drain(now)
    sent = [unpack_header(data)[4] for data in sender.sent]
    assert sent == [other] * waiting.count(other)
    assert sender.egress._waiting_octets == 0


# ---- probes ------------------------------------------------------------------------------


def probed(link_bps: float, target_bps: float, *, lost: bool = False) -> tuple[float, float]:
    """The estimate before and after a probe in a path that is otherwise nearly silent."""
    sender, now = slowed(300e3)
    egress = sender.egress
    before_bps = egress.estimate.bitrate_bps
    egress.probe(target_bps, now)
    first, arrivals, free_s = egress._count, list[int | None](), now

    def send_padding(octets: int) -> None:
        nonlocal free_s
        for _ in range(-(-octets // 319)):
            egress.send(0xA0, 97, 0, 7, VIDEO, bytes(255), at)
            free_s = max(free_s, at) + 8 * 319 / link_bps
            arrivals.append(None if lost else round((free_s - NOW) * TICKS_PER_S))

    for tick in range(1, 7):
        at = now + tick * LENGTH_S / 5
        egress.pad(send_padding, at)
    egress.send(0x80, 111, 0, 7, SOUND, bytes(80), now + 0.2)
    arrivals.append(round((max(free_s, now + 0.2) - NOW) * TICKS_PER_S))
    sender.told(first, *arrivals, at=now + 0.3)
    return before_bps, egress.estimate.bitrate_bps


def test_probe_that_comes_through_raises_the_estimate_to_what_was_tried() -> None:
    before_bps, after_bps = probed(20e6, 1e6)
    assert before_bps < 320e3
    assert 0.8e6 < after_bps < 1.3e6


def test_probe_above_the_limit_tells_the_limit() -> None:
    _, after_bps = probed(600e3, 1.2e6)
    assert 0.5e6 < after_bps < 0.65e6


def test_probe_that_is_lost_tells_nothing() -> None:
    before_bps, after_bps = probed(20e6, 1e6, lost=True)
    assert after_bps < 1.1 * before_bps


def test_probe_without_an_answer_ends() -> None:
    sender, now = slowed()
    asked: list[int] = []
    sender.egress.probe(1e6, now)
    sender.egress.pad(asked.append, now + LENGTH_S)
    assert asked == [12_500]
    sender.told(0, at=now + LENGTH_S + PATIENCE_S)
    sender.egress.pad(asked.append, now + 3)
    assert len(asked) == 1


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),
            st.integers(0, 0xFFFF),
            st.lists(st.none() | st.integers(0, 0xFFFF_FFFF), max_size=40),
        ),
        max_size=20,
    )
)
def test_any_feedback_counts_each_packet_once(
    rounds: list[tuple[int, int, list[int | None]]],
) -> None:
    sender = Sender()
    for count, base, arrivals in rounds:
        sender.send(count, size=10)
        sender.told(base % (len(sender.sent) + 1), *arrivals)
    arrived, lost = sender.counted()
    assert lost >= 0
    assert arrived + lost <= len(sender.sent)
