import re

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import dependency, twcc
from server.core.frames import VIDEO_CODECS, Codec
from server.core.twcc import EXTENSION
from server.media.errors import SdpError
from server.media.negotiation import choose_formats
from server.media.sdp.answer import AnswerSection, Candidate, Transport, write_answer
from server.media.sdp.offer import (
    Offer,
    dependency_extension,
    parse_offer,
    transport_cc,
)
from tests.media.offers import BROWSERS, CHROMIUM, FINGERPRINT, FIREFOX, video_of

OURS = Transport(
    "0123456789abcdef",
    "f" * 32,
    f"sha-256 {FINGERPRINT}",
    (Candidate("udp", "192.0.2.1", 3478),),
)
AUDIO = (Codec.OPUS,)


def answer(offer: Offer, *, every: bool = False, ssrc: int | None = None) -> str:
    """Each usable section taken as the server takes it."""
    sections = []
    for section in offer.sections:
        preference = AUDIO if section.kind == "audio" else VIDEO_CODECS
        formats = choose_formats(section, preference, every=every) if offer.usable(section) else []
        direction = "sendonly" if every else "recvonly"
        sections.append(AnswerSection(section, tuple(formats), direction, ssrc, "name", "stream"))
    return write_answer(7, OURS, sections)


@pytest.mark.parametrize("browser", BROWSERS)
def test_answer_is_read_back_by_aiortc(browser: str) -> None:
    offer = parse_offer(BROWSERS[browser])
    written = answer(offer)
    assert written.count("a=rtcp-mux-only\r\n") == 2
    read = SessionDescription.parse(written)
    assert [each.kind for each in read.media] == [each.kind for each in offer.sections]
    assert [each.rtp.muxId for each in read.media] == [each.mid for each in offer.sections]
    assert [each.items for each in read.group] == [["0", "1"]]
    for media in read.media[:2]:
        assert (media.port, media.direction, media.rtcp_mux) == (9, "recvonly", True)
        assert media.ice is not None
        assert (media.ice.usernameFragment, media.ice.password) == (OURS.ufrag, OURS.pwd)
        assert media.ice.iceLite
        assert media.dtls is not None
        assert [each.value for each in media.dtls.fingerprints] == [FINGERPRINT]
        assert media.dtls.role == "server"
        (candidate,) = media.ice_candidates
        assert (candidate.ip, candidate.port, candidate.type) == ("192.0.2.1", 3478, "host")
        assert media.ice_candidates_complete
    opus = next(each for each in read.media[0].rtp.codecs if each.mimeType == "audio/opus")
    assert (opus.clockRate, opus.channels) == (48000, 2)
    h264, *_ = read.media[1].rtp.codecs
    assert (h264.mimeType, h264.parameters["profile-level-id"]) == ("video/H264", "42e01f")
    feedback = {(each.type, each.parameter) for each in h264.rtcpFeedback}
    assert feedback == {("nack", None), ("nack", "pli"), ("ccm", "fir"), ("goog-remb", None)}


def test_repairs_and_sound_that_is_sent_twice_are_taken_of_a_candidate() -> None:
    audio, video, _ = SessionDescription.parse(answer(parse_offer(CHROMIUM))).media
    assert audio.fmt == [63, 111], "the first one is preferred"
    assert [(each.payloadType, each.mimeType) for each in audio.rtp.codecs] == [
        (111, "audio/opus"),
        (63, "audio/red"),
    ]
    assert "a=fmtp:63 111/111\r\n" in answer(parse_offer(CHROMIUM))
    assert [(each.name, each.parameters.get("apt")) for each in video.rtp.codecs] == [
        ("H264", None),
        ("rtx", 108),
    ]
    assert not video.ssrc_group, "nothing is sent"


def test_in_band_correction_of_sound_is_asked_for_whatever_was_offered() -> None:
    offer = CHROMIUM.replace("a=fmtp:111 minptime=10;useinbandfec=1", "a=fmtp:111 stereo=1")
    assert "a=fmtp:111 stereo=1;useinbandfec=1\r\n" in answer(parse_offer(offer))


def test_reduced_size_rtcp_is_answered_only_where_it_was_offered() -> None:
    offered = [section.rtcp_rsize for section in parse_offer(CHROMIUM).sections[:2]]
    sections = answer(parse_offer(CHROMIUM)).split("m=")[1:3]
    assert True in offered
    assert ["a=rtcp-rsize" in section for section in sections] == offered
    assert "rsize" not in answer(parse_offer(CHROMIUM.replace("a=rtcp-rsize\r\n", "")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("m=video 9", "m=video 0"),  # refused by the offerer
        ("BUNDLE 0 1 2", "BUNDLE 0 2"),  # on a transport of its own
    ],
)
def test_section_that_is_closed_or_apart_is_not_usable(old: str, new: str) -> None:
    offer = parse_offer(CHROMIUM.replace(old, new))
    assert [offer.usable(each) for each in offer.sections[:2]] == [True, False]
    assert "m=video 0 " in answer(offer)


