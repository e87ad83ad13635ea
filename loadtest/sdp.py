"""Offers written by hand as Chromium writes them, and what we need of the answers."""

import ipaddress
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from aiortc.sdp import MediaDescription, SessionDescription

from loadtest.media import VideoCodec
from loadtest.sender import Extensions

AUDIO_MID, VIDEO_MID, SCREEN_MID = "0", "1", "2"
PAYLOAD_TYPES: dict[str, int] = {
    "opus": 111,
    "vp8": 96,
    "vp9": 98,
    "h264": 102,
    "av1": 45,
}
#: Of repairs (RFC 4588), for each that can be repaired, and of sound that is sent twice (RFC 2198);
#: the numbers that Chromium uses.
RTX_PAYLOAD_TYPES: dict[str, int] = {"vp8": 97, "vp9": 99, "h264": 103, "av1": 46}
RED_PAYLOAD_TYPE = 63

_EXTENSION_URIS = {
    "mid": "urn:ietf:params:rtp-hdrext:sdes:mid",
    "abs_send_time": "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "rid": "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "transport_cc": "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
}
# The ids that Chromium uses.
_EXTENSION_IDS = {"abs_send_time": 2, "transport_cc": 3, "mid": 4, "rid": 10}
_FORMATS = {
    "opus": ["rtpmap:111 opus/48000/2", "rtcp-fb:111 nack", "fmtp:111 minptime=10;useinbandfec=1"],
    "vp8": ["rtpmap:96 VP8/90000"],
    "vp9": ["rtpmap:98 VP9/90000", "fmtp:98 profile-id=0"],
    "av1": ["rtpmap:45 AV1/90000", "fmtp:45 level-idx=5;profile=0;tier=0"],
    "h264": [
        "rtpmap:102 H264/90000",
        "fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ],
}


class AnswerError(Exception):
    """The server's answer cannot be used; its text says why."""


@dataclass(frozen=True, slots=True)
class LocalSide:
    """Our half of the transport and the streams we send."""

    ufrag: str
    password: str
    fingerprint: str  #: "sha-256 AB:CD:..."
    audio_ssrc: int
    video_ssrc: int
    screen_ssrc: int | None = None  #: None: no section for a second video is offered
    adapts: bool = False  #: it asks for what tells it to send less
    video_rtx_ssrc: int | None = None  #: of repairs; None: none are offered
    screen_rtx_ssrc: int | None = None
    rids: tuple[str, ...] = ()  #: of a simulcast's layers in the first video

    def extensions(self, mid: str, direction: str) -> set[str]:
        """The header extensions that a section offers."""
        offered = {"mid", "abs_send_time"}
        if self.adapts or direction == "recvonly":
            offered.add("transport_cc")
        if self.rids and mid == VIDEO_MID:
            offered.add("rid")
        return offered


@dataclass(frozen=True, slots=True)
class AcceptedTrack:
    payload_type: int
    extensions: Extensions
    rtx: int | None = None  #: the payload type of repairs
    red: int | None = None  #: of sound that is sent twice, where that is preferred


@dataclass(frozen=True, slots=True)
class RemoteSide:
    """What the answer says."""

    ufrag: str
    password: str
    fingerprints: list[tuple[str, str]]
    dtls_server: bool  #: the remote side is the DTLS server
    addresses: list[tuple[str, int]]
    audio: AcceptedTrack | None
    video: AcceptedTrack | None
    screen: AcceptedTrack | None
    repairs: dict[int, int] = field(default_factory=dict)  #: SSRC of repairs -> what it repairs
    counts: int | None = None  #: the extension that counts all packets that are sent to us


def write_offer(
    local: LocalSide, codecs: list[VideoCodec], direction: Literal["sendonly", "recvonly"]
) -> str:
    mids, screen = [AUDIO_MID, VIDEO_MID], []
    if local.screen_ssrc is not None:
        mids.append(SCREEN_MID)
        ssrcs = local.screen_ssrc, local.screen_rtx_ssrc
        screen = _section(local, "video", SCREEN_MID, list(codecs), direction, *ssrcs)
    lines = [
        "v=0",
        f"o=- {random.getrandbits(62)} 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {' '.join(mids)}",
        "a=extmap-allow-mixed",
        "a=msid-semantic: WMS candidate",
        *_section(local, "audio", AUDIO_MID, ["opus"], direction, local.audio_ssrc),
        *_section(
            local,
            "video",
            VIDEO_MID,
            list(codecs),
            direction,
            local.video_ssrc,
            local.video_rtx_ssrc,
        ),
        *screen,
    ]
    return "\r\n".join(lines) + "\r\n"


def _section(
    local: LocalSide,
    kind: str,
    mid: str,
    codecs: list[str],
    direction: str,
    ssrc: int,
    rtx_ssrc: int | None = None,
) -> list[str]:
    receives = direction == "recvonly"
    repairs = kind == "video" and (receives or rtx_ssrc is not None)
    twice = kind == "audio" and not receives
    numbers = [PAYLOAD_TYPES[codec] for codec in codecs]
    numbers += [RTX_PAYLOAD_TYPES[codec] for codec in codecs if repairs]
    numbers += [RED_PAYLOAD_TYPE] * twice
    lines = [
        f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, numbers))}",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=ice-ufrag:{local.ufrag}",
        f"a=ice-pwd:{local.password}",
        "a=ice-options:trickle",
        f"a=fingerprint:{local.fingerprint}",
        "a=setup:actpass",
        f"a=mid:{mid}",
        *(
            f"a=extmap:{_EXTENSION_IDS[name]} {uri}"
            for name, uri in _EXTENSION_URIS.items()
            if name in local.extensions(mid, direction)
        ),
        f"a={direction}",
        "a=rtcp-mux",
        "a=rtcp-rsize",
    ]
    for codec in codecs:
        lines += [f"a={line}" for line in _FORMATS[codec]]
        feedback = ["ccm fir", "nack", "nack pli"] if kind == "video" else []
        if kind == "video" and local.adapts:
            feedback.append("goog-remb")
        if receives or local.adapts:
            feedback.append("transport-cc")
        lines += [f"a=rtcp-fb:{PAYLOAD_TYPES[codec]} {each}" for each in feedback]
        if repairs:
            rtx = RTX_PAYLOAD_TYPES[codec]
            lines += [f"a=rtpmap:{rtx} rtx/90000", f"a=fmtp:{rtx} apt={PAYLOAD_TYPES[codec]}"]
    if twice:
        opus = PAYLOAD_TYPES["opus"]
        lines += [f"a=rtpmap:{RED_PAYLOAD_TYPE} red/48000/2"]
        lines += [f"a=fmtp:{RED_PAYLOAD_TYPE} {opus}/{opus}"]
    if direction == "sendonly":
        lines += _stream_lines(
            f"candidate {kind}" if mid != SCREEN_MID else "screen screen",
            ssrc,
            rtx_ssrc,
            local.rids if mid == VIDEO_MID else (),
        )
    return lines


