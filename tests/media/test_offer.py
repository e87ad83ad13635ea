import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import twcc
from server.core.frames import Codec
from server.media.errors import SdpError
from server.media.sdp.offer import (
    MAX_SDP_LENGTH,
    MAX_SECTIONS,
    parse_offer,
    transport_cc,
)
from tests.media.offers import CHROMIUM, FINGERPRINT, FIREFOX, video_of


def test_chromium_offer_is_read() -> None:
    offer = parse_offer(CHROMIUM)
    assert [each.kind for each in offer.sections] == ["audio", "video", "application"]
    assert [each.mid for each in offer.sections] == ["0", "1", "2"] == list(offer.bundle)
    audio, video, data = offer.sections
    assert (audio.direction, audio.rtcp_mux, audio.port) == ("sendonly", True, 9)
    assert audio.formats[111].codec is Codec.OPUS
    assert audio.formats[111].fmtp == {"minptime": "10", "useinbandfec": "1"}
    assert video.formats[96].feedback >= {"nack", "nack pli", "ccm fir", "goog-remb"}
    assert data.formats == {}
    transport = offer.transport
    assert (transport.ice_ufrag, transport.ice_pwd) == ("F7gI", "x9cml/YzichV2+XlhiMu8g")
    assert transport.fingerprints == [("sha-256", FINGERPRINT)]


def test_firefox_offer_is_read_with_its_session_level_fingerprint() -> None:
    offer = parse_offer(FIREFOX)
    assert offer.transport.fingerprints == [("sha-256", FINGERPRINT)]
    assert offer.sections[1].formats[126].codec is Codec.H264


def test_bundle_only_section_is_open_and_shares_the_transports_rtcp_mux() -> None:
    offer = parse_offer(FIREFOX)
    video = offer.sections[1]
    assert (video.port, video.bundle_only, video.rtcp_mux) == (0, True, True)
    assert offer.usable(video)


def test_section_without_rtcp_mux_is_not_usable() -> None:
    offer = parse_offer(CHROMIUM.replace("a=rtcp-mux\r\n", ""))
    assert not offer.usable(offer.sections[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("m=video 9 ", "m=video nine ", "port 'nine' is not a number within 0..65535"),
        ("m=video 9 ", "m=video -1 ", "port '-1' is not a number within 0..65535"),
        ("a=rtpmap:96 VP8/90000", "a=rtpmap:x VP8/90000", "payload type 'x' is not a number"),
        ("a=rtpmap:96 VP8/90000", "a=rtpmap:96 VP8", "clock rate '' is not a number"),
        ("a=rtpmap:96 VP8/90000", "a=rtpmap:96 VP8/٩٠", "clock rate '٩٠' is not a number"),
        ("m=video 9 ", "m=video\r\na=x:", "a media section needs its kind, a port and a profile"),
    ],
)
def test_number_that_is_none_is_told_in_words_with_its_line(
    old: str, new: str, message: str
) -> None:
    assert old in CHROMIUM
    with pytest.raises(SdpError, match=rf"^line \d+ of the session description: {message}"):
        parse_offer(CHROMIUM.replace(old, new))


@pytest.mark.parametrize(
    ("fmtp", "red"),
    [("111/111", 63), ("111/111/111", 63), ("111", 63), ("111/0", None), ("0/0", None), ("", None)],
)
def test_redundant_sound_is_taken_whose_blocks_are_all_opus(fmtp: str, red: int | None) -> None:
    offer = CHROMIUM.replace("a=fmtp:63 111/111", f"a=fmtp:63 {fmtp}")
    assert parse_offer(offer).sections[0].formats[111].red == red


def test_streams_of_repairs_are_read_with_what_they_repair() -> None:
    groups = "\r\n".join(f"a=ssrc-group:{each}" for each in ("FID 1 2", "SIM 1 3", "FID 5", ""))
    offer = CHROMIUM.replace("a=ssrc:2733485135 cname:Qx", groups)
    assert parse_offer(offer).sections[0].repaired == {2: 1}
    with pytest.raises(SdpError, match="ssrc"):
        parse_offer(offer.replace("FID 1 2", "FID 1 x"))


def test_the_sections_name_in_packets_and_the_ssrcs_of_an_offer_are_read() -> None:
    audio, video, _ = parse_offer(CHROMIUM).sections
    assert (audio.mid_extension, video.mid_extension) == (None, 4)
    assert audio.ssrcs == {2733485135}


@pytest.mark.parametrize(
    ("number", "accepted"), [("4/sendonly", True), ("0", False), ("256", False), ("x", False)]
)
def test_an_extension_has_a_number_from_1_to_255(number: str, accepted: bool) -> None:
    offer = CHROMIUM.replace("a=extmap:4 ", f"a=extmap:{number} ")
    with contextlib.nullcontext() if accepted else pytest.raises(SdpError, match="extension"):
        assert parse_offer(offer).sections[1].mid_extension == 4


@pytest.mark.parametrize(
    "line",
    [
        "a=rid:1",
        "a=rid:",
        "a=rid:1 both",
        "a=rid:a/b send",
        "a=rid:1 send pt=x",
        "a=rid:1 send max-fps=\x0130",
        "a=simulcast:h;m",
        "a=simulcast:send h send m",
        "a=simulcast:send h;h",
        "a=simulcast:send h;m,~h",
        "a=simulcast:send",
    ],
)
def test_simulcast_that_cannot_be_read_names_its_line(line: str) -> None:
    with pytest.raises(SdpError, match=r"line \d+"):
        parse_offer(CHROMIUM.replace("a=rid:h send", line))