def test_answer_refuses_what_it_cannot_serve_with_port_zero() -> None:
    sections = answer(parse_offer(CHROMIUM)).split("m=")
    assert sections[3].splitlines() == [
        "application 0 UDP/DTLS/SCTP 0",
        "c=IN IP4 0.0.0.0",
        "a=mid:2",
        "a=inactive",
    ]
    assert "a=group:BUNDLE 0 1\r\n" in sections[0], "RFC 9143 7.3.3: a refused section is left out"


def test_answer_to_a_candidate_agrees_on_the_sections_name_in_packets() -> None:
    video = parse_offer(CHROMIUM).sections[1]
    formats = tuple(choose_formats(video, VIDEO_CODECS, every=False))
    section = AnswerSection(video, formats, "recvonly", mid_extension=video.mid_extension)
    read = SessionDescription.parse(write_answer(7, OURS, [section]))
    assert [(each.id, each.uri) for each in read.media[0].rtp.headerExtensions] == [
        (4, "urn:ietf:params:rtp-hdrext:sdes:mid")
    ]


def simulcast(lines: str) -> str:
    """The offer's video section answered, with other lines in the place of its simulcast's."""
    offered = "a=rid:h send\r\na=rid:m send\r\na=rid:l send\r\na=simulcast:send h;m;l\r\n"
    assert offered in CHROMIUM
    video = parse_offer(CHROMIUM.replace(offered, lines)).sections[1]
    (chosen,) = choose_formats(video, VIDEO_CODECS, every=False)
    section = AnswerSection(
        video,
        (chosen,),
        "recvonly",
        layers=video.layers(chosen.payload_type),
    )
    answered = write_answer(7, OURS, [section]).split("\r\n")
    return " ".join(line[2:] for line in answered if line.startswith(("a=rid", "a=simulcast")))


def test_simulcast_is_answered_with_its_layers_and_the_extension_that_names_them() -> None:
    video = parse_offer(CHROMIUM).sections[1]
    assert video.rid_extension == 10
    assert [rid.name for rid in video.layers(108)] == ["h", "m", "l"]
    lines = "a=rid:h send\r\na=rid:m send\r\na=rid:l send\r\na=simulcast:send h;m;l\r\n"
    assert simulcast(lines) == "rid:h recv rid:m recv rid:l recv simulcast:recv h;m;l"


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        # Of alternatives the first that can be taken; the others may be paused (~) for now.
        (
            "a=rid:a send pt=96\r\na=rid:b send pt=108,96;max-width=1280\r\n"
            "a=rid:c send\r\na=simulcast:send a,b;~c\r\n",
            "rid:b recv max-width=1280 rid:c recv simulcast:recv b;c",
        ),
        ("a=rid:1 send\r\na=simulcast:send 1;2 recv 3\r\n", "rid:1 recv simulcast:recv 1"),
        ("a=rid:1 recv\r\na=simulcast:recv 1\r\n", ""),
        ("a=rid:1 send\r\n", ""),
        (
            "".join(f"a=rid:{rid} send\r\n" for rid in range(6))
            + "a=simulcast:send 0;1;2;3;4;5\r\n",
            "rid:0 recv rid:1 recv rid:2 recv rid:3 recv simulcast:recv 0;1;2;3",
        ),
    ],
)
def test_of_a_simulcast_is_taken_what_can_be(offered: str, answered: str) -> None:
    assert simulcast(offered) == answered


def test_layers_that_packets_do_not_name_are_not_taken() -> None:
    offer = parse_offer(CHROMIUM.replace("a=extmap:10 ", "a=extmap:10 x-"))
    assert offer.sections[1].layers(108) == ()


def test_what_tells_layers_is_agreed_on_where_payloads_do_not() -> None:
    line = f"a=extmap:12 {dependency.EXTENSION}\r\n"
    video = parse_offer(CHROMIUM.replace("a=extmap:10 ", line + "a=extmap:10 ")).sections[1]
    codecs = {Codec.H264: 12, Codec.AV1: 12, Codec.VP8: None, Codec.VP9: None}
    for codec, number in codecs.items():
        (chosen,) = choose_formats(video, (codec,), every=False)
        assert dependency_extension(video, chosen) == number
    section = AnswerSection(video, (chosen,), "recvonly", dependency_extension=12)
    assert line in write_answer(7, OURS, [section])


