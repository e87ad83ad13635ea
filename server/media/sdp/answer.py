"""Our answer to an offer, written (RFC 8866, 9429, 8839).

Media sections that cannot be served are refused with port zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from server.core import dependency, twcc
from server.core.frames import Codec
from server.media.sdp.formats import RtpFormat
from server.media.sdp.offer import (
    MID_EXTENSION,
    REPAIRED_RID_EXTENSION,
    RID_EXTENSION,
    MediaSection,
    Rid,
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where we can be reached; several stand in the order of preference."""

    protocol: Literal["udp", "tcp"]
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Transport:
    """Our side of the bundle's transport."""

    ufrag: str
    pwd: str
    fingerprint: str  #: "sha-256 AB:CD:..."
    candidates: tuple[Candidate, ...]
    setup: str = "passive"  #: who begins the DTLS handshake (RFC 8842 5.3)


@dataclass(frozen=True, slots=True)
class AnswerSection:
    """How one offered section is answered; no formats: refused."""

    offered: MediaSection
    formats: tuple[RtpFormat, ...] = ()
    direction: str = "inactive"
    ssrc: int | None = None  #: of what we send
    cname: str = ""
    stream: str = ""  #: what is played together has the same
    mid_extension: int | None = None  #: in what we receive
    transport_cc_extension: int | None = None
    rtx_ssrc: int | None = None  #: of the repairs that we send
    layers: tuple[Rid, ...] = ()  #: of a simulcast that we receive
    dependency_extension: int | None = None


#: Feedback we act on; an answer may only repeat what was offered (RFC 4585 4.2).
_FEEDBACK = ("nack", "nack pli", "ccm fir", "goog-remb")


#: RFC 8838 4.2, RFC 8445 10: candidates may come later, and so may new credentials.
ICE_ATTRIBUTES = ("a=ice-lite", "a=ice-options:ice2 trickle")


def write_answer(
    session_id: int, transport: Transport, sections: Sequence[AnswerSection], version: int = 1
) -> str:
    """The answer's text; sections without formats are refused with port zero."""
    lines = [
        "v=0",
        f"o=- {session_id} {version} IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        _bundle_line(sections),
        *ICE_ATTRIBUTES,
        "a=msid-semantic: WMS *",
    ]
    for section in sections:
        lines += _section_lines(section, transport)
    return "\r\n".join(lines) + "\r\n"


def write_restart(transport: Transport, sections: Sequence[AnswerSection]) -> str:
    """Our half of a restart over HTTP (RFC 9725 4.3.3, RFC 8840 9): what of an answer is ICE."""
    carrier = next(section for section in sections if section.formats)
    lines = [
        *ICE_ATTRIBUTES,
        _bundle_line(sections),
        f"m={carrier.offered.kind} 9 {carrier.offered.profile} {carrier.formats[0].payload_type}",
        f"a=mid:{carrier.offered.mid}",
        f"a=ice-ufrag:{transport.ufrag}",
        f"a=ice-pwd:{transport.pwd}",
        *_candidate_lines(transport),
    ]
    return "\r\n".join(lines) + "\r\n"


def _bundle_line(sections: Sequence[AnswerSection]) -> str:
    mids = (str(section.offered.mid) for section in sections if section.formats)
    return f"a=group:BUNDLE {' '.join(mids)}"


