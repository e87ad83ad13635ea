"""A peer's offer, parsed (RFC 8866, 9429, 8839).

Only what an ICE-lite, BUNDLE-only, RTP-only server needs is read; everything else is passed over.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from server.core import dependency, twcc
from server.core.frames import Codec
from server.media.errors import SdpError
from server.media.sdp.formats import RtpFormat
from server.media.transport.ice import PWD, UFRAG

MAX_SDP_LENGTH = 65_536
#: A browser offers three sections for camera, microphone and screen; more is an attack.
MAX_SECTIONS = 16
MAX_CLOCK_RATE = 10_000_000  #: Hz; far above any codec's

#: RFC 9143 15: tells in packets which section they are of.
MID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:mid"
#: RFC 8852 3: which layer of a section they are of, or repair.
RID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
#: Chromium sends up to three layers, OBS four.
MAX_LAYERS = 4
#: A track has its own SSRC, one for repairs, with simulcast six.
MAX_SSRCS_PER_SECTION = 64
#: RFC 8285 4.2: the numbers of extensions in headers of one octet, the only ones that we write.
_ONE_BYTE_NUMBERS = range(1, 15)

_EXTENSIONS = {
    MID_EXTENSION: "mid_extension",
    twcc.EXTENSION: "transport_cc_extension",
    RID_EXTENSION: "rid_extension",
    REPAIRED_RID_EXTENSION: "repaired_rid_extension",
    dependency.EXTENSION: "dependency_extension",
}


@dataclass(frozen=True, slots=True)
class Rid:
    """A layer of a simulcast (RFC 8851): its name, and what it is restricted to."""

    name: str
    payload_types: frozenset[int]  #: none: any
    restrictions: str  #: the others, as offered

    def allows(self, payload_type: int) -> bool:
        return not self.payload_types or payload_type in self.payload_types


@dataclass(slots=True)
class MediaSection:
    kind: str
    profile: str
    port: int
    formats: dict[int, RtpFormat]
    mid: str | None = None
    direction: str = "sendrecv"
    rtcp_mux: bool = False
    rtcp_rsize: bool = False
    bundle_only: bool = False
    ice_ufrag: str | None = None
    ice_pwd: str | None = None
    fingerprints: list[tuple[str, str]] = field(default_factory=list)
    setup: str | None = None
    mid_extension: int | None = None  #: the RTP header extension that repeats the mid in packets
    transport_cc_extension: int | None = None  #: the one that counts packets of all sections
    rid_extension: int | None = None  #: the one that tells layers apart
    repaired_rid_extension: int | None = None
    dependency_extension: int | None = None  #: the one that tells the layers in a stream
    extmap_allow_mixed: bool = False  #: long and short extensions in one stream (RFC 8285 6)
    ssrcs: set[int] = field(default_factory=set)
    rids: dict[str, Rid] = field(default_factory=dict)  #: that it sends
    simulcast: tuple[tuple[str, ...], ...] = ()  #: their names; of alternatives one is sent
    repaired: dict[int, int] = field(default_factory=dict)  #: by SSRC of repairs (RFC 4588 8.3)

    @property
    def is_open(self) -> bool:
        """RFC 9143 6: port zero with a=bundle-only does not mean refused."""
        return self.port != 0 or self.bundle_only

    def layers(self, payload_type: int) -> tuple[Rid, ...]:
        """What of a simulcast can be taken in this format, as many as we take at most.

        None where its packets would not say which layer they are of.
        """
        if self.rid_extension is None:
            return ()
        named = [[self.rids[each] for each in one if each in self.rids] for one in self.simulcast]
        fitting = (next((rid for rid in one if rid.allows(payload_type)), None) for one in named)
        return tuple(rid for rid in fitting if rid is not None)[:MAX_LAYERS]


@dataclass(frozen=True, slots=True)
class Offer:
    sections: tuple[MediaSection, ...]
    bundle: tuple[str, ...]

    @property
    def transport(self) -> MediaSection:
        """The section whose transport carries the whole bundle (RFC 9143 7.3)."""
        return next(section for section in self.sections if section.mid == self.bundle[0])

    def usable(self, section: MediaSection) -> bool:
        """Whether the section is open, and on the bundle's transport with RTCP multiplexed."""
        return section.is_open and section.rtcp_mux and section.mid in self.bundle


def transport_cc(section: MediaSection, formats: Sequence[RtpFormat]) -> int | None:
    """The number of the extension that counts packets, where feedback on them is offered too."""
    number = section.transport_cc_extension
    offered = any("transport-cc" in each.feedback for each in formats)
    return number if offered and number in _ONE_BYTE_NUMBERS else None


def dependency_extension(section: MediaSection, rtp_format: RtpFormat) -> int | None:
    """What tells the layers of H.264 and AV1; the other codecs' payloads do that themselves."""
    told = rtp_format.codec in (Codec.H264, Codec.AV1)
    return section.dependency_extension if told else None