def test_long_extensions_are_agreed_on_where_they_are_offered() -> None:
    """RFC 8285 6: for all sections, or for one; of what is sent to us."""
    line = "a=extmap-allow-mixed\r\n"
    without = CHROMIUM.replace(line, "")
    for text, count in (
        (CHROMIUM, 2),
        (without.replace("a=mid:1\r\n", "a=mid:1\r\n" + line), 1),
        (without, 0),
    ):
        offer = parse_offer(text)
        assert answer(offer).count(line) == count
        assert line not in answer(offer, every=True, ssrc=99)


def test_answer_to_an_observer_names_stream_and_ssrc() -> None:
    text = answer(parse_offer(FIREFOX), every=True, ssrc=99)
    read = SessionDescription.parse(text)
    assert [(each.ssrc, each.cname) for each in read.media[1].ssrc] == [(99, "name")]
    assert read.media[1].msid == "stream stream-video"
    assert [each.payloadType for each in read.media[1].rtp.codecs] == [126, 121, 120]


@pytest.mark.parametrize(
    ("codec", "rtpmap", "fmtp"),
    [
        (Codec.VP9, "98 VP9/90000", ["98 profile-id=0", "99 apt=98"]),
        (Codec.AV1, "39 AV1/90000", ["39 level-idx=5;profile=0;tier=0", "40 apt=39"]),
        (Codec.VP8, "96 VP8/90000", ["97 apt=96"]),
    ],
)
def test_answer_repeats_the_parameters_of_the_codec(
    codec: Codec, rtpmap: str, fmtp: list[str]
) -> None:
    offer = parse_offer(CHROMIUM)
    formats = choose_formats(offer.sections[1], (codec,), every=False)
    text = write_answer(7, OURS, [AnswerSection(offer.sections[1], tuple(formats), "recvonly")])
    assert f"a=rtpmap:{rtpmap}\r\n" in text
    assert re.findall("a=fmtp:(.*)\r\n", text) == fmtp


def test_answer_names_the_vp9_profile_that_firefox_leaves_out() -> None:
    offer = parse_offer(FIREFOX)
    formats = choose_formats(offer.sections[1], (Codec.VP9,), every=False)
    text = write_answer(7, OURS, [AnswerSection(offer.sections[1], tuple(formats), "recvonly")])
    assert "a=fmtp:121 profile-id=0;max-fs=12288;max-fr=60\r\n" in text


def counting(extmap: str = "3") -> str:
    """Chromium's offer with the count of packets, as it has it in both sections."""
    return CHROMIUM.replace(f"a=extmap:3 {EXTENSION}\r\n", f"a=extmap:{extmap} {EXTENSION}\r\n")


@pytest.mark.parametrize(
    ("offer", "number"),
    [
        (counting(), 3),
        (counting("3/sendonly"), 3),
        (counting("14"), 14),
        (counting("15"), None),  # RFC 8285 4.2: takes headers of two octets
        (counting().replace("a=rtcp-fb:96 transport-cc\r\n", ""), None),
        (CHROMIUM.replace(f"a=extmap:3 {EXTENSION}\r\n", ""), None),
    ],
)
def test_packets_are_counted_where_the_extension_and_feedback_are_offered(
    offer: str, number: int | None
) -> None:
    section = video_of(offer)
    assert transport_cc(section, [section.formats[96]]) == number


def test_answer_to_an_observer_agrees_on_repairs_and_the_count_of_packets() -> None:
    offered = video_of(counting())
    formats = tuple(choose_formats(offered, VIDEO_CODECS, every=True))
    section = AnswerSection(
        offered, formats, "sendonly", 99, "name", "stream", transport_cc_extension=3, rtx_ssrc=98
    )
    text = write_answer(7, OURS, [section])
    (media,) = SessionDescription.parse(text).media
    assert [(each.id, each.uri) for each in media.rtp.headerExtensions] == [(3, EXTENSION)]
    assert [(each.semantic, each.items) for each in media.ssrc_group] == [("FID", [99, 98])]
    assert {each.ssrc: each.cname for each in media.ssrc} == {99: "name", 98: "name"}
    repairs = {
        each.payloadType: each.parameters["apt"] for each in media.rtp.codecs if each.name == "rtx"
    }
    assert repairs == {109: 108, 103: 102, 125: 127, 99: 98, 40: 39, 97: 96}
    assert set(media.fmt) == {each.payload_type for each in formats} | set(repairs)
    assert re.findall("a=rtcp-fb:(.*) transport-cc", text) == ["102", "96"]


def test_answer_offers_nothing_that_is_not_handled() -> None:
    """No header extension, no transport-wide feedback, no repairs unless agreed; no simulcast."""
    text = answer(parse_offer(counting()), every=True)
    assert not re.search("rtx|extmap|transport-cc|simulcast|rid|red/", text)


