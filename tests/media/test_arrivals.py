import random
import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import rtcp
from server.core.twcc import TICK_S, TransportFeedback
from server.media.receiving.arrivals import (
    INTERVAL_S,
    MAX_AGE_S,
    MAX_FEEDBACKS,
    MAX_HOLE,
    MAX_LAYOUTS,
    MAX_MISSING,
    MAX_TOLD,
    Arrivals,
)
from tests.media.streams import rtp

EXTENSION = 3
NOW = 1_800_000_000.0


def element(number: int, value: bytes) -> bytes:
    return bytes([number << 4 | len(value) - 1]) + value


def numbered(number: int, before: bytes = b"", after: bytes = b"", csrcs: int = 0) -> bytes:
    """A packet with that transport-wide number among other header extensions."""
    block = before + element(EXTENSION, struct.pack("!H", number & 0xFFFF)) + after
    block += bytes(-len(block) % 4)
    header = struct.pack("!HH", 0xBEDE, len(block) // 4) + block
    packet = rtp(1, 2, b"payload")
    return bytes([0x90 | csrcs]) + packet[1:12] + bytes(4 * csrcs) + header + packet[12:]


@dataclass
class Rig:
    """What is told to a sender; each feedback can be written, and fits a datagram."""

    arrivals: Arrivals = field(default_factory=lambda: Arrivals(EXTENSION))
    now: float = NOW

    def received(self, *numbers: int) -> None:
        for each in numbers:
            self.arrivals.fresh.append((numbered(each), self.now))

    def told(self, after_s: float = INTERVAL_S) -> list[TransportFeedback]:
        self.now += after_s
        feedbacks = self.arrivals.feedback(self.now, 1, 2)
        for each in feedbacks:
            data = rtcp.transport_feedback(each)
            assert len(data) <= 1200
            assert rtcp.parse(data) == [each]
        return feedbacks

    def spans(self) -> list[tuple[int, str]]:
        """Of each feedback its first number, and which came."""
        return [
            (each.base_seqno, "".join("-" if one is None else "x" for one in each.arrivals))
            for each in self.told()
        ]

    def after(self, *numbers: int) -> list[tuple[int, str]]:
        """What is told once these came."""
        self.received(*numbers)
        return self.spans()


def test_arrivals_are_told_every_interval_in_ticks() -> None:
    rig = Rig()
    rig.received(7)
    (first,) = rig.told(0.0)
    assert (first.sender_ssrc, first.media_ssrc, first.number, first.base_seqno) == (1, 2, 0, 7)
    for index in range(5):
        rig.received(8 + index)
        rig.now += 0.01
    assert rig.told(INTERVAL_S - 0.051) == []
    (second,) = rig.told(0.001)
    assert (second.number, second.base_seqno) == (1, 8)
    came = [each for each in second.arrivals if each is not None]
    assert [each - came[0] for each in came] == [0, 40, 80, 120, 160]
    assert came[0] * TICK_S == pytest.approx(NOW % (1 << 32) % (2**32 * TICK_S), abs=TICK_S)
    assert rig.told(9.0) == [], "nothing came"


def test_losses_are_told_once_and_what_comes_late_alone() -> None:
    rig = Rig()
    assert rig.after(10, 11, 14) == [(10, "xx--x")]
    assert rig.after(16) == [(15, "-x")]
    assert rig.after(13, 15, 17) == [(13, "x"), (15, "x"), (17, "x")]
    assert rig.after(13, 11, 14, 18) == [(18, "x")], "told already"
    assert rig.after(20, 19, 20) == [(19, "xx")], "overtaken on the way"


def test_numbers_wrap() -> None:
    rig = Rig()
    assert rig.after(65_534) == [(65_534, "x")]
    assert rig.after(65_535, 1) == [(65_535, "x-x")]
    assert rig.after(0, 2) == [(0, "x"), (2, "x")]


def test_a_long_hole_is_passed_over() -> None:
    rig = Rig()
    rig.after(0)
    assert rig.after(MAX_HOLE + 1) == [(1, "-" * MAX_HOLE + "x")]
    assert rig.after(2 * MAX_HOLE + 3) == [(2 * MAX_HOLE + 3, "x")]


def test_more_than_fits_a_datagram_is_told_in_several() -> None:
    rig = Rig()
    feedbacks = rig.after(*range(0, 2 * MAX_TOLD, 2))
    assert [len(came) for _, came in feedbacks] == [MAX_TOLD - 1, MAX_TOLD]
    assert "".join(came for _, came in feedbacks) == ("x-" * MAX_TOLD)[:-1]


def test_after_standing_still_nothing_old_is_told() -> None:
    rig = Rig()
    rig.received(1)
    rig.now += MAX_AGE_S
    rig.received(2)
    assert rig.told() == []
    assert rig.after(3) == [(3, "x")]


def test_the_number_is_found_wherever_it_stands() -> None:
    rig = Rig()
    mid, time = element(4, b"0"), element(2, b"\x31\x32\x33")
    for number, packet in enumerate(
        [
            numbered(0),
            numbered(1, after=mid),
            numbered(2, before=mid),  # as long as the one before
            numbered(3, before=time),
            numbered(4, before=mid + time, after=mid),
            numbered(5, csrcs=2),
            numbered(6),
        ]
    ):
        for _ in range(2):
            rig.arrivals.fresh.append((packet, NOW + number))
    two_bytes = b"\x10\x00\x00\x01" + bytes([EXTENSION, 2, 0, 7])
    plain = rtp(1, 2, b"payload")
    rig.arrivals.fresh.append((bytes([0x90]) + plain[1:12] + two_bytes + plain[12:], NOW))
    assert rig.spans() == [(0, "x" * 8)]
    assert len(rig.arrivals._places) == 4, "of each length, and of none"


def test_packets_without_a_number_are_not_counted() -> None:
    rig = Rig()
    rig.received(1)
    rig.arrivals.fresh.append((rtp(1, 2, b"payload"), NOW))
    rig.arrivals.fresh.append((numbered(2).replace(b"\x31\0\2", b"\x51\0\2"), NOW))
    rig.arrivals.fresh.append((numbered(2).replace(b"\x31\0\2\0", b"\x32\0\2\0"), NOW))
    assert rig.spans() == [(1, "x")]


def test_packets_cut_short_are_told_of_no_more_than_they_say() -> None:
    whole = numbered(1)
    for end in range(12, len(whole)):
        rig = Rig()
        rig.received(0)
        rig.arrivals.fresh.append((whole[:end], NOW))
        assert rig.spans() in ([(0, "x")], [(0, "xx")])
        assert rig.after(2) in ([(1, "-x")], [(2, "x")])


@settings(deadline=None, max_examples=60)
@given(st.integers(0), st.sampled_from([1, 300, 30_000, 65_536]))
def test_whatever_numbers_are_sent_what_is_kept_and_told_is_bounded(seed: int, spread: int) -> None:
    rig, number, chance = Rig(), 0, random.Random(seed)
    arrivals = rig.arrivals
    for _ in range(12):
        for _ in range(chance.randrange(300)):
            number += chance.randrange(-spread // 2, spread + 1)
            before = element(chance.randrange(5, 15), bytes(chance.randrange(1, 17)))
            arrivals.fresh.append((numbered(number, before), rig.now))
            rig.now += 0.0001
        feedbacks = rig.told()
        assert len(feedbacks) <= MAX_FEEDBACKS
        assert sum(len(each.arrivals) for each in feedbacks) <= MAX_FEEDBACKS * MAX_TOLD
        assert (arrivals.fresh, len(arrivals._places) <= MAX_LAYOUTS) == ([], True)
        assert len(arrivals._missing) <= MAX_MISSING