def parse_offer(text: str) -> Offer:
    """Parses an offer. Raises `SdpError` naming the line at fault."""
    if len(text) > MAX_SDP_LENGTH:
        raise SdpError(f"session description is longer than {MAX_SDP_LENGTH} characters")
    lines = text.splitlines()
    if not lines or lines[0].strip() != "v=0":
        raise SdpError("session description must begin with v=0")
    session = MediaSection("session", "", 0, {})
    sections: list[MediaSection] = []
    bundle: tuple[str, ...] = ()
    for number, line in enumerate(lines, 1):
        try:
            if line.startswith("m="):
                if len(sections) == MAX_SECTIONS:
                    raise ValueError(f"more than {MAX_SECTIONS} media sections")
                sections.append(_parse_media_line(line[2:]))
            elif line.startswith("a=group:BUNDLE"):
                bundle = bundle or tuple(line.split()[1:])
            elif line.startswith("a="):
                name, _, value = line[2:].partition(":")
                _read_attribute(sections[-1] if sections else session, name, value.strip())
        except ValueError as error:
            raise SdpError(f"line {number} of the session description: {error}") from error
    _inherit(session, sections)
    for section in sections:
        _pair_repairs(section.formats)
    _check(sections, bundle)
    return Offer(tuple(sections), bundle)


def _parse_media_line(value: str) -> MediaSection:
    words = value.split()
    if len(words) < 3:
        raise ValueError("a media section needs its kind, a port and a profile")
    kind, port, profile, *formats = words
    _check_visible(kind + profile)
    section = MediaSection(kind, profile, _number("port", port.partition("/")[0], 65_535), {})
    if "RTP/" in profile:
        for text in formats:
            payload_type = _number("payload type", text, 127)
            section.formats[payload_type] = RtpFormat(payload_type, "", 0)
    return section


def _check_visible(text: str) -> None:
    """What an answer repeats; RFC 8866 9 has tokens of visible ASCII, browsers keep to it."""
    if not re.fullmatch(r"[\x20-\x7e]*", text):
        raise ValueError("characters other than visible ASCII")


def _number(name: str, text: str, maximum: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > maximum:
        raise ValueError(f"{name} {text[:40]!r} is not a number within 0..{maximum}")
    return int(text)


def _read_attribute(section: MediaSection, name: str, value: str) -> None:
    match name:
        case "mid":
            if not re.fullmatch(r"[\x21-\x7e]{1,64}", value):
                raise ValueError("mid is not a token")
            section.mid = value
        case "sendrecv" | "sendonly" | "recvonly" | "inactive":
            section.direction = name
        case "rtcp-mux" | "rtcp-rsize" | "bundle-only" | "extmap-allow-mixed":
            setattr(section, name.replace("-", "_"), True)
        case "ice-ufrag" | "ice-pwd":
            _check_credential(name, value)
            setattr(section, name.replace("-", "_"), value)
        case "setup":
            section.setup = value
        case "fingerprint":
            algorithm, _, digest = value.partition(" ")
            if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})+", digest):
                raise ValueError("fingerprint is not a hash and its bytes in hexadecimal")
            section.fingerprints.append((algorithm.lower(), digest))
        case "extmap" | "rid" | "simulcast":
            _read_layering(section, name, value)
        case "ssrc" | "ssrc-group":
            _read_ssrcs(section, name, value)
        case "rtpmap" | "fmtp" | "rtcp-fb":
            _read_format(section, name, value)


def _check_credential(name: str, value: str) -> None:
    if not (UFRAG if name == "ice-ufrag" else PWD).fullmatch(value):
        raise ValueError(f"{name} is malformed")


def _read_layering(section: MediaSection, name: str, value: str) -> None:
    """What packets tell of themselves, and which layers there are of a picture."""
    if name == "rid":
        _read_rid(section, value)
    elif name == "simulcast":
        section.simulcast = _read_simulcast(value)
    else:
        number, uri, *_ = [*value.split(), ""]
        known = _EXTENSIONS.get(uri)
        if known is not None:
            setattr(section, known, _extension_number(number))


def _read_ssrcs(section: MediaSection, name: str, value: str) -> None:
    word, *more = value.split() or [""]
    if name == "ssrc" and len(section.ssrcs) < MAX_SSRCS_PER_SECTION:
        section.ssrcs.add(_ssrc(word))
    elif word == "FID" and len(more) == 2 and len(section.repaired) < MAX_SSRCS_PER_SECTION:
        original, repair = map(_ssrc, more)
        section.repaired[repair] = original


def _ssrc(text: str) -> int:
    return _number("ssrc", text, 0xFFFF_FFFF)


def _extension_number(text: str) -> int:
    """RFC 8285 8: the local identifier, before the direction that it may have."""
    number = _number("extension", text.partition("/")[0], 255)
    if number == 0:
        raise ValueError("extension 0 is padding")
    return number