@given(st.text(max_size=60))
def test_any_rid_and_simulcast_is_read_or_refused(text: str) -> None:
    for name in ("rid", "simulcast"):
        with contextlib.suppress(SdpError):
            video = parse_offer(CHROMIUM.replace("a=rid:h send", f"a={name}:{text}")).sections[1]
            assert all(rid.restrictions.isascii() for rid in video.layers(108))


@pytest.mark.parametrize("apt", ["apt=", "apt=1000", "apt=x", "", "apt=97"])
def test_repairs_of_nothing_are_none(apt: str) -> None:
    section = video_of(CHROMIUM.replace("a=fmtp:97 apt=96\r\n", f"a=fmtp:97 {apt}\r\n"))
    assert section.formats[96].rtx is None


@pytest.mark.parametrize(
    ("payload_type", "number"), [(108, "3"), (102, "15"), (102, "200"), (102, None)]
)
def test_packets_are_not_counted_otherwise(payload_type: int, number: str | None) -> None:
    """A format without the feedback, an extension that takes another form, and none at all."""
    extension = f"a=extmap:{number} {twcc.EXTENSION}\r\n" if number else ""
    video = video_of(CHROMIUM.replace(f"a=extmap:3 {twcc.EXTENSION}\r\n", extension))
    assert transport_cc(video, [video.formats[payload_type]]) is None


def changed(pattern: str, replacement: str, offer: str = CHROMIUM) -> str:
    text, count = re.subn(pattern, replacement, offer)
    assert count, "the offer must change"
    return text


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        ("", "must begin with v=0"),
        ("v=1\r\n", "must begin with v=0"),
        ("{}", "must begin with v=0"),
        (changed("m=audio", "m=au\0dio"), "visible ASCII"),
        (changed("minptime=10", "minptime=\x01"), "visible ASCII"),
        ("v=0\r\ns=-\r\n", "no media section"),
        ("v=0\r\n" + "a" * MAX_SDP_LENGTH, "longer than 65536"),
        ("v=0\r\n" + "m=audio 9 RTP/AVP 0\r\n" * (MAX_SECTIONS + 1), "more than 16 media"),
        ("v=0\r\nm=audio\r\n", "line 2"),
        ("v=0\r\nm=audio x RTP/AVP 0\r\n", "line 2"),
        ("v=0\r\nm=audio 9 RTP/AVP 128\r\n", "payload type '128' is not a number within"),
        ("v=0\r\nm=audio 9 RTP/AVP -1\r\n", "payload type '-1' is not a number within"),
        (changed("a=mid:1\r\n", ""), "needs a mid"),
        (changed("a=mid:1", "a=mid:0"), "needs a mid"),
        (changed("a=mid:1", "a=mid:a b"), "mid is not a token"),
        (changed("a=mid:1", "a=mid:" + "m" * 65), "mid is not a token"),
        (changed("a=group:BUNDLE.*\r\n", ""), "must bundle"),
        (changed("BUNDLE 0 1 2", "BUNDLE"), "must bundle"),
        (changed("BUNDLE 0 1 2", "BUNDLE 0 1 9"), "must bundle"),
        (changed("a=ice-ufrag.*\r\n", ""), "ice-ufrag"),
        (changed("a=ice-pwd.*\r\n", ""), "ice-pwd"),
        (changed("a=ice-ufrag.*", "a=ice-ufrag:abc"), "ice-ufrag is malformed"),
        (changed("a=ice-ufrag.*", "a=ice-ufrag:" + "a" * 257), "ice-ufrag is malformed"),
        (changed("a=ice-ufrag.*", "a=ice-ufrag:ab:cd"), "ice-ufrag is malformed"),
        (changed("a=ice-pwd.*", "a=ice-pwd:" + "a" * 21), "ice-pwd is malformed"),
        (changed("a=fingerprint.*\r\n", ""), "a=fingerprint"),
        (changed("sha-256", "sha-1"), "a=fingerprint with one of sha-256"),
        (changed("4A:AD", "4A:AX"), "fingerprint is not"),
        (
            changed("a=fingerprint:sha-256 .*\r\n", "a=fingerprint:sha-256\r\n"),
            "fingerprint is not",
        ),
        (changed("a=setup:actpass", "a=setup:holdconn"), "a=setup"),
        (changed("a=setup:actpass\r\n", ""), "a=setup"),
        (changed("opus/48000/2", "opus"), "line 22 of"),
        (changed("opus/48000/2", "opus/fast"), "line 22 of"),
        (changed("a=rtpmap:111", "a=rtpmap:x"), "line 22 of"),
    ],
)
def test_unusable_offer_is_refused_with_its_reason(offer: str, message: str) -> None:
    with pytest.raises(SdpError, match=re.escape(message)):
        parse_offer(offer)


@settings(deadline=None)
@given(
    st.text(max_size=300),
    st.sampled_from(["", "v=0\r\n", "v=0\r\nm=audio 9 RTP/AVP 0\r\na="]),
)
def test_any_text_is_read_or_refused_with_sdp_error(text: str, start: str) -> None:
    with contextlib.suppress(SdpError):
        parse_offer(start + text)
