from dataclasses import replace

import pytest

from server.core.frames import OF_CANDIDATE, VIDEO_CODECS, Codec, TrackName
from server.media.negotiation import FORWARDED, SENDS, choose_formats, negotiate
from server.media.sdp.offer import (
    MediaSection,
    parse_offer,
)
from tests.media.offers import BROWSERS, CHROMIUM, video_of


@pytest.mark.parametrize(
    ("browser", "expected"),
    [("chromium", [108, 102, 127, 98, 39, 96]), ("firefox", [126, 121, 120])],
)
def test_an_observer_takes_all_that_is_forwarded(browser: str, expected: list[int]) -> None:
    formats = choose_formats(video_of(BROWSERS[browser]), VIDEO_CODECS, every=True)
    assert [each.payload_type for each in formats] == expected


@pytest.mark.parametrize(
    ("preference", "expected"),
    [
        (VIDEO_CODECS, 108),
        ((Codec.AV1, Codec.H264), 39),
        ((Codec.VP9, Codec.AV1), 98),
        ((Codec.VP8,), 96),
    ],
)
def test_a_candidate_sends_what_is_preferred(preference: tuple[Codec, ...], expected: int) -> None:
    (chosen,) = choose_formats(video_of(CHROMIUM), preference, every=False)
    assert chosen.payload_type == expected


def with_h264(*formats: tuple[str, str]) -> MediaSection:
    """A video section of H.264 alone: (packetization-mode, profile-level-id) of 96 and on."""
    lines = [f"m=video 9 UDP/TLS/RTP/SAVPF {' '.join(str(96 + n) for n in range(len(formats)))}"]
    lines += ["a=mid:1", "a=rtcp-mux"]
    for payload_type, (mode, profile) in enumerate(formats, 96):
        lines.append(f"a=rtpmap:{payload_type} H264/90000")
        parameters = [f"packetization-mode={mode}"] * bool(mode)
        parameters += [f"profile-level-id={profile}"] * bool(profile)
        lines += [f"a=fmtp:{payload_type} {';'.join(parameters)}"] * bool(parameters)
    start, rest = CHROMIUM.split("m=video", 1)
    return video_of(
        "\r\n".join([start.rstrip(), *lines, "m=application" + rest.split("m=application")[1]])
    )


@pytest.mark.parametrize(
    ("offered", "chosen", "observed"),
    [
        ([("0", "42e01f"), ("1", "64001f")], 97, [97]),
        (
            [("1", "64001f"), ("1", "4d001f"), ("1", "42001f"), ("1", "42e01f")],
            99,
            [99, 98, 97, 96],
        ),
        ([("0", "42e01f"), ("0", "42001f")], 96, []),
        ([("", "")], 96, []),  # mode 0 of baseline, by RFC 6184 8.1
        ([("1", "42c01f"), ("1", "640C1F")], 97, [97, 96]),
        ([("2", "42e01f"), ("1", "f4001f"), ("x", "42e01f")], None, []),
    ],
)
def test_h264_modes_and_profiles(
    offered: list[tuple[str, str]], chosen: int | None, observed: list[int]
) -> None:
    section = with_h264(*offered)
    taken = choose_formats(section, VIDEO_CODECS, every=False)
    assert [each.payload_type for each in taken] == [chosen] * (chosen is not None)
    sent = choose_formats(section, VIDEO_CODECS, every=True)
    assert [each.payload_type for each in sent] == observed


def test_sections_are_told_apart_by_their_order_and_keep_their_place() -> None:
    offer = parse_offer(CHROMIUM)
    audio, video, _ = offer.sections
    three = [audio, video, replace(video, mid="3"), replace(video, mid="4")]
    with_screen = replace(offer, sections=tuple(three), bundle=("0", "1", "3", "4"))
    taken = negotiate(with_screen, OF_CANDIDATE, SENDS, FORWARDED, every=False)
    names = [name for name, _ in taken.values()]
    assert names == [TrackName.MICROPHONE, TrackName.CAMERA, TrackName.SCREEN]
    three[1] = replace(video, direction="inactive")
    taken = negotiate(
        replace(with_screen, sections=tuple(three)), OF_CANDIDATE, SENDS, FORWARDED, every=False
    )
    assert {index: name for index, (name, _) in taken.items()} == {
        0: TrackName.MICROPHONE,
        2: TrackName.SCREEN,
    }