def _stream_lines(
    msid: str, ssrc: int, rtx_ssrc: int | None, rids: tuple[str, ...] = ()
) -> list[str]:
    lines = [f"a=msid:{msid}"]
    if rids:  # RFC 8853: no SSRC is told beforehand
        lines += [f"a=rid:{rid} send" for rid in rids]
        return [*lines, f"a=simulcast:send {';'.join(rids)}"]
    if rtx_ssrc is not None:
        lines.append(f"a=ssrc-group:FID {ssrc} {rtx_ssrc}")
    for each in filter(None, (ssrc, rtx_ssrc)):
        lines += [f"a=ssrc:{each} cname:vivavoce-loadtest", f"a=ssrc:{each} msid:{msid}"]
    return lines


def read_answer(text: str) -> RemoteSide:
    """Raises AnswerError for an answer without a usable transport."""
    try:
        session = SessionDescription.parse(text)
    except (ValueError, LookupError, AssertionError, AttributeError) as error:
        raise AnswerError(f"the answer is not SDP: {error}") from error
    accepted = [media for media in session.media if media.port]
    if not accepted:
        raise AnswerError("the answer refuses every media section")
    carrier = accepted[0]  # of the bundle's transport
    ice, dtls = carrier.ice, carrier.dtls
    if ice is None or dtls is None or not ice.usernameFragment or not ice.password:
        raise AnswerError("the answer lacks ICE credentials or a DTLS fingerprint")
    return RemoteSide(
        ice.usernameFragment,
        ice.password,
        [(each.algorithm, each.value) for each in dtls.fingerprints],
        dtls.role != "client",
        _addresses(carrier),
        _track(session.media, "audio"),
        _track(session.media, "video"),
        _track(session.media, "video", 1),
        dict(_repairs(accepted)),
        _counts(accepted),
    )


def _repairs(sections: list[MediaDescription]) -> Iterator[tuple[int, int]]:
    """RFC 5576 4.2, RFC 4588 8.3: a stream, and the one that repairs it."""
    for group in (each for media in sections for each in media.ssrc_group):
        if group.semantic == "FID" and len(group.items) == 2:
            stream, repairs = group.items
            yield int(repairs), int(stream)


def _counts(sections: list[MediaDescription]) -> int | None:
    """Where the server sends; the number is the same in all sections."""
    uri = _EXTENSION_URIS["transport_cc"]
    sending = (media for media in sections if media.direction == "sendonly")
    numbers = (
        each.id for media in sending for each in media.rtp.headerExtensions if each.uri == uri
    )
    return next(numbers, None)


def _addresses(media: MediaDescription) -> list[tuple[str, int]]:
    """The UDP candidates, IPv4 only as our socket is."""
    addresses = [
        (candidate.ip, candidate.port)
        for candidate in media.ice_candidates
        if candidate.protocol.lower() == "udp" and candidate.component == 1 and _ipv4(candidate.ip)
    ]
    if not addresses:
        raise AnswerError("the answer has no UDP candidate with an IPv4 address")
    return addresses


def _ipv4(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 4
    except ValueError:  # an mDNS name
        return False


def _track(sections: list[MediaDescription], kind: str, which: int = 0) -> AcceptedTrack | None:
    """An answer has the offer's sections in the offer's order (RFC 3264 6)."""
    media = next(islice((each for each in sections if each.kind == kind), which, None), None)
    if media is None or not media.port or not media.rtp.codecs:
        return None
    ids = {each.uri: each.id for each in media.rtp.headerExtensions}
    extensions = {name: ids.get(uri) for name, uri in _EXTENSION_URIS.items()}
    names = {each.payloadType: each.name.lower() for each in media.rtp.codecs}
    first, *others = map(int, media.fmt)
    red = first if names.get(first) == "red" and others else None
    primary = others[0] if red is not None else first
    repairs = (
        each.payloadType
        for each in media.rtp.codecs
        if each.name.lower() == "rtx" and each.parameters.get("apt") == primary
    )
    return AcceptedTrack(primary, Extensions(**extensions), next(repairs, None), red)
