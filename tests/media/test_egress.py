from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.rtp import extension, payload_span, unpack_header
from server.core.twcc import TransportFeedback
from server.media.egress import HISTORY_LENGTH, Egress

NOW = 1_800_000_000.0


class Sender:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.egress = Egress(5, self.sent.append)

    def send(self, count: int, size: int = 1000) -> None:
        for index in range(count):
            self.egress.send(0x80, 96, index & 0xFFFF, 7, 8, bytes(size), NOW + index / 100)

    def told(self, base_seqno: int, *arrivals: int | None) -> list[tuple[float, float, int]]:
        """What is new: (sent after, arrived after, size)."""
        feedback = TransportFeedback(1, 2, 0, base_seqno & 0xFFFF, arrivals)
        news = self.egress.feedback_received(feedback)
        return [(round(e.sent_s - NOW, 3), round(e.arrived_s, 5), e.size) for e in news]


def test_packets_carry_their_count_in_the_extension_and_wrap() -> None:
    sender = Sender()
    sender.send(66_000, size=1)
    counts = [int.from_bytes(extension(data, 5) or b"", "big") for data in sender.sent]
    assert counts == [index & 0xFFFF for index in range(66_000)]
    assert unpack_header(sender.sent[9]) == (0x90, 96, 9, 7, 8)
    assert payload_span(sender.sent[0]) == (20, 21)


def test_feedback_pairs_departures_with_arrivals() -> None:
    sender = Sender()
    sender.send(3)
    assert sender.told(0, 400, 440, 481) == [
        (0.0, 0.0, 1000),
        (0.01, 0.01, 1000),
        (0.02, 0.02025, 1000),
    ]
    assert sender.told(0, 400, 440, 481) == [], "told before"
    assert (sender.egress.packets_arrived, sender.egress.packets_lost) == (3, 0)


def test_feedback_goes_on_after_the_count_has_wrapped() -> None:
    sender = Sender()
    sender.send(65_538)
    assert [each[0] for each in sender.told(65_534, 0, 1, 2, 3)] == [655.34, 655.35, 655.36, 655.37]


def test_clock_of_the_observer_may_wrap_and_packets_overtake() -> None:
    sender = Sender()
    sender.send(3)
    news = sender.told(0, 0xFFFF_FFFE, 2, 0xFFFF_FFFA)
    assert [each[1] for each in news] == [0.0, 0.001, -0.001]


def test_packet_is_lost_once_until_it_comes_after_all() -> None:
    sender = Sender()
    sender.send(3)
    sender.told(0, 1, None)
    sender.told(1, None, 9)
    assert (sender.egress.packets_arrived, sender.egress.packets_lost) == (2, 1)
    assert [each[0] for each in sender.told(1, 10)] == [0.01]
    assert (sender.egress.packets_arrived, sender.egress.packets_lost) == (3, 0)


def test_feedback_on_what_was_never_sent_or_is_forgotten_tells_nothing() -> None:
    sender = Sender()
    assert sender.told(0, 1) == []
    sender.send(HISTORY_LENGTH + 10)
    assert sender.told(HISTORY_LENGTH + 9, 1, 2) == []
    assert len(sender.told(0, *range(20))) == 10


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
    egress = sender.egress
    assert egress.packets_lost >= 0
    assert egress.packets_arrived + egress.packets_lost <= len(sender.sent)
