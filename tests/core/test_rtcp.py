import struct

import pytest
from aiortc import rtp as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import rtcp
from server.core.twcc import TransportFeedback

U8, U16, U32 = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
BLOCKS = st.lists(
    st.builds(
        rtcp.ReportBlock, U32, U8, st.integers(-(1 << 23), (1 << 23) - 1), U32, U32, U32, U32
    ),
    max_size=31,
).map(tuple)


def theirs(data: bytes) -> oracle.AnyRtcpPacket:
    (packet,) = oracle.RtcpPacket.parse(data)
    return packet


def as_block(info: oracle.RtcpReceiverInfo) -> rtcp.ReportBlock:
    return rtcp.ReportBlock(
        info.ssrc,
        info.fraction_lost,
        info.packets_lost,
        info.highest_sequence,
        info.jitter,
        info.lsr,
        info.dlsr,
    )


# ---- byte literals -----------------------------------------------------------------------

SR_BYTES = bytes.fromhex(
    "81c8000c"  # V=2, RC=1, SR, 13 words (RFC 3550 6.4.1)
    "11111111 83aa7e80 40000000 00002328 00000005 00000400"
    "22222222 40ffffff 00010064 0000000a 7e804000 00010000"
)


def test_sender_report_bytes() -> None:
    block = rtcp.ReportBlock(0x22222222, 64, -1, 0x10064, 10, 0x7E804000, 65536)
    ntp = rtcp.ntp_from_unix(0.25)
    report = rtcp.SenderReport(0x11111111, ntp, 9000, 5, 1024, (block,))
    assert rtcp.sender_report(report) == SR_BYTES
    assert rtcp.parse(SR_BYTES) == [report]
    assert rtcp.ntp_middle(ntp) == block.last_sr


def test_nack_bytes_pack_seventeen_numbers_to_an_entry() -> None:
    data = bytes.fromhex("81cd0004 00000001 00000002 fffe800b 00100000")
    seqnos = (65534, 65535, 0, 2, 14, 16)
    assert rtcp.nack(1, 2, seqnos) == data
    assert rtcp.parse(data) == [rtcp.Nack(1, 2, seqnos)]


def test_picture_loss_indication_bytes() -> None:
    data = bytes.fromhex("81ce0002 00000001 00000002")
    assert rtcp.picture_loss_indication(1, 2) == data
    assert rtcp.parse(data) == [rtcp.KeyframeRequest(1, 2)]


def test_full_intra_request_is_a_keyframe_request_for_each_entry() -> None:
    data = bytes.fromhex("84ce0006 00000001 00000000 00000007 05000000 00000008 06000000")
    assert rtcp.parse(data) == [rtcp.KeyframeRequest(1, 7), rtcp.KeyframeRequest(1, 8)]


def test_receiver_reference_time_bytes() -> None:
    data = bytes.fromhex("80cf0004 00000001 04000002 0000000300000004")
    assert rtcp.receiver_reference_time(1, 3 << 32 | 4) == data


def test_delay_since_last_rr_is_read_from_among_other_blocks() -> None:
    data = bytes.fromhex("80cf0008 00000009 01000001 00000000 05000003 00000001 00000002 00000003")
    data += bytes.fromhex("06000000")
    assert rtcp.parse(data) == [rtcp.DelaySinceLastRr(1, 2, 3)]


@given(U32, st.integers(0, (1 << 64) - 1))
def test_a_reference_time_is_read_back(ssrc: int, ntp: int) -> None:
    data = rtcp.receiver_reference_time(ssrc, ntp)
    assert rtcp.parse(data) == [rtcp.ReceiverReferenceTime(ssrc, ntp)]


def test_delay_since_last_rr_bytes() -> None:
    data = bytes.fromhex("80cf0005 00000009 05000003 00000001 00000002 00000003")
    assert rtcp.delay_since_last_rr(9, rtcp.DelaySinceLastRr(1, 2, 3)) == data


def test_unknown_types_and_formats_are_passed_over() -> None:
    application = bytes.fromhex("80cc0002 00000001 6e616d65")
    congestion_control = bytes.fromhex("8bcd0002 00000001 00000002")  # RFC 8888 3.1
    assert rtcp.parse(application + congestion_control) == []