def _section_lines(section: AnswerSection, transport: Transport) -> list[str]:
    offered = section.offered
    if not section.formats:
        formats = " ".join(map(str, offered.formats)) or "0"
        return [
            f"m={offered.kind} 0 {offered.profile} {formats}",
            "c=IN IP4 0.0.0.0",
            f"a=mid:{offered.mid}",
            "a=inactive",
        ]
    receives = section.direction == "recvonly"
    repaired = receives or section.rtx_ssrc is not None
    repairs = [each for each in section.formats if each.rtx is not None and repaired]
    redundant = [each for each in section.formats if each.red is not None and receives]
    numbers = [each.red for each in redundant]  # first, that is preferred
    numbers += [each.payload_type for each in section.formats] + [each.rtx for each in repairs]
    payload_types = " ".join(map(str, numbers))
    lines = [
        f"m={offered.kind} 9 {offered.profile} {payload_types}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{offered.mid}",
        f"a={section.direction}",
        "a=rtcp-mux",
        "a=rtcp-mux-only",  # RFC 9725 4.4.1
        *(["a=rtcp-rsize"] if offered.rtcp_rsize else []),  # RFC 5506 5
        f"a=ice-ufrag:{transport.ufrag}",
        f"a=ice-pwd:{transport.pwd}",
        f"a=fingerprint:{transport.fingerprint}",
        f"a=setup:{transport.setup}",
    ]
    for each in section.formats:
        lines += _format_lines(each, offered.kind)
        if section.transport_cc_extension is not None and "transport-cc" in each.feedback:
            lines.append(f"a=rtcp-fb:{each.payload_type} transport-cc")
    for each in repairs:
        lines.append(f"a=rtpmap:{each.rtx} rtx/{each.clock_rate}")
        lines.append(f"a=fmtp:{each.rtx} apt={each.payload_type}")
    for each in redundant:
        lines.append(f"a=rtpmap:{each.red} red/{each.clock_rate}/2")
        lines.append(f"a=fmtp:{each.red} {each.payload_type}/{each.payload_type}")
    if section.mid_extension is not None:
        lines.append(f"a=extmap:{section.mid_extension} {MID_EXTENSION}")
    if section.transport_cc_extension is not None:
        lines.append(f"a=extmap:{section.transport_cc_extension} {twcc.EXTENSION}")
    if offered.extmap_allow_mixed and receives:
        # A keyframe tells of more layers than fit into a short one.
        lines.append("a=extmap-allow-mixed")
    if section.dependency_extension is not None:
        lines.append(f"a=extmap:{section.dependency_extension} {dependency.EXTENSION}")
    if section.layers:
        lines += _layer_lines(section)
    if section.ssrc is not None:
        sends_repairs = repairs and section.rtx_ssrc is not None
        ssrcs = [section.ssrc, *([section.rtx_ssrc] if sends_repairs else [])]
        lines += _stream_lines(section, ssrcs)
    return [*lines, *_candidate_lines(transport)]


def _layer_lines(section: AnswerSection) -> list[str]:
    """RFC 8853 5.3.2; the extension that names a repaired layer is for those who repair."""
    offered, layers = section.offered, section.layers
    lines = [f"a=extmap:{offered.rid_extension} {RID_EXTENSION}"]
    if offered.repaired_rid_extension is not None:
        lines.append(f"a=extmap:{offered.repaired_rid_extension} {REPAIRED_RID_EXTENSION}")
    lines += [f"a=rid:{rid.name} recv {rid.restrictions}".rstrip() for rid in layers]
    return [*lines, f"a=simulcast:recv {';'.join(rid.name for rid in layers)}"]


def _stream_lines(section: AnswerSection, ssrcs: Sequence[int | None]) -> list[str]:
    """What we send: the stream, and perhaps its repairs (RFC 5576 4.1, RFC 4588 8.3)."""
    msid = f"{section.stream} {section.stream}-{section.offered.kind}"
    lines = [f"a=msid:{msid}"]
    if len(ssrcs) > 1:
        lines.append(f"a=ssrc-group:FID {' '.join(map(str, ssrcs))}")
    for ssrc in ssrcs:
        lines += [f"a=ssrc:{ssrc} cname:{section.cname}", f"a=ssrc:{ssrc} msid:{msid}"]
    return lines


def _format_lines(rtp_format: RtpFormat, kind: str) -> list[str]:
    payload_type = rtp_format.payload_type
    channels = "/2" if kind == "audio" else ""
    name = rtp_format.codec
    lines = [f"a=rtpmap:{payload_type} {name}/{rtp_format.clock_rate}{channels}"]
    fmtp = rtp_format.fmtp
    if name is Codec.VP9:
        fmtp = {"profile-id": "0", **fmtp}  # for those who compare it without its default
    if name is Codec.OPUS:
        fmtp = {**fmtp, "useinbandfec": "1"}  # RFC 7587 6.1: what its receiver can make use of
    if fmtp:
        settings = ";".join(f"{k}={v}" if v else k for k, v in fmtp.items())
        lines.append(f"a=fmtp:{payload_type} {settings}")
    lines += [
        f"a=rtcp-fb:{payload_type} {each}" for each in _FEEDBACK if each in rtp_format.feedback
    ]
    return lines


def _candidate_lines(transport: Transport) -> list[str]:
    candidates = [_candidate(*each) for each in enumerate(transport.candidates, 1)]
    return [*candidates, "a=end-of-candidates"]


def _candidate(index: int, candidate: Candidate) -> str:
    """RFC 8839 5.1 and RFC 6544 4.5; each has a foundation of its own."""
    # RFC 8445 5.1.2.1: host candidates, the local preference falling in the order given.
    # RFC 6544 4.2: TCP's is 2^13 * direction preference + another, passive being 4: below UDP's.
    is_tcp = candidate.protocol == "tcp"
    local_preference = (4 << 13) + 8192 - index if is_tcp else 65_536 - index
    priority = (126 << 24) + (local_preference << 8) + 255
    return (
        f"a=candidate:{index} 1 {candidate.protocol} {priority} {candidate.host} {candidate.port} "
        "typ host" + (" tcptype passive" if is_tcp else "")
    )
