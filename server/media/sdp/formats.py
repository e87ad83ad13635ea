"""The formats of media: what is known of each payload type, and which of them are ours to take."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from server.core.frames import CLOCK_RATE, Codec

#: Baseline, main, high, whatever their constraints: 8 bits of 4:2:0.
_H264_PROFILE_IDCS = ("42", "4d", "64")
#: What its absence means (RFC 6184 8.1): baseline at level 1.
_H264_DEFAULT = "42000a"


@dataclass(slots=True)
class RtpFormat:
    """One payload type of a media section."""

    payload_type: int
    encoding: str
    clock_rate: int
    fmtp: dict[str, str] = field(default_factory=dict)
    feedback: set[str] = field(default_factory=set)
    rtx: int | None = None  #: the payload type of its repairs (RFC 4588 8.1)
    red: int | None = None  #: the payload type in which packets carry earlier ones (RFC 2198 5)

    @property
    def payload_types(self) -> set[int]:
        """Of its packets, its repairs, and of packets that carry earlier ones."""
        return {each for each in (self.payload_type, self.rtx, self.red) if each is not None}

    @property
    def codec(self) -> Codec | None:
        """The codec we can forward, or None."""
        codec = _CODECS.get(self.encoding)
        if codec is None or CLOCK_RATE[codec] != self.clock_rate:
            return None
        return codec if self._is_recordable(codec) else None

    def _is_recordable(self, codec: Codec) -> bool:
        """Whether the parameters are of a kind that every player of recordings decodes."""
        match codec:
            case Codec.H264:
                # RFC 6184 6: interleaved mode (2) would reorder NAL units of several pictures.
                known = self.profile[:2] in _H264_PROFILE_IDCS
                return self.packetization_mode in (0, 1) and known
            case Codec.VP9:  # RFC 9628 6.1: absent means 0, which is 8 bits of 4:2:0
                return self.fmtp.get("profile-id", "0") == "0"
            case Codec.AV1:  # AV1 RTP 7.1: absent means 0, the main profile
                return self.fmtp.get("profile", "0") == "0"
            case _:
                return True

    @property
    def profile(self) -> str:
        """Of H.264, profile-level-id without its level; otherwise empty: there is only one."""
        if self.encoding != "h264":
            return ""
        return self.fmtp.get("profile-level-id", _H264_DEFAULT)[:4].lower()

    @property
    def packetization_mode(self) -> int | None:
        """Of H.264: single NAL units (0), non-interleaved (1); None: another."""
        return {"0": 0, "1": 1}.get(self.fmtp.get("packetization-mode", "0"))


_CODECS = {
    "vp8": Codec.VP8,
    "vp9": Codec.VP9,
    "h264": Codec.H264,
    "av1": Codec.AV1,
    "opus": Codec.OPUS,
}


def payload_types(formats: Sequence[RtpFormat]) -> dict[Codec, dict[str, int]]:
    """The formats' payload types by codec and profile, each in the order given."""
    known: dict[Codec, dict[str, int]] = {}
    for each in formats:
        if each.codec is not None:
            known.setdefault(each.codec, {}).setdefault(each.profile, each.payload_type)
    return known
