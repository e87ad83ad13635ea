from dataclasses import replace

import pytest
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtpPacket

from loadtest.media import Clip, VideoCodec
from loadtest.packets import PacketisedClip, packetise_opus, packetise_vp8, vp8_descriptor
from loadtest.sdp import _EXTENSION_URIS
from loadtest.sender import (
    HISTORY,
    KEYFRAME_SPACING_S,
    Extensions,
    Playback,
    Repairs,
    TrackSender,
)
from loadtest.stamp import find_stamp
from server.core import red, rtcp
from server.core.rtp import extension


def planted_clip(codec: VideoCodec = "vp8", frames: int = 300, gop: int = 60) -> PacketisedClip:
    """Frames that say their number; ten seconds, a keyframe every two."""
    clip = Clip(codec, [], list(range(0, frames, gop)), [])
    video = tuple(packetise_vp8(b"video %d" % number) for number in range(frames))
    audio = tuple(packetise_opus(b"\x78audio %d" % number) for number in range(frames * 5 // 3))
    return PacketisedClip(clip, video, audio)


def number_of(frame: tuple, word: bytes) -> int:  # type: ignore[type-arg]
    head = frame[0].head
    return int(head[head.index(word) + len(word) + 1 :].split(b"\xd6", 1)[0])


def sender(**changes: object) -> TrackSender:
    settings = {"ssrc": 5, "payload_type": 96, "clock_rate": 90_000, "mid": "1"}
    return TrackSender(**{**settings, "extensions": Extensions(), **changes})  # type: ignore[arg-type]


def test_headers_are_what_an_independent_parser_reads() -> None:
    track = sender(seqno=65_535, describe=vp8_descriptor)
    large = packetise_vp8(bytes(3000))
    sent = track.begin_frame(large, 2**32 + 7).burst(10, 1.5)
    packets = [RtpPacket.parse(data) for data in sent]
    assert [packet.sequence_number for packet in packets] == [65_535, 0, 1]
    assert {(p.ssrc, p.payload_type, p.timestamp) for p in packets} == {(5, 96, 7)}
    assert [packet.marker for packet in packets] == [0, 0, 1]
    assert (track.packets, track.octets) == (3, sum(len(packet.payload) for packet in packets))


def test_the_extensions_that_were_accepted_are_sent() -> None:
    extensions = Extensions(mid=4, abs_send_time=2, transport_cc=3)
    track = sender(extensions=extensions, number=lambda now: 777)
    (data,) = track.begin_frame(packetise_opus(b"\x78abc"), 0).burst(10, 1.5)
    known = HeaderExtensionsMap()
    known.configure(
        RTCRtpParameters(
            headerExtensions=[
                RTCRtpHeaderExtensionParameters(id=3, uri=_EXTENSION_URIS["transport_cc"]),
                RTCRtpHeaderExtensionParameters(id=4, uri=_EXTENSION_URIS["mid"]),
                RTCRtpHeaderExtensionParameters(id=2, uri=_EXTENSION_URIS["abs_send_time"]),
            ]
        )
    )
    read = RtpPacket.parse(data, known).extensions
    assert (read.mid, read.abs_send_time) == ("1", int(1.5 * 2**18))
    assert read.transport_sequence_number == 777


def test_a_large_frame_leaves_in_bursts_and_loses_no_packet_between_them() -> None:
    track = sender(describe=vp8_descriptor)
    sending = track.begin_frame(packetise_vp8(bytes(20_000)), 0)
    bursts = [sending.burst(8, now) for now in (1.0, 1.1, 1.2)]
    assert [len(burst) for burst in bursts] == [8, 8, 2]
    seqnos = [RtpPacket.parse(data).sequence_number for burst in bursts for data in burst]
    assert seqnos == list(range(18))
    stamp = find_stamp(bursts[-1][-1])
    assert stamp is not None
    assert stamp.sent_s == pytest.approx(1.2)


def test_each_frame_of_the_base_layer_is_counted_for_the_layers_above() -> None:
    track = sender(describe=vp8_descriptor)
    sent = [
        track.begin_frame(packetise_vp8(b"frame", layer), 0).burst(1, 1.0)[0]
        for layer in (0x00, 0xA0, 0x60, 0x80, 0x00)
    ]
    parsed = [VpxPayloadDescriptor.parse(RtpPacket.parse(data).payload)[0] for data in sent]
    assert [descriptor.tl0picidx for descriptor in parsed] == [1, 1, 1, 1, 2]
    assert [descriptor.tid for descriptor in parsed] == [(0, 0), (2, 1), (1, 1), (2, 0), (0, 0)]


def test_frames_are_numbered_and_stamped_with_the_time_of_sending() -> None:
    track = sender()
    for number in range(3):
        (data,) = track.begin_frame(packetise_opus(b"\x78abc"), 0).burst(1, 100.0 + number)
        stamp = find_stamp(data)
        assert stamp is not None
        assert (stamp.source, stamp.frame) == (5, number)
        assert stamp.sent_s == pytest.approx(100.0 + number)


def test_packets_asked_for_are_sent_again_as_they_were_while_they_are_remembered() -> None:
    track = sender(seqno=65_500)
    frame = packetise_opus(b"\x78abc")
    sent = [track.begin_frame(frame, 0).burst(1, 1.0)[0] for _ in range(HISTORY + 10)]
    recent, forgotten = 65_500 + 20 & 0xFFFF, 65_500
    assert list(track.retransmissions((forgotten, recent, 40_000), 2.0)) == [sent[20]]
    assert track.retransmitted == 1


def test_what_was_sent_again_within_the_round_trip_is_not_sent_once_more() -> None:
    track = sender(payload_type=111)
    track.begin_frame(packetise_opus(b"\x78abc"), 0).burst(1, 1.0)
    seqno = track.seqno - 1 & 0xFFFF
    sent = [list(track.retransmissions((seqno,), at_s, 0.06)) for at_s in (2.0, 2.01, 2.07, 2.1)]
    assert list(map(len, sent)) == [1, 0, 1, 0]


def test_packets_asked_for_come_in_a_stream_of_their_own_where_that_was_accepted() -> None:
    numbers = iter(range(10))
    extensions = Extensions(mid=4, transport_cc=3)
    repairs = Repairs(9, 97, seqno=65_535)
    track = sender(extensions=extensions, number=lambda now: next(numbers), repairs=repairs)
    sent = track.begin_frame(packetise_vp8(bytes(3000)), 7).burst(10, 1.0)
    again = [RtpPacket.parse(data) for data in track.retransmissions((2, 0), 2.0)]
    assert [(p.ssrc, p.payload_type, p.sequence_number) for p in again] == [
        (9, 97, 65_535),
        (9, 97, 0),
    ]
    for packet, number in zip(again, (2, 0), strict=True):
        first = RtpPacket.parse(sent[number])
        assert packet.payload == number.to_bytes(2, "big") + first.payload
        assert (packet.timestamp, packet.marker) == (first.timestamp, first.marker)
    carried = [extension(data, 3) for data in track.retransmissions((2, 0), 2.0)]
    assert carried == [b"\0\5", b"\0\6"], "numbers of their own"


def test_sound_carries_the_packet_before_it_where_that_is_preferred() -> None:
    track = sender(payload_type=111, red=63)
    frames = [packetise_opus(b"\x78sound%d" % number) for number in range(3)]
    times = (0, 960, 960 + 2**14)
    sent = [
        RtpPacket.parse(track.begin_frame(frame, time).burst(1, 1.0)[0])
        for frame, time in zip(frames, times, strict=True)
    ]
    assert {packet.payload_type for packet in sent} == {63}
    blocks = [red.split(packet.payload) for packet in sent]
    assert [[each.timestamp_offset for each in block] for block in blocks] == [[0], [960, 0], [0]]
    assert blocks[1][0].data == blocks[0][0].data
    assert {each.payload_type for block in blocks for each in block} == {111}


def test_a_sender_report_maps_the_clocks_and_counts() -> None:
    track = sender()
    track.begin_frame(packetise_opus(b"\x78abc"), 0).burst(1, 1.0)
    (report,) = rtcp.parse(track.report(1_700_000_000.5, 90_000))
    assert isinstance(report, rtcp.SenderReport)
    assert rtcp.unix_from_ntp(report.ntp) == pytest.approx(1_700_000_000.5)
    assert (report.rtp_timestamp, report.packets, report.octets) == (90_000, 1, track.octets)


def test_the_loop_goes_on_where_it_began() -> None:
    playback = Playback(planted_clip(frames=300))
    numbers = [number_of(playback.next_video(), b"video") for _ in range(302)]
    assert numbers == [*range(300), 0, 1]


@pytest.mark.parametrize(
    ("shown", "keyframe"), [(10, 0), (29, 0), (31, 60), (70, 60), (271, 0), (299, 0)]
)
def test_a_keyframe_request_jumps_to_the_nearest_in_picture_and_sound(
    shown: int, keyframe: int
) -> None:
    playback = Playback(planted_clip(frames=300))
    for _ in range(shown):
        playback.next_video()
    for _ in range(round(shown * 5 / 3)):
        playback.next_audio()
    playback.request_keyframe(1.0)
    assert number_of(playback.next_video(), b"video") == keyframe
    sound = number_of(playback.next_audio(), b"audio")
    assert abs(sound - keyframe * 5 / 3) <= 1
    assert number_of(playback.next_video(), b"video") == keyframe + 1


def test_a_request_right_after_a_keyframe_waits_for_one_frame() -> None:
    """Two IDR pictures in a row may not share an idr_pic_id."""
    playback = Playback(planted_clip())
    playback.next_video()
    playback.request_keyframe(1.0)
    assert [number_of(playback.next_video(), b"video") for _ in range(3)] == [1, 0, 1]


def test_requests_in_quick_succession_are_granted_once() -> None:
    playback = Playback(planted_clip())
    for _ in range(20):
        playback.next_video()
    playback.request_keyframe(1.0)
    assert number_of(playback.next_video(), b"video") == 0
    for _ in range(5):
        playback.next_video()
    playback.request_keyframe(1.0 + KEYFRAME_SPACING_S / 2)
    assert number_of(playback.next_video(), b"video") == 6
    playback.request_keyframe(1.0 + KEYFRAME_SPACING_S * 2)
    assert number_of(playback.next_video(), b"video") == 0


def test_another_bitrate_begins_at_a_keyframe() -> None:
    clip = planted_clip(frames=120)
    lower = tuple(packetise_vp8(b"lower %d" % number) for number in range(120))
    playback = Playback(replace(clip, lower=(lower,)))
    for _ in range(10):
        playback.next_video()
    playback.wanted = 1
    words = [b"lower" in playback.next_video()[0].head for _ in range(100)]
    assert words == [False] * 50 + [True] * 50
    playback.wanted = 0
    assert [b"lower" in playback.next_video()[0].head for _ in range(20)] == [True] * 10 + [
        False
    ] * 10


def test_layers_are_named_in_each_packet_and_stamp_for_the_camera() -> None:
    extensions = Extensions(mid=4, rid=10)
    layer = sender(ssrc=9, extensions=extensions, rid="m", layer=1, stamp_source=5)
    (data,) = layer.begin_frame(packetise_vp8(bytes(500)), 0).burst(1, 1.0)
    assert extension(data, 10) == b"m"
    found = find_stamp(data)
    assert found is not None
    assert (found.source, found.layer) == (5, 1)


def test_smaller_layers_show_the_same_picture() -> None:
    clip = planted_clip(frames=60)
    layered = replace(clip, layers=(clip.video[::-1],))
    playback = Playback(layered)
    for index in range(len(clip.video) + 2):
        assert playback.next_video() == clip.video[index % len(clip.video)]
        assert playback.in_layers() == (clip.video[::-1][index % len(clip.video)],)
