import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.packets import packetise_opus, packetise_vp8, starts_frame, vp8_descriptor
from loadtest.receiver import MAX_NACKS, NACK_DELAY_S, NACK_INTERVAL_S, Sequence, TrackReceiver
from loadtest.sender import Extensions, TrackSender
from loadtest.watching import Screen
from server.core import rtcp, rtp


def receive(track: TrackReceiver, data: bytes, now: float, codec: str = "vp8") -> bool:
    begin, end = rtp.payload_span(data)
    payload = data[begin:end]
    return track.receive(rtp.unpack_header(data), payload, starts_frame(codec, payload), now)


def sent_frames(count: int, size: int = 3000, at: float = 100.0) -> list[list[bytes]]:
    """Frames of three packets each, thirty a second."""
    sender = TrackSender(5, 96, 90_000, "1", Extensions(), describe=vp8_descriptor, seqno=65_530)
    frame = packetise_vp8(bytes(size))
    return [
        sender.begin_frame(frame, number * 3000).burst(99, at + number / 30)
        for number in range(count)
    ]


def receiver(clock_rate: int = 90_000) -> TrackReceiver:
    return TrackReceiver(5, clock_rate, {5})


# ---- Sequence


def test_numbers_in_order_lose_nothing() -> None:
    sequence = Sequence()
    assert all(sequence.add(number) for number in range(10, 20))
    assert (sequence.received, sequence.lost, sequence.expected) == (10, 0, 10)


def test_a_late_number_is_no_loss_and_a_second_one_is_a_duplicate() -> None:
    sequence = Sequence()
    for number in (1, 3, 2, 3, 2):
        sequence.add(number)
    assert (sequence.received, sequence.lost, sequence.duplicates) == (3, 0, 2)


def test_a_stream_that_begins_out_of_order_begins_at_the_earlier_number() -> None:
    sequence = Sequence()
    for number in (12, 10):
        sequence.add(number)
    assert (sequence.first, sequence.lost, list(sequence.missing)) == (10, 1, [11])


@given(st.lists(st.booleans(), min_size=1, max_size=3000), st.booleans())
def test_what_is_dropped_is_lost_and_the_rest_received(drops: list[bool], twice: bool) -> None:
    sequence = Sequence()
    kept = [number for number, drop in enumerate(drops) if not drop]
    for number in kept:
        for _ in range(1 + twice):
            sequence.add(number)
    if kept:
        assert sequence.received == len(kept)
        assert sequence.lost == kept[-1] - kept[0] + 1 - len(kept)
    assert sequence.duplicates == len(kept) * twice


def test_a_gap_wider_than_the_window_is_counted_and_forgotten() -> None:
    sequence = Sequence()
    sequence.add(0)
    sequence.add(1_000_000)
    assert sequence.lost == 999_999
    assert len(sequence.missing) <= 1024


# ---- TrackReceiver