def test_packets_are_counted_where_feedback_on_them_is_offered() -> None:
    audio, video, _ = parse_offer(CHROMIUM).sections
    assert transport_cc(audio, [audio.formats[111]]) == 3
    sections = []
    for section, payload_type in ((audio, 111), (video, 102)):
        formats = (section.formats[payload_type],)
        number = transport_cc(section, formats)
        sections.append(AnswerSection(section, formats, "recvonly", transport_cc_extension=number))
    text = write_answer(7, OURS, sections)
    assert re.findall("a=rtcp-fb:(.*) transport-cc\r\n", text) == ["111", "102"]
    assert text.count(f"a=extmap:3 {twcc.EXTENSION}\r\n") == 2
    assert "a=rtcp-fb:102 goog-remb\r\n" in text


def test_orientation_of_pictures_is_not_agreed_on_so_that_senders_turn_them_themselves() -> None:
    """Then a turned phone is another size, which recordings and all receivers understand."""
    line = "a=extmap:13 urn:3gpp:video-orientation\r\n"
    offered = CHROMIUM.replace("a=extmap:10 ", line + "a=extmap:10 ")
    assert line in offered
    assert "video-orientation" not in answer(parse_offer(offered))


def test_candidates_are_preferred_in_the_order_given_and_udp_before_tcp() -> None:
    given = (
        Candidate("udp", "192.0.2.1", 5),
        Candidate("udp", "2001:db8::1", 6),
        Candidate("tcp", "192.0.2.1", 5),
        Candidate("tcp", "2001:db8::1", 6),
    )
    section = parse_offer(CHROMIUM).sections[0]
    chosen = [AnswerSection(section, (section.formats[111],), "recvonly")]
    text = write_answer(1, Transport("u", "p", "sha-256 AA", given), chosen)
    read = SessionDescription.parse(text).media[0].ice_candidates
    assert [(each.protocol, each.ip, each.port) for each in read] == [
        (each.protocol, each.host, each.port) for each in given
    ]
    assert [each.tcpType for each in read] == [None, None, "passive", "passive"]
    priorities = [each.priority for each in read]
    assert priorities == sorted(set(priorities), reverse=True)
    assert len({each.foundation for each in read}) == 4
    # RFC 6544 4.2: type preference 126, direction preference 4 of 7, component 1.
    assert [each >> 24 for each in priorities] == [126] * 4
    assert [each >> 21 & 7 for each in priorities[2:]] == [4, 4]
    assert [each & 0xFF for each in priorities] == [255] * 4


BREAKS = ["\r", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("separator", BREAKS)
@pytest.mark.parametrize(
    "place", ["minptime=10", "a=mid:0", "UDP/TLS/RTP/SAVPF", "nack pli", "m=application"]
)
def test_nothing_in_an_offer_can_add_a_line_to_the_answer(place: str, separator: str) -> None:
    injected = "a=candidate:9 1 udp 1 203.0.113.9 9 typ host"
    assert place in CHROMIUM
    offer_text = CHROMIUM.replace(place, f"{place}{separator}{injected}", 1)
    try:
        text = answer(parse_offer(offer_text))
    except SdpError:
        return
    assert not [line for line in text.splitlines() if "203.0.113.9" in line[:60]]


LINES = CHROMIUM.splitlines() + FIREFOX.splitlines()
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["drop", "double", "swap", "cut", "insert", "text"]),
        st.integers(0, 200),
        st.integers(0, 200),
        st.text(max_size=12),
    ),
    max_size=8,
)


def mutate(lines: list[str], mutations: list[tuple[str, int, int, str]]) -> str:
    for kind, first, second, text in mutations:
        index, other = first % len(lines), second % len(lines)
        line = lines[index]
        match kind:
            case "drop" if len(lines) > 1:
                del lines[index]
            case "double":
                lines.insert(other, line)
            case "swap":
                lines[index], lines[other] = lines[other], line
            case "cut":
                lines[index] = line[: second % (len(line) + 1)]
            case "insert":
                lines.insert(index, LINES[second % len(LINES)])
            case _:
                at = second % (len(line) + 1)
                lines[index] = line[:at] + text + line[at:]
    return "\r\n".join(lines)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(BROWSERS)), MUTATIONS)
def test_mutated_offer_is_answered_in_valid_sdp_or_refused(
    browser: str, mutations: list[tuple[str, int, int, str]]
) -> None:
    try:
        offer = parse_offer(mutate(BROWSERS[browser].splitlines(), mutations))
    except SdpError:
        return
    assert offer.transport in offer.sections
    text = answer(offer, every=True)
    assert text.count("m=") >= len(offer.sections)
    assert all(re.match("[vostmca]=", line) for line in text.split("\r\n")[:-1])
