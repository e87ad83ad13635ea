from loadtest.arrivals import MAX_TOLD, Arrivals
from server.core import rtcp
from server.core.rtp import ONE_ELEMENT, pack_header_with_number
from server.core.twcc import TransportFeedback

NOW = 1_800_000_000.0


def packet(count: int) -> bytes:
    return pack_header_with_number(0x90, 96, 1, 2, 3, *ONE_ELEMENT, 3 << 4 | 1, count & 0xFFFF)


def told(arrivals: Arrivals) -> TransportFeedback | None:
    data = arrivals.feedback(7, 8)
    if data is None:
        return None
    (item,) = rtcp.parse(data)
    assert isinstance(item, TransportFeedback)
    return item


def relative(feedback: TransportFeedback | None) -> tuple[int, list[int | None]]:
    """Its first number, and ticks since the first arrival."""
    assert feedback is not None
    first = next(each for each in feedback.arrivals if each is not None)
    return feedback.base_seqno, [None if e is None else e - first for e in feedback.arrivals]


def test_what_came_and_what_did_not_is_told_once() -> None:
    arrivals = Arrivals(3)
    for count, at_s in ((65_534, 0.0), (65_535, 0.001), (2, 0.01), (1, 0.011)):
        arrivals.add(packet(count), NOW + at_s)
    assert relative(told(arrivals)) == (65_534, [0, 4, None, 44, 40])
    assert told(arrivals) is None
    arrivals.add(packet(5), NOW + 1)
    assert relative(told(arrivals)) == (3, [None, None, 0])


def test_what_comes_late_is_told_after_all() -> None:
    arrivals = Arrivals(3)
    for count in (1, 3):
        arrivals.add(packet(count), NOW)
    assert relative(told(arrivals)) == (1, [0, None, 0])
    for count in (2, 4):
        arrivals.add(packet(count), NOW + 0.1)
    assert relative(told(arrivals)) == (2, [0, None, 0])


def test_an_outage_is_not_told_of() -> None:
    arrivals = Arrivals(3)
    arrivals.add(packet(1), NOW)
    told(arrivals)
    arrivals.add(packet(2 * MAX_TOLD), NOW + 1)
    assert relative(told(arrivals)) == (2 * MAX_TOLD, [0])


def test_packets_without_the_count_are_passed_over() -> None:
    arrivals = Arrivals(4)
    arrivals.add(packet(1), NOW)
    arrivals.add(b"\x80" * 12, NOW)
    assert told(arrivals) is None
