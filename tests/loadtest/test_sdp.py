from contextlib import suppress
from dataclasses import replace

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from loadtest.media import VIDEO_CODECS
from loadtest.sdp import (
    RED_PAYLOAD_TYPE,
    RTX_PAYLOAD_TYPES,
    AnswerError,
    LocalSide,
    read_answer,
    write_offer,
)
from server.core.frames import OF_CANDIDATE, Codec
from server.media.negotiation import FORWARDED, negotiate
from server.media.sdp import answer as server_answer
from server.media.sdp.offer import RID_EXTENSION, parse_offer, transport_cc

LOCAL = LocalSide("ufrag", "p" * 24, "sha-256 " + ":".join(["AB"] * 32), 1, 2, video_rtx_ssrc=12)
OFFER = write_offer(LOCAL, ["h264", "vp8"], "sendonly")
ANSWER = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        "a=recvonly",
        "a=rtcp-mux",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:" + "q" * 24,
        "a=fingerprint:sha-256 " + ":".join(["CD"] * 32),
        "a=setup:passive",
        "a=rtpmap:111 opus/48000/2",
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host",
        "a=candidate:2 1 tcp 2130706431 192.0.2.1 4000 typ host tcptype passive",
        "a=candidate:3 1 udp 2130706430 2001:db8::1 4000 typ host",
        "a=candidate:4 1 udp 2130706430 a1.local 4000 typ host",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "c=IN IP4 0.0.0.0",
        "a=mid:1",
        "a=recvonly",
        "a=rtcp-mux",
        "a=rtpmap:96 VP8/90000",
        "",
    ]
)


def test_an_independent_parser_reads_the_offer() -> None:
    parsed = SessionDescription.parse(OFFER)
    audio, video = parsed.media
    assert (audio.kind, video.kind) == ("audio", "video")
    assert [codec.name for codec in video.rtp.codecs] == ["H264", "rtx", "VP8", "rtx"]
    assert audio.rtp.codecs[0].channels == 2
    assert {each.type for each in video.rtp.codecs[0].rtcpFeedback} == {"nack", "ccm"}
    assert [each.ssrc for each in video.ssrc] == [2, 12]
    assert [each.items for each in video.ssrc_group] == [[2, 12]]
    assert parsed.group[0].items == ["0", "1"]


def test_our_server_reads_the_offer() -> None:
    offer = parse_offer(write_offer(LOCAL, [*VIDEO_CODECS], "sendonly"))
    formats = [each for section in offer.sections for each in section.formats.values()]
    assert {each.codec for each in formats if each.codec is not None} == set(Codec)
    assert {each.codec: each.rtx for each in formats if each.codec is not None} == {
        Codec.OPUS: None,
        **{Codec[name.upper()]: number for name, number in RTX_PAYLOAD_TYPES.items()},
    }
    assert offer.sections[0].formats[111].red == RED_PAYLOAD_TYPE
    assert offer.sections[1].repaired == {12: 2}


def test_a_screen_is_offered_as_a_second_video_with_a_stream_of_its_own() -> None:
    local = replace(LOCAL, screen_ssrc=3, screen_rtx_ssrc=13)
    parsed = SessionDescription.parse(write_offer(local, ["vp8"], "sendonly"))
    assert parsed.group[0].items == ["0", "1", "2"]
    assert [(each.kind, each.rtp.muxId) for each in parsed.media[1:]] == [
        ("video", "1"),
        ("video", "2"),
    ]
    camera, screen = parsed.media[1:]
    assert [each.ssrc for each in screen.ssrc] == [3, 13]
    assert screen.msid != camera.msid
    observers = write_offer(replace(local, screen_ssrc=0), ["vp8"], "recvonly")
    assert observers.count("m=video") == 2


def test_only_who_adapts_asks_for_what_tells_it_to() -> None:
    assert "transport" not in OFFER.replace("a=group", "")
    asking = write_offer(replace(LOCAL, adapts=True), ["vp8"], "sendonly")
    audio, video = SessionDescription.parse(asking).media
    assert {"goog-remb", "transport-cc"} <= {each.type for each in video.rtp.codecs[0].rtcpFeedback}
    assert {each.type for each in audio.rtp.codecs[0].rtcpFeedback} == {"nack", "transport-cc"}
    for section in (audio, video):
        assert sum("transport-wide-cc" in each.uri for each in section.rtp.headerExtensions) == 1


def test_our_server_takes_the_screen_with_the_rest() -> None:
    offer = parse_offer(write_offer(replace(LOCAL, screen_ssrc=3), ["vp8"], "sendonly"))
    taken = negotiate(offer, OF_CANDIDATE, ("sendonly",), FORWARDED, every=False)
    assert list(taken) == [0, 1, 2]


def test_an_observers_offer_has_no_streams() -> None:
    offer = write_offer(LOCAL, ["vp8"], "recvonly")
    assert "a=recvonly" in offer
    assert "a=ssrc" not in offer


def test_the_answers_transport_and_tracks_are_read() -> None:
    remote = read_answer(ANSWER)
    assert (remote.ufrag, remote.password, remote.dtls_server) == ("abcd", "q" * 24, True)
    assert remote.fingerprints == [("sha-256", ":".join(["CD"] * 32))]
    assert remote.addresses == [("192.0.2.1", 4000)], "UDP over IPv4, by number"
    assert remote.audio is not None
    assert remote.video is not None
    assert (remote.audio.payload_type, remote.audio.extensions.mid) == (111, 4)
    assert (remote.video.payload_type, remote.video.extensions.mid) == (96, None)