def _read_rid(section: MediaSection, value: str) -> None:
    """RFC 8851 4: a name, its direction, and perhaps payload types and other restrictions."""
    name, direction, *more = [*value.split(None, 2), "", ""]
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) or direction not in ("send", "recv"):
        raise ValueError("rid needs a name of letters and digits, and send or recv")
    if direction == "recv" or len(section.rids) == MAX_SSRCS_PER_SECTION:
        return
    _check_visible(more[0])
    given = [each.strip() for each in more[0].split(";") if each.strip()]
    formats = next((each[3:].split(",") for each in given if each.startswith("pt=")), [])
    payload_types = frozenset(_number("payload type", each, 127) for each in formats)
    others = ";".join(each for each in given if not each.startswith("pt="))
    section.rids[name] = Rid(name, payload_types, others)


def _read_simulcast(value: str) -> tuple[tuple[str, ...], ...]:
    """RFC 8853 5.1: what is sent, layers by semicolons, alternatives by commas, ~ paused."""
    words = value.split()
    lists = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) != 2 * len(lists) or not lists.keys() <= {"send", "recv"}:
        raise ValueError("simulcast needs send or recv before each list")
    layers = lists["send"].split(";") if "send" in lists else []
    sent = tuple(tuple(each.removeprefix("~") for each in one.split(",")) for one in layers)
    names = list(itertools.chain(*sent))
    if len(set(names)) < len(names):
        raise ValueError("simulcast names a layer twice")
    return sent


def _read_format(section: MediaSection, name: str, value: str) -> None:
    payload_type, _, rest = value.partition(" ")
    if name == "rtcp-fb" and payload_type == "*":
        for each in section.formats.values():
            each.feedback.add(rest)
        return
    target = section.formats.get(_number("payload type", payload_type, 127))
    if target is None:
        return
    if name == "rtpmap":
        encoding, _, clock_rate = rest.partition("/")
        target.encoding = encoding.lower()
        target.clock_rate = _number("clock rate", clock_rate.partition("/")[0], MAX_CLOCK_RATE)
    elif name == "rtcp-fb":
        target.feedback.add(rest)
    else:
        _check_visible(rest)
        for parameter in rest.split(";"):
            key, _, setting = parameter.strip().partition("=")
            target.fmtp[key.lower()] = setting


#: Hashes of certificates that we check (RFC 8122 5, without those that are broken).
_DIGESTS = ("sha-256", "sha-384", "sha-512")


def _inherit(session: MediaSection, sections: list[MediaSection]) -> None:
    """What the session says of ICE, DTLS and extensions holds for sections without their own."""
    for section in sections:
        section.ice_ufrag = section.ice_ufrag or session.ice_ufrag
        section.ice_pwd = section.ice_pwd or session.ice_pwd
        section.fingerprints = section.fingerprints or session.fingerprints
        section.setup = section.setup or session.setup
        section.extmap_allow_mixed |= session.extmap_allow_mixed


def _pair_repairs(formats: Mapping[int, RtpFormat]) -> None:
    """A format of repairs names the one that it repairs (RFC 4588 8.1), redundant sound its own."""
    named = {str(each.payload_type): each for each in formats.values()}
    for each in formats.values():
        repaired = named.get(each.fmtp.get("apt", "")) if each.encoding == "rtx" else None
        if repaired is not None and repaired.clock_rate == each.clock_rate:
            repaired.rtx = each.payload_type
        if each.encoding == "red":
            # RFC 2198 5: the payload types of its blocks; we know those of one format only.
            repeated = {*next(iter(each.fmtp), "").split("/")}
            primary = named.get(repeated.pop()) if len(repeated) == 1 else None
            if primary is not None and primary.codec is Codec.OPUS:
                primary.red = each.payload_type


def _check(sections: list[MediaSection], bundle: tuple[str, ...]) -> None:
    if not sections:
        raise SdpError("session description has no media section")
    mids = [section.mid for section in sections]
    if None in mids or len(set(mids)) != len(mids):
        raise SdpError("each media section needs a mid of its own (RFC 9143)")
    if not bundle or any(mid not in mids for mid in bundle):
        raise SdpError("the offer must bundle its media sections (a=group:BUNDLE, RFC 9143)")
    carrier = sections[mids.index(bundle[0])]
    if not carrier.ice_ufrag or not carrier.ice_pwd:
        raise SdpError("a=ice-ufrag or a=ice-pwd is missing")
    if not any(algorithm in _DIGESTS for algorithm, _ in carrier.fingerprints):
        raise SdpError(f"a=fingerprint with one of {', '.join(_DIGESTS)} is missing")
    if carrier.setup not in ("actpass", "active", "passive"):
        raise SdpError("a=setup must be actpass, active or passive (RFC 8842 5.2)")
    for section in sections:
        # RFC 9143 7.1.3: what holds for the whole bundle may stand in one section only.
        section.rtcp_mux |= carrier.rtcp_mux and section.mid in bundle
