from server.core.frames import VIDEO_CODECS, Codec
from server.media.negotiation import choose_formats
from server.media.sdp.formats import payload_types
from server.media.sdp.offer import (
    parse_offer,
)
from tests.media.offers import CHROMIUM, video_of


def test_formats_of_another_clock_rate_or_profile_are_not_ours() -> None:
    offer = parse_offer(
        CHROMIUM.replace("opus/48000", "opus/16000")
        .replace("packetization-mode=", "packetization-mode=2")
        .replace("profile-id=0", "profile-id=2")
        .replace(";profile=0", ";profile=1")
    )
    assert choose_formats(offer.sections[0], (Codec.OPUS,), every=True) == []
    formats = choose_formats(offer.sections[1], VIDEO_CODECS, every=True)
    assert [each.codec for each in formats] == [Codec.VP8]


def test_payload_types_are_known_by_codec_and_profile() -> None:
    formats = choose_formats(video_of(CHROMIUM), VIDEO_CODECS, every=True)
    assert payload_types(formats) == {
        Codec.H264: {"42e0": 108, "4200": 102, "4d00": 127},
        Codec.VP9: {"": 98},
        Codec.AV1: {"": 39},
        Codec.VP8: {"": 96},
    }


def test_formats_know_the_payload_type_of_their_repairs() -> None:
    formats = video_of(CHROMIUM).formats
    assert {pt: each.rtx for pt, each in formats.items() if each.rtx is not None} == {
        96: 97,
        102: 103,
        106: 107,
        108: 109,
        127: 125,
        39: 40,
        98: 99,
    }