def test_repairs_and_sound_that_is_sent_twice_are_read_of_the_answer() -> None:
    offer = parse_offer(write_offer(replace(LOCAL, screen_ssrc=3), ["vp8"], "sendonly"))
    agreed = negotiate(offer, OF_CANDIDATE, ("sendonly",), FORWARDED, every=False)
    sections = [
        server_answer.AnswerSection(section, tuple(agreed[index][1]), "recvonly")
        for index, section in enumerate(offer.sections)
    ]
    where = server_answer.Candidate("udp", "192.0.2.1", 4000)
    transport = server_answer.Transport("u" * 8, "p" * 24, "sha-256 AB", (where,))
    remote = read_answer(server_answer.write_answer(1, transport, sections))
    assert remote.audio is not None
    assert remote.video is not None
    assert (remote.audio.payload_type, remote.audio.red, remote.audio.rtx) == (111, 63, None)
    assert (remote.video.payload_type, remote.video.red, remote.video.rtx) == (96, None, 97)
    only_known = read_answer(ANSWER.replace("SAVPF 111", "SAVPF 111 63"))
    assert only_known.audio is not None
    assert only_known.audio.red is None, "where Opus is preferred, RED is not sent"


def test_the_second_video_of_an_answer_is_the_screen() -> None:
    at = ANSWER.index("m=video")
    second = ANSWER[at:].replace("mid:1", "mid:2").replace("96", "97")
    remote = read_answer(ANSWER + second)
    assert remote.screen is not None
    assert remote.video is not None
    assert (remote.video.payload_type, remote.screen.payload_type) == (96, 97)
    alone = read_answer(ANSWER.replace("m=video 9", "m=video 0") + second)
    assert (alone.video, alone.screen) == (None, remote.screen)
    refused = read_answer(ANSWER + second.replace("m=video 9", "m=video 0"))
    assert (refused.video, refused.screen) == (remote.video, None)
    assert read_answer(ANSWER).screen is None


def test_a_peer_that_wants_to_be_the_dtls_client_may() -> None:
    assert not read_answer(ANSWER.replace("setup:passive", "setup:active")).dtls_server


def test_a_refused_section_is_no_track() -> None:
    remote = read_answer(ANSWER.replace("m=video 9", "m=video 0"))
    assert remote.video is None
    assert remote.audio is not None


@pytest.mark.parametrize(
    ("removed", "why"),
    [
        ("a=ice-ufrag:abcd\r\n", "ICE credentials"),
        ("a=ice-pwd:" + "q" * 24 + "\r\n", "ICE credentials"),
        ("a=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host\r\n", "no UDP candidate"),
    ],
)
def test_an_answer_that_leads_nowhere_is_refused(removed: str, why: str) -> None:
    with pytest.raises(AnswerError, match=why):
        read_answer(ANSWER.replace(removed, ""))


def test_an_answer_that_refuses_everything_is_refused() -> None:
    with pytest.raises(AnswerError, match="refuses every"):
        read_answer(ANSWER.replace("m=video 9", "m=video 0").replace("m=audio 9", "m=audio 0"))


@given(st.text(), st.integers(0, len(ANSWER)), st.integers(0, len(ANSWER)))
def test_any_text_is_read_or_refused(text: str, start: int, end: int) -> None:
    for answer in (text, ANSWER[:start] + text + ANSWER[end:]):
        with suppress(AnswerError):
            read_answer(answer)


def test_an_observer_offers_repairs_and_a_count_as_browsers_do() -> None:
    offer = parse_offer(write_offer(LOCAL, [*VIDEO_CODECS], "recvonly"))
    audio, video = offer.sections
    assert {each.rtx for each in video.formats.values() if each.codec} == {97, 99, 103, 46}
    for section in (audio, video):
        formats = [each for each in section.formats.values() if each.codec]
        assert transport_cc(section, formats) == 3


def test_the_streams_of_repairs_and_the_count_of_an_answer_are_read() -> None:
    offered = parse_offer(write_offer(LOCAL, ["vp8"], "recvonly"))
    sections = [
        server_answer.AnswerSection(
            each,
            tuple(format for format in each.formats.values() if format.codec),
            "sendonly",
            90 + index,
            "name",
            "stream",
            transport_cc_extension=3,
            rtx_ssrc=80 if each.kind == "video" else None,
        )
        for index, each in enumerate(offered.sections)
    ]
    ours = server_answer.Transport(
        "u" * 8, "p" * 24, "sha-256 AB", (server_answer.Candidate("udp", "127.0.0.1", 5),)
    )
    remote = read_answer(server_answer.write_answer(1, ours, sections))
    assert (remote.repairs, remote.counts) == ({80: 91}, 3)


def test_simulcast_is_offered_by_names_alone_and_the_server_takes_it() -> None:
    offer = write_offer(replace(LOCAL, rids=("h", "m", "l")), ["vp8"], "sendonly")
    assert "a=simulcast:send h;m;l\r\n" in offer
    assert "a=ssrc:2 " not in offer, "RFC 8853: the video's SSRCs are not told"
    assert "a=ssrc:1 " in offer
    video = parse_offer(offer).sections[1]
    assert [rid.name for rid in video.layers(96)] == ["h", "m", "l"]
    extension = f"a=extmap:10 {RID_EXTENSION}\r\n"
    answered = read_answer(ANSWER + extension)
    assert answered.video is not None
    assert answered.video.extensions.rid == 10