def test_latency_is_from_the_sending_of_the_stamped_packet_to_its_arrival() -> None:
    track = receiver()
    for frame in sent_frames(90):
        for data in frame:
            receive(track, data, 100.0 + track.packets.received // 3 / 30 + 0.120)
    assert track.latency_s.count == 90
    assert track.latency_s.percentile(50) == pytest.approx(0.120, rel=0.01)
    assert track.latency_s.max == pytest.approx(0.120, abs=1e-4)


def test_a_frame_counts_once_all_of_its_packets_are_there_in_any_order() -> None:
    track = receiver()
    (first, second) = sent_frames(2)
    assert [receive(track, data, 100.0) for data in reversed(first)] == [False, False, True]
    assert [receive(track, data, 100.0) for data in second[1:]] == [False, False]
    assert track.frames.received == 1
    assert receive(track, second[0], 100.0)
    assert track.frames.received == 2


@pytest.mark.parametrize("loss", [[1], [2], [3], [1, 2, 3], [30, 31, 60]])
def test_frames_with_a_lost_packet_are_not_whole(loss: list[int]) -> None:
    track = receiver()
    packets = [data for frame in sent_frames(40) for data in frame]
    for number, data in enumerate(packets):
        if number not in loss:
            receive(track, data, 100.0)
    assert track.packets.lost == len(loss)
    assert track.frames.received == 40 - len({number // 3 for number in loss})


def test_duplicates_are_counted_and_change_nothing_else() -> None:
    track = receiver()
    for frame in sent_frames(5):
        for data in frame * 2:
            receive(track, data, 100.0)
    assert track.packets.duplicates == 15
    assert (track.frames.received, track.latency_s.count) == (5, 5)


def test_frames_of_another_candidate_are_counted() -> None:
    track = TrackReceiver(5, 90_000, {6})
    for frame in sent_frames(3):
        for data in frame:
            receive(track, data, 100.0)
    assert track.misrouted == 3


def test_missing_packets_are_asked_for_until_they_come() -> None:
    track = receiver()
    packets = [data for frame in sent_frames(4) for data in frame]
    lost = packets[4]
    for data in packets:
        if data is not lost:
            receive(track, data, 100.0)
    assert track.nack(9, 100.0) is None, "reordering gets its time first"
    for requests in range(3):
        (nack,) = rtcp.parse(
            track.nack(9, 100.0 + NACK_DELAY_S + requests * NACK_INTERVAL_S) or b""
        )
        assert nack == rtcp.Nack(9, 5, ((65_530 + 4) & 0xFFFF,))
    assert receive(track, lost, 100.4)
    assert track.nack(9, 101.0) is None
    assert not track.repairing


def test_a_packet_that_never_comes_is_given_up() -> None:
    track = receiver()
    packets = [data for frame in sent_frames(2) for data in frame]
    for data in (packets[0], *packets[2:]):
        receive(track, data, 100.0)
    requests = 0
    while track.repairing:
        requests += 1
        track.nack(9, 101.0 + requests)
        assert requests <= MAX_NACKS + 1
    assert (track.nacks, track.packets.lost) == (MAX_NACKS, 1)


def test_the_report_says_the_loss_since_the_one_before() -> None:
    track = receiver()
    packets = [data for frame in sent_frames(20) for data in frame]
    for number, data in enumerate(packets[:40]):
        if number % 4 != 1:
            receive(track, data, 100.0)
    track.sender_report(rtcp.SenderReport(5, 0x1234_5678_9ABC_0000, 0, 0, 0), 100.0)
    block = track.report_block(100.5)
    assert (block.ssrc, block.packets_lost, block.fraction_lost) == (5, 10, 64)
    assert block.highest_seqno & 0xFFFF == (65_530 + 39) & 0xFFFF
    assert (block.last_sr, block.delay_since_last_sr) == (0x5678_9ABC, 32768)
    for data in packets[40:]:
        receive(track, data, 100.5)
    assert track.report_block(101.0).fraction_lost == 0


def test_a_report_that_has_just_come_by_an_emulated_network_is_not_ahead() -> None:
    track = receiver()
    track.sender_report(rtcp.SenderReport(5, 1 << 40, 0, 0, 0), 100.001)
    assert track.report_block(100.0).delay_since_last_sr == 0


def test_steady_arrival_has_no_jitter_and_unsteady_has() -> None:
    steady, shaken = receiver(), receiver()
    for number, frame in enumerate(sent_frames(60)):
        for data in frame:
            receive(steady, data, 100 + number / 30)
            receive(shaken, data, 100 + number / 30 + (number % 2) * 0.010)
    assert steady.report_block(103).jitter <= 1
    # Every frame is 10 ms (900 units) from its time after the one before it.
    assert 800 < shaken.report_block(103).jitter <= 900


@pytest.mark.parametrize("marker", [0x80, 0])
def test_sound_is_a_frame_a_packet_with_and_without_a_marker(marker: int) -> None:
    sender = TrackSender(5, 111, 48_000, "0", Extensions())
    track = receiver(48_000)
    for number in range(10):
        (data,) = sender.begin_frame(packetise_opus(b"\x78abc"), number * 960).burst(1, 100.0)
        data = data[:1] + bytes([marker | data[1] & 0x7F]) + data[2:]
        assert receive(track, data, 100.0, "opus")
    assert track.frames.received == 10
    assert track.name == "microphone"


# ---- layers


def test_another_layers_keyframe_is_shown_though_its_number_was_there_already() -> None:
    track, begins = receiver(), b"\0\0\0\x9d\x01\x2a"
    track.watched = Screen()
    seqno, base = 0, 0
    for number, layer, keyframe in [(0, 1, True), (1, 1, False), (1, 0, True), (2, 0, False)]:
        sender = TrackSender(
            5, 96, 90_000, "1", Extensions(), vp8_descriptor, None, seqno, layer=layer
        )
        sender.frames, sender.base_frames = number, base
        frame = packetise_vp8(begins + bytes(500) if keyframe else b"\x01" + bytes(500))
        (data,) = sender.begin_frame(frame, len(begins) * 3000 + seqno).burst(1, 100.0)
        receive(track, data, 100.0)
        seqno, base = sender.seqno, sender.base_frames
    assert track.watched.pictures == 4
    assert track.frames.received == 3, "of one number a viewer has one picture"


def test_pictures_and_sounds_without_a_stamp_are_whole_all_the_same() -> None:
    track = receiver()
    track.watched = Screen()
    for number in range(3):
        described = b"\x90\x80" + (0x8000 | number).to_bytes(2, "big")
        payload = described + bytes([number > 0]) + b"\0\0\x9d\x01\x2a" + bytes(9)
        assert track.receive((0x80, 0x80 | 96, number, 3000 * number, 5), payload, True, 100.0)
    assert (track.watched.pictures, track.frames.received, track.latency_s.count) == (3, 0, 0)


def test_how_long_the_picture_stands_when_the_layer_changes_is_measured() -> None:
    track, frame = receiver(), packetise_vp8(bytes(500))
    seqno = 0
    for number, layer in enumerate([0, 0, 1, 1, 0]):
        sender = TrackSender(
            5, 96, 90_000, "1", Extensions(), vp8_descriptor, None, seqno, layer=layer
        )
        sender.frames = number
        at = 100.0 + number / 10
        (data,) = sender.begin_frame(frame, number * 9000).burst(1, at)
        receive(track, data, at)
        seqno = sender.seqno
    assert track.switches_s.count == 2
    assert track.switches_s.max == pytest.approx(0.1, rel=0.1)
    assert track.viewing.shown == 5