def test_goodbyes_are_told_for_each_stream() -> None:
    of_two_and_of_none = bytes.fromhex("82cb0002 00000001 00000002 80cb0000")
    with_a_reason = bytes.fromhex("81cb0002 00000003 03657865")
    assert rtcp.parse(of_two_and_of_none + with_a_reason) == [
        rtcp.Goodbye(1),
        rtcp.Goodbye(2),
        rtcp.Goodbye(3),
    ]
    with pytest.raises(ValueError, match="truncated"):
        rtcp.parse(bytes.fromhex("82cb0001 00000001"))


def test_padding_of_the_last_packet_is_taken_off() -> None:
    data = bytes.fromhex("a1ce0003 00000001 00000002 00000004")
    assert rtcp.parse(data) == [rtcp.KeyframeRequest(1, 2)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("80c9", "truncated"),
        ("40c90001 00000001", "version"),
        ("80c90002 00000001", "length exceeds"),
        ("80c90000", "body is truncated"),
        ("81c90001 00000001", "body is truncated"),
        ("80c80001 00000001", "body is truncated"),
        ("81cd0001 00000001", "body is truncated"),
        ("84ce0003 00000001 00000000 00000007", "body is truncated"),
        ("80cf0002 00000009 05000001", "block is truncated"),
        ("80cf0003 00000009 05000001 00000000", "body is truncated"),
        ("a0c90001 00000000", "padding"),
        ("a0c90001 00000005", "padding"),
        ("a0c90002 00000001 00000004 80c90001 00000001", "padding"),
    ],
)
def test_what_is_not_whole_packets_is_refused(data: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rtcp.parse(bytes.fromhex(data))


# ---- aiortc reads what we write ----------------------------------------------------------


@settings(deadline=None)
@given(U32, st.integers(0, (1 << 64) - 1), U32, U32, U32, BLOCKS)
def test_sender_report_is_read_by_aiortc_and_by_us(
    ssrc: int, ntp: int, rtp: int, packets: int, octets: int, blocks: tuple[rtcp.ReportBlock, ...]
) -> None:
    report = rtcp.SenderReport(ssrc, ntp, rtp, packets, octets, blocks)
    data = rtcp.sender_report(report)
    packet = theirs(data)
    assert isinstance(packet, oracle.RtcpSrPacket)
    info = packet.sender_info
    assert (packet.ssrc, info.ntp_timestamp, info.rtp_timestamp) == (ssrc, ntp, rtp)
    assert (info.packet_count, info.octet_count) == (packets, octets)
    assert tuple(map(as_block, packet.reports)) == blocks
    assert rtcp.parse(data) == rtcp.parse(bytes(packet)) == [report]


@settings(deadline=None)
@given(U32, BLOCKS)
def test_receiver_report_is_read_by_aiortc_and_by_us(
    ssrc: int, blocks: tuple[rtcp.ReportBlock, ...]
) -> None:
    report = rtcp.ReceiverReport(ssrc, blocks)
    packet = theirs(rtcp.receiver_report(report))
    assert isinstance(packet, oracle.RtcpRrPacket)
    assert (packet.ssrc, tuple(map(as_block, packet.reports))) == (ssrc, blocks)
    assert rtcp.parse(bytes(packet)) == [report]


@settings(deadline=None)
@given(U32, U32, st.sets(U16, min_size=1, max_size=80))
def test_nack_is_read_by_aiortc_and_by_us(sender: int, media: int, missing: set[int]) -> None:
    data = rtcp.nack(sender, media, sorted(missing))
    packet = theirs(data)
    assert isinstance(packet, oracle.RtcpRtpfbPacket)
    assert (packet.ssrc, packet.media_ssrc, packet.lost) == (sender, media, sorted(missing))
    for written in (data, bytes(packet)):
        assert rtcp.parse(written) == [rtcp.Nack(sender, media, tuple(sorted(missing)))]


@pytest.mark.parametrize("cname", ["", "a", "ab", "abc", "abcd", "0123456789abcdef"])
def test_source_description_is_read_by_aiortc(cname: str) -> None:
    packet = theirs(rtcp.source_description(7, cname))
    assert isinstance(packet, oracle.RtcpSdesPacket)
    assert packet.chunks == [oracle.RtcpSourceInfo(7, [(1, cname.encode())])]


@settings(deadline=None)
@given(st.integers(0, (1 << 40)), st.lists(U32, max_size=4))
def test_estimated_max_bitrate_is_read_by_aiortc(bitrate_bps: int, ssrcs: list[int]) -> None:
    packet = theirs(rtcp.receiver_estimated_max_bitrate(1, bitrate_bps, ssrcs))
    assert isinstance(packet, oracle.RtcpPsfbPacket)
    assert (packet.fmt, packet.ssrc, packet.media_ssrc) == (15, 1, 0)
    read_bps, read_ssrcs = oracle.unpack_remb_fci(packet.fci)
    assert read_ssrcs == ssrcs
    assert bitrate_bps * (1 - 2**-17) <= read_bps <= bitrate_bps
    assert rtcp.parse(bytes(packet)) == [rtcp.MaxBitrate(1, read_bps, tuple(ssrcs))]


def test_compound_packets_are_read_in_order() -> None:
    parts: list[oracle.AnyRtcpPacket] = [
        oracle.RtcpRrPacket(1),
        oracle.RtcpSdesPacket([oracle.RtcpSourceInfo(1, [(1, b"name")])]),
        oracle.RtcpPsfbPacket(oracle.RTCP_PSFB_PLI, 1, 2),
        oracle.RtcpByePacket([1, 2]),
    ]
    assert rtcp.parse(b"".join(bytes(part) for part in parts)) == [
        rtcp.ReceiverReport(1),
        rtcp.KeyframeRequest(1, 2),
        rtcp.Goodbye(1),
        rtcp.Goodbye(2),
    ]


# ---- any bytes ---------------------------------------------------------------------------


def _packet(first: int, packet_type: int, body: bytes) -> bytes:
    return struct.pack("!BBH", first, packet_type, len(body) // 4) + body


FUZZ = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            _packet,
            st.integers(0x80, 0xBF),
            st.integers(198, 209),
            st.binary(max_size=80).map(lambda body: body[: len(body) // 4 * 4]),
        ),
    ),
    max_size=6,
).map(b"".join)


@settings(deadline=None)
@given(FUZZ)
def test_any_bytes_are_parsed_or_refused_with_value_error(data: bytes) -> None:
    try:
        items = rtcp.parse(data)
    except ValueError:
        return
    assert len(items) <= len(data)


# ---- time --------------------------------------------------------------------------------


def test_ntp_and_unix_time_are_inverse_to_a_microsecond() -> None:
    # RFC 5905 6: 1970 began 2208988800 s into the NTP era.
    assert rtcp.ntp_from_unix(0) == 2_208_988_800 << 32
    for unix_s in (0.0, 1_800_000_000.123456, 2_000_000_000.999999):
        assert rtcp.unix_from_ntp(rtcp.ntp_from_unix(unix_s)) == pytest.approx(unix_s, abs=1e-6)


@pytest.mark.parametrize(
    ("elapsed_s", "delay_s", "expected_s"), [(0.25, 0.1, 0.15), (0.1, 0.1, 0.0), (0.1, 0.1001, 0.0)]
)
def test_round_trip_is_elapsed_time_less_the_peers_delay(
    elapsed_s: float, delay_s: float, expected_s: float
) -> None:
    sent = rtcp.ntp_middle(rtcp.ntp_from_unix(1_800_000_000.0))
    now = rtcp.ntp_from_unix(1_800_000_000.0 + elapsed_s)
    measured = rtcp.round_trip_s(now, sent, round(delay_s * 65536))
    assert measured == pytest.approx(expected_s, abs=1e-4)


def test_round_trip_without_a_report_is_unknown() -> None:
    assert rtcp.round_trip_s(rtcp.ntp_from_unix(1.0), 0, 5) is None


def test_transport_feedback_is_told_by_its_first_two_octets() -> None:
    feedback = rtcp.transport_feedback(TransportFeedback(1, 2, 3, 4, (5,)))
    others = rtcp.nack(1, 2, [3]), rtcp.receiver_report(rtcp.ReceiverReport(1))
    assert rtcp.is_transport_feedback(feedback)
    assert not any(map(rtcp.is_transport_feedback, others))
